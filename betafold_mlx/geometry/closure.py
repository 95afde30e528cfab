"""Stated bonds, measured on predicted coordinates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from betafold_mlx.peptide.sequence import Peptide

RING_DISTANCE = (1.31, 1.35)
"""C(L)-N(1) of a closed ring, Angstrom: the peptide bond of Engh & Huber 2001 (1.336) within 0.02 of 1.33."""
DISULFIDE_DISTANCE = (3.4, 4.5)
"""CB-CB of bonded cysteines, Angstrom (Hazes & Dijkstra 1988 find 3.4 to 4.5 in proteins)."""


@dataclass(frozen=True)
class Bond:
    """A stated bond and its distance in one model.

    Attributes
    ----------
    kind : str
        ``ring`` (C of the last residue to N of the first) or ``disulfide`` (CB to CB).
    residues : (int, int)
        1-based.
    distance : float
        Angstrom.
    formed : bool
        Within the accepted range.
    """

    kind: str
    residues: tuple[int, int]
    distance: float
    formed: bool

    def describe(self) -> str:
        """Return the bond in words."""
        low, high = RING_DISTANCE if self.kind == "ring" else DISULFIDE_DISTANCE
        name = (
            "head-to-tail bond, C-N"
            if self.kind == "ring"
            else "disulfide {}-{}, CB-CB".format(*self.residues)
        )
        return f"{name} {self.distance:.2f} A, wanted {low} to {high}"


def measure_bonds(peptide: Peptide, coordinates: np.ndarray) -> tuple[Bond, ...]:
    """Measure the stated bonds of a peptide.

    Parameters
    ----------
    peptide : Peptide
        With its stated chemistry.
    coordinates : numpy.ndarray
        (L, 5, 3) Angstrom: N, CA, C, O, CB.

    Returns
    -------
    tuple of Bond
        The ring first, then the disulfides.
    """
    bonds = []
    if peptide.cyclic:
        ends = ("ring", (1, len(peptide)), coordinates[-1, 2] - coordinates[0, 0], RING_DISTANCE)
        bonds.append(ends)
    for i, j in peptide.disulfides:
        bonds.append(("disulfide", (i, j), coordinates[i - 1, 4] - coordinates[j - 1, 4], DISULFIDE_DISTANCE))
    measured = []
    for kind, residues, vector, (low, high) in bonds:
        distance = float(np.linalg.norm(vector.astype(np.float64)))
        measured.append(Bond(kind, residues, round(distance, 3), low <= distance <= high))
    return tuple(measured)
