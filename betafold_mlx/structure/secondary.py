"""Secondary structure from a CA trace, and the three-state score Q3.

P-SEA: G. Labesse, N. Colloc'h, J. Pothier and J.-P. Mornon, Comput. Appl. Biosci. 13, 291 (1997). It needs CA
positions alone, so that a prediction without side chains or hydrogens is judged like a crystal structure.
Regions grow from residues that meet strict criteria on CA-CA distances or on CA angles and dihedrals.
"""

from __future__ import annotations

import numpy as np

_HELIX_D3, _HELIX_D4, _HELIX_ANGLE, _HELIX_DIHEDRAL = (5.3, 0.5), (6.4, 0.6), (89.0, 12.0), (50.0, 20.0)
_STRAND_D2, _STRAND_D3, _STRAND_D4, _STRAND_ANGLE = (6.7, 0.6), (9.9, 0.9), (12.4, 1.1), (124.0, 14.0)
_STRAND_DIHEDRAL = (-170.0, 45.0)  # across the turn: 145 to 180 and -180 to -125
"""(centre, half width) of each criterion, in Angstrom or degrees."""

_MIN_HELIX, _MIN_STRAND, _SHORT_STRAND = 5, 4, 3
_CONTACT_RANGE, _MIN_CONTACTS = (4.2, 5.2), 5
"""A strand of only three residues counts where five CA lie beside it, at the distance of a sheet's next
strand."""


def assign_secondary_structure(ca: np.ndarray) -> str:
    """Return the secondary structure of an unbroken chain by P-SEA.

    Parameters
    ----------
    ca : numpy.ndarray
        (L, 3) CA positions, Angstrom, L >= 0.

    Returns
    -------
    str
        L letters: ``H`` helix, ``E`` strand, ``C`` anything else. Up to five residues are too few to tell:
        all ``C``. A residue that meets both sets of criteria is a strand.
    """
    ca = np.asarray(ca, dtype=np.float64)
    length = len(ca)
    if length <= 5:
        return "C" * length
    # Each measure belongs to the second of its CA atoms; it is NaN, which meets no criterion, where the chain
    # ends.
    d2, d3, d4 = (_padded(np.linalg.norm(ca[k:] - ca[:-k], axis=1), length) for k in (2, 3, 4))
    bonds = ca[1:] - ca[:-1]
    angle = _padded(_angles(-bonds[:-1], bonds[1:]), length)
    dihedral = _padded(_dihedrals(bonds), length)

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
    return "".join(np.where(strand, "E", np.where(helix, "H", "C")))


def q3(predicted: str, target: str) -> float:
    """Return the share of residues, from 0 to 1, whose state (H, E or C) is predicted right.

    Raises
    ------
    ValueError
        Where the lengths differ, or there is no residue.
    """
    if not target or len(predicted) != len(target):
        raise ValueError(f"secondary structures of {len(predicted)} and {len(target)} residues")
    return sum(a == b for a, b in zip(predicted, target, strict=True)) / len(target)


def _padded(values: np.ndarray, length: int) -> np.ndarray:
    """Put one NaN before the values and as many after as make up the length."""
    return np.pad(values, (1, length - 1 - len(values)), constant_values=np.nan)


def _angles(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the angles between vectors (n, 3), degrees."""
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b), axis=1), (a * b).sum(axis=1)))


def _dihedrals(bonds: np.ndarray) -> np.ndarray:
    """Return the dihedrals about the middle one of each three bonds in a row, (n, 3) -> (n - 2,), degrees."""
    b1, b2, b3 = bonds[:-2], bonds[1:-1], bonds[2:]
    normal = np.cross(b2, b3)
    y = np.linalg.norm(b2, axis=1) * (b1 * normal).sum(axis=1)
    return np.degrees(np.arctan2(y, (np.cross(b1, b2) * normal).sum(axis=1)))


def _within(values: np.ndarray, criterion: tuple[float, float]) -> np.ndarray:
    centre, half_width = criterion
    return np.abs(values - centre) <= half_width


def _within_turn(degrees: np.ndarray, criterion: tuple[float, float]) -> np.ndarray:
    centre, half_width = criterion
    return np.abs((degrees - centre + 180.0) % 360.0 - 180.0) <= half_width


def _runs(mask: np.ndarray, minimum: int) -> np.ndarray:
    """Keep the True runs of at least `minimum` residues."""
    kept = np.zeros_like(mask)
    for start, end in _regions(mask):
        kept[start:end] = end - start >= minimum
    return kept


def _extend(mask: np.ndarray, condition: np.ndarray) -> np.ndarray:
    """Add to each True run the residue before and the residue after it, where those meet the condition."""
    beside = np.zeros_like(mask)
    beside[:-1] |= mask[1:]
    beside[1:] |= mask[:-1]
    return mask | (beside & condition)


def _with_contacts(mask: np.ndarray, ca: np.ndarray) -> np.ndarray:
    """Keep the True runs whose residues have enough contacts in all."""
    kept = np.zeros_like(mask)
    for start, end in _regions(mask):
        distance = np.linalg.norm(ca[start:end, None] - ca, axis=-1)
        contacts = (distance > _CONTACT_RANGE[0]) & (distance <= _CONTACT_RANGE[1])
        kept[start:end] = contacts.sum() >= _MIN_CONTACTS
    return kept


def _regions(mask: np.ndarray) -> np.ndarray:
    """Return start and end (exclusive) of each True run, (runs, 2)."""
    changes = np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8))
    return np.stack([np.flatnonzero(changes == 1), np.flatnonzero(changes == -1)], axis=1)
