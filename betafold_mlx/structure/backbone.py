"""A backbone record: one unbroken chain of standard residues with N, CA, C and O of each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from betafold_mlx.peptide.sequence import ALPHABET

ATOMS = ("N", "CA", "C", "O")

MAX_COORDINATE = 1e4
"""Angstrom. The PDB format (F8.3) ends here and float32 still resolves 0.001 A; beyond lies a broken file."""

BOND_LIMITS = (1.0, 2.0)
"""Angstrom. Two backbone atoms this far apart are taken as bonded.

Wide on purpose: it tells a bond from a gap, or from atoms on top of one another, and does not judge quality.
In the 1,033,206 residues of the project's experimental data N-CA, CA-C, C-O and C-N lie between 1.08 and
1.66 A; the ends of its open peptides (C of the last, N of the first residue) are 2.9 A apart or more.
"""

MIN_RING_LENGTH = 4
"""Residues. Shorter rings of peptide bonds are no peptides of this package."""


@dataclass(frozen=True)
class Backbone:
    """One unbroken chain."""

    id: str  # record id, for example ``1le0_A``
    sequence: str  # one-letter codes of the 20 standard residues, length L
    coordinates: np.ndarray  # (L, 4, 3) float32, Angstrom: N, CA, C, O of each residue. Finite
    # ``free``, ``oligomer``, ``bound``, ``mhc_bound`` for peptides; ``chain``, ``segment``, ... for longer chains;
    # ``unknown`` where the source does not say
    kind: str = "unknown"
    cyclic: bool = False  # backbone closed head to tail
    disulfides: tuple[tuple[int, int], ...] = ()  # 1-based residue pairs, i < j, sorted
    # as in the source
    pdb: str | None = None
    chain: str | None = None
    method: str | None = None
    resolution: float | None = None  # Angstrom
    cluster: int | None = None  # the source's own clustering, where it has one: to sample by, not to split by
    # (L, 4) float32, radians: chi1 to chi4, NaN where a residue has none or its atoms are missing; None where nothing
    # is known of side chains
    chi: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.sequence)


def bonded(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Tell which pairs of backbone atoms (..., 3) are at bond length: (...) bool; False where one is not finite."""
    distance = np.linalg.norm(np.asarray(first, np.float64) - second, axis=-1)
    return (distance >= BOND_LIMITS[0]) & (distance < BOND_LIMITS[1])


def peptide_bonds(coordinates: np.ndarray) -> np.ndarray:
    """Tell which residues (L, >=3, 3), N, CA, C first, are bonded to the next one, C to N: (L - 1,) bool."""
    return bonded(coordinates[:-1, 2], coordinates[1:, 0])


def ring_closed(coordinates: np.ndarray) -> bool:
    """Tell whether C of the last residue of an unbroken chain (L, >=3, 3) is bonded to N of the first."""
    return len(coordinates) >= MIN_RING_LENGTH and bool(bonded(coordinates[-1, 2], coordinates[0, 0]))


def complete_residues(coordinates: np.ndarray) -> np.ndarray:
    """Tell which residues (L, 4, 3) have usable N, CA, C and O: (L,) bool.

    They are finite, below `MAX_COORDINATE`, and N-CA, CA-C, C-O are at bond length.
    """
    finite = (np.abs(coordinates) < MAX_COORDINATE).all(axis=(1, 2))  # False for NaN too
    coordinates = np.where(finite[:, None, None], coordinates, 0.0)
    n, ca, c, o = (coordinates[:, atom] for atom in range(4))
    return finite & bonded(n, ca) & bonded(ca, c) & bonded(c, o)


def backbone_problem(
    sequence: str, coordinates: np.ndarray, disulfides: Iterable[tuple[int, int]] = ()
) -> str | None:
    """Say in a line what keeps a sequence, coordinates (L, 4, 3) and 1-based disulfides from being a `Backbone`.

    None where nothing does. The coordinates may have any shape.
    """
    if not sequence:
        return "the sequence is empty"
    for position, letter in enumerate(sequence, start=1):
        if letter not in ALPHABET:
            return f"{letter!r} at position {position} is not one of the 20 standard residues"
    if coordinates.shape != (len(sequence), 4, 3):
        return (
            f"{coordinates.size} coordinates for {len(sequence)} residues: "
            f"{12 * len(sequence)} (N, CA, C, O of each) are needed"
        )
    if not np.isfinite(coordinates).all():
        return "a coordinate is not finite"
    if np.abs(coordinates).max() >= MAX_COORDINATE:
        return f"a coordinate is {MAX_COORDINATE:.0f} A or more"
    complete = complete_residues(coordinates)
    if not complete.all():
        return f"the backbone atoms of residue {int(np.argmin(complete)) + 1} are not at bond length"
    unbroken = peptide_bonds(coordinates)
    if not unbroken.all():
        gap = int(np.argmin(unbroken)) + 1
        return f"the chain is broken between residues {gap} and {gap + 1}"
    return _disulfide_problem(sequence, disulfides)


def _disulfide_problem(sequence: str, disulfides: Iterable[tuple[int, int]]) -> str | None:
    seen: set[int] = set()
    for i, j in disulfides:
        if not 1 <= i < j <= len(sequence):
            return f"disulfide {i}-{j}: positions run from 1 to {len(sequence)}, the lower first"
        if sequence[i - 1] != "C" or sequence[j - 1] != "C":
            return f"disulfide {i}-{j}: not between two cysteines"
        if i in seen or j in seen:
            return f"disulfide {i}-{j}: a cysteine is in two disulfides"
        seen |= {i, j}
    return None
