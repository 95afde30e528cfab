"""Secondary structure from a CA trace, and the three-state score Q3.

P-SEA: G. Labesse, N. Colloc'h, J. Pothier and J.-P. Mornon, Comput. Appl. Biosci. 13, 291 (1997). It needs CA
positions alone, so that a prediction without side chains or hydrogens is judged like a crystal structure.
Regions grow from residues that meet strict criteria on CA-CA distances or on CA angles and dihedrals.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_HELIX_D3, _HELIX_D4, _HELIX_ANGLE, _HELIX_DIHEDRAL = (5.3, 0.5), (6.4, 0.6), (89.0, 12.0), (50.0, 20.0)
_STRAND_D2, _STRAND_D3, _STRAND_D4, _STRAND_ANGLE = (6.7, 0.6), (9.9, 0.9), (12.4, 1.1), (124.0, 14.0)
_STRAND_DIHEDRAL = (-170.0, 45.0)  # across the turn: 145 to 180 and -180 to -125
"""(centre, half width) of each criterion, in Angstrom or degrees."""

_MIN_HELIX, _MIN_STRAND, _SHORT_STRAND = 5, 4, 3
_TOO_SHORT = 5
_CONTACT_RANGE, _MIN_CONTACTS = (4.2, 5.2), 5
"""A strand of only three residues counts where five CA lie beside it, at the distance of a sheet's next
strand."""


def assign_secondary_structure(ca: np.ndarray) -> str:
    """Return the secondary structure of an unbroken chain of CA atoms (L, 3), Angstrom, by P-SEA.

    L letters: ``H`` helix, ``E`` strand, ``C`` anything else. Up to five residues are too few to tell: all ``C``. A
    residue that meets both sets of criteria is a strand.
    """
    return assign_secondary_structures([ca])[0]


def assign_secondary_structures(chains: Sequence[np.ndarray]) -> list[str]:
    """Return the secondary structure of each of N unbroken chains; together they take little longer than one."""
    lengths = [len(chain) for chain in chains]
    if max(lengths, default=0) <= _TOO_SHORT:
        return ["C" * length for length in lengths]
    # A distance or an angle with an atom that is not there is NaN and meets no criterion.
    ca = np.full((len(chains), max(lengths), 3), np.nan)
    for row, chain in enumerate(chains):
        ca[row, : len(chain)] = chain
    letters = _letters(ca)
    return [
        "".join(row[:length]) if length > _TOO_SHORT else "C" * length
        for row, length in zip(letters.tolist(), lengths, strict=True)
    ]


def _letters(ca: np.ndarray) -> np.ndarray:
    """Return the letters (N, L) of chains (N, L, 3), which end where NaN begins."""
    length = ca.shape[1]
    # Each measure belongs to the second of its CA atoms.
    d2, d3, d4 = (_padded(_norm(ca[:, k:] - ca[:, :-k]), length) for k in (2, 3, 4))
    angle = _padded(np.degrees(trace_angles(ca)), length)
    dihedral = _padded(np.degrees(trace_dihedrals(ca)), length)

    relaxed_helix = _within(d3, _HELIX_D3) | _within(angle, _HELIX_ANGLE)
    strict_helix = _within(d3, _HELIX_D3) & _within(d4, _HELIX_D4)
    strict_helix |= _within(angle, _HELIX_ANGLE) & _within_turn(dihedral, _HELIX_DIHEDRAL)
    helix = _extend(_runs(strict_helix, _MIN_HELIX), relaxed_helix)

    relaxed_strand = _within(d3, _STRAND_D3)
    strict_strand = _within(d2, _STRAND_D2) & relaxed_strand & _within(d4, _STRAND_D4)
    strict_strand |= _within(angle, _STRAND_ANGLE) & _within_turn(dihedral, _STRAND_DIHEDRAL)
    long_strand = _runs(strict_strand, _MIN_STRAND)
    short_strand = _with_contacts(_runs(strict_strand, _SHORT_STRAND), ca)
    strand = _extend(long_strand | short_strand, relaxed_strand)
    return np.where(strand, "E", np.where(helix, "H", "C"))


def q3(predicted: str, target: str) -> float:
    """Return the share of residues, from 0 to 1, whose state (H, E or C) is predicted right."""
    if not target or len(predicted) != len(target):
        raise ValueError(f"secondary structures of {len(predicted)} and {len(target)} residues")
    return sum(a == b for a, b in zip(predicted, target, strict=True)) / len(target)


def _padded(values: np.ndarray, length: int) -> np.ndarray:
    """Put one NaN before the values (N, n) and as many after as make up the length."""
    padded = np.full((len(values), length), np.nan)
    padded[:, 1 : values.shape[1] + 1] = values
    return padded


def _norm(vectors: np.ndarray) -> np.ndarray:
    return np.sqrt(np.square(vectors).sum(axis=-1))


def trace_angles(traces: np.ndarray) -> np.ndarray:
    """Return the angles at the inner points of traces (..., L, 3): (..., L - 2) radians."""
    bonds = np.diff(traces, axis=-2)
    back, forth = -bonds[..., :-1, :], bonds[..., 1:, :]
    return np.arctan2(_norm(np.cross(back, forth)), (back * forth).sum(axis=-1))


def trace_dihedrals(traces: np.ndarray) -> np.ndarray:
    """Return the dihedrals of four points in a row of traces (..., L, 3): (..., L - 3) radians."""
    bonds = np.diff(traces, axis=-2)
    b1, b2, b3 = bonds[..., :-2, :], bonds[..., 1:-1, :], bonds[..., 2:, :]
    normal = np.cross(b2, b3)
    y = _norm(b2) * (b1 * normal).sum(axis=-1)
    return np.arctan2(y, (np.cross(b1, b2) * normal).sum(axis=-1))


def _within(values: np.ndarray, criterion: tuple[float, float]) -> np.ndarray:
    centre, half_width = criterion
    return np.abs(values - centre) <= half_width


def _within_turn(degrees: np.ndarray, criterion: tuple[float, float]) -> np.ndarray:
    centre, half_width = criterion
    return np.abs((degrees - centre + 180.0) % 360.0 - 180.0) <= half_width


def _runs(mask: np.ndarray, minimum: int) -> np.ndarray:
    """Keep the True runs (N, L) of at least `minimum` residues."""
    kept = np.zeros_like(mask)
    for row, start, end in _regions(mask):
        kept[row, start:end] = end - start >= minimum
    return kept


def _extend(mask: np.ndarray, condition: np.ndarray) -> np.ndarray:
    """Add to each True run (N, L) the residue before and the residue after it, where those meet the condition."""
    beside = np.zeros_like(mask)
    beside[:, :-1] |= mask[:, 1:]
    beside[:, 1:] |= mask[:, :-1]
    return mask | (beside & condition)


def _with_contacts(mask: np.ndarray, ca: np.ndarray) -> np.ndarray:
    """Keep the True runs (N, L) whose residues have enough contacts in all."""
    kept = np.zeros_like(mask)
    for row, start, end in _regions(mask):
        distance = _norm(ca[row, start:end, None] - ca[row])
        contacts = (distance > _CONTACT_RANGE[0]) & (distance <= _CONTACT_RANGE[1])
        kept[row, start:end] = contacts.sum() >= _MIN_CONTACTS
    return kept


def _regions(mask: np.ndarray) -> list[tuple[int, int, int]]:
    """Return chain, start and end (exclusive) of each True run of (N, L)."""
    wide = np.zeros((len(mask), mask.shape[1] + 2), np.int8)
    wide[:, 1:-1] = mask
    changes = np.diff(wide, axis=1)
    rows, starts = np.nonzero(changes == 1)
    ends = np.nonzero(changes == -1)[1]
    return list(zip(rows.tolist(), starts.tolist(), ends.tolist(), strict=True))
