"""Checks of predicted coordinates: stated bonds, and clashes of atoms closer than van der Waals radii allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from betafold_mlx.errors import BetafoldError
from betafold_mlx.geometry.disulfides import ACROSS, CB_SG, SG_SG, bridge_misfits, place_sulfurs
from betafold_mlx.geometry.links import link_terms, linked_atoms, misfits
from betafold_mlx.peptide.bonds import SULFUR
from betafold_mlx.peptide.cap_bonds import with_cap_atoms
from betafold_mlx.peptide.residue_table import BACKBONE
from betafold_mlx.peptide.sequence import Peptide

RING_DISTANCE = (1.31, 1.35)
"""C(L)-N(1) of a closed ring, Angstrom: the peptide bond of Engh & Huber 2001 (1.336) within 0.02 of 1.33."""
DISULFIDE_DISTANCE = (2.0, 2.1)
"""SG-SG of bonded cysteines, Angstrom: 2.05 +- 0.05."""
DISULFIDE_ANGLES = (98.0, 110.0)
"""CB-SG-SG, degrees: 104 +- 6."""

RADII = np.array([1.55, 1.70, 1.70, 1.52, 1.70])
"""Van der Waals radii of N, CA, C, O, CB, Angstrom (A. Bondi, J. Phys. Chem. 68, 441 (1964))."""

ALLOWED_OVERLAP, ALLOWED_OVERLAP_POLAR = 0.5, 0.9
"""Angstrom: overlaps up to these are no clash; N and O may share a hydrogen."""

THROUGH = 2.2
"""Angstrom: atoms of residues three or more apart that are closer have no room for each other: the chain runs through
itself. Hydrogen-bonded N and O are 2.6 apart or more."""

_CB = 4


@dataclass(frozen=True)
class Bond:
    """A stated bond and its distance in one model.

    Attributes
    ----------
    kind : str
        ``ring`` (C of the last residue to N of the first), ``disulfide`` (SG to SG), or ``bond``.
    residues : (int, int)
        1-based.
    distance : float
        Angstrom.
    formed : bool
        Within the accepted range, the angles of all but a ring too.
    atoms : (str, str)
        One of each residue.
    wanted : (float, float)
        The accepted range, Angstrom.
    """

    kind: str
    residues: tuple[int, int]
    distance: float
    formed: bool
    atoms: tuple[str, str] = (SULFUR, SULFUR)
    wanted: tuple[float, float] = DISULFIDE_DISTANCE

    def describe(self) -> str:
        """Return the bond in words."""
        i, j = self.residues
        name = {
            "ring": "head-to-tail bond, C-N",
            "disulfide": f"disulfide {i}-{j}, SG-SG",
            "bond": f"bond {i}:{self.atoms[0]}-{j}:{self.atoms[1]},",
        }[self.kind]
        return f"{name} {self.distance:.2f} A, wanted {self.wanted[0]} to {self.wanted[1]}"


def measure_bonds(
    peptide: Peptide, coordinates: np.ndarray, chi1: np.ndarray | None = None
) -> tuple[Bond, ...]:
    """Measure ring and disulfides of a peptide.

    Parameters
    ----------
    peptide : Peptide
        With its stated chemistry.
    coordinates : numpy.ndarray
        (L, 5, 3) Angstrom: N, CA, C, O, CB.
    chi1 : numpy.ndarray, optional
        (L,) radians. Without it sulfurs stand where the backbone lets them make the best bond.

    Returns
    -------
    tuple of Bond
        The ring first, then the disulfides.
    """
    bonds = []
    if peptide.cyclic:
        low, high = RING_DISTANCE
        distance = float(np.linalg.norm(coordinates[-1, 2].astype(np.float64) - coordinates[0, 0]))
        bonds.append(
            Bond(
                "ring",
                (1, len(peptide)),
                round(distance, 3),
                low <= distance <= high,
                ("N", "C"),
                RING_DISTANCE,
            )
        )
    if peptide.disulfides:
        i, j = np.array(peptide.disulfides).T - 1
        if chi1 is None:
            _, misfits = place_sulfurs(coordinates[i], coordinates[j])
        else:
            misfits = bridge_misfits(coordinates[i], coordinates[j], np.stack([chi1[i], chi1[j]], axis=-1))
        for pair, misfit in zip(peptide.disulfides, misfits, strict=True):
            distance, across = SG_SG + float(misfit[0]), ACROSS + misfit[1:]
            cosines = (CB_SG**2 + distance**2 - across**2) / (2 * CB_SG * distance)
            angles = np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0)))
            low, high = DISULFIDE_DISTANCE
            right = bool((angles >= DISULFIDE_ANGLES[0]).all() and (angles <= DISULFIDE_ANGLES[1]).all())
            bonds.append(Bond("disulfide", pair, round(distance, 3), low <= distance <= high and right))
    return tuple(bonds)


def measure_links(peptide: Peptide, coordinates: np.ndarray, chi: np.ndarray) -> list[tuple[Bond, ...]]:
    """Measure the stated bonds that are neither the ring nor a disulfide.

    Parameters
    ----------
    peptide : Peptide
        With its stated chemistry.
    coordinates : numpy.ndarray
        (S, L, 5, 3) Angstrom, of the hand of the peptide.
    chi : numpy.ndarray
        (S, L, K) radians, of the bonded residues, and of a bonded cap (`betafold_mlx.peptide.cap_bonds`).

    Returns
    -------
    list of tuple of Bond
        Of each of the S models, in the order of `Peptide.other_bonds`.
    """
    whole = with_cap_atoms(peptide)
    points = linked_atoms(whole, coordinates, chi)
    columns = []
    for bond, at in zip(peptide.other_bonds, whole.other_bonds, strict=True):
        terms = link_terms(whole, at)
        low, high = round(terms[0].low - terms[0].tolerance, 2), round(terms[0].high + terms[0].tolerance, 2)
        distances = np.linalg.norm(points[at.i, at.atom_i] - points[at.j, at.atom_j], axis=-1)
        right = (np.abs(misfits(terms, points)) <= [term.tolerance for term in terms]).all(axis=-1)
        columns.append(
            [
                Bond("bond", (bond.i, bond.j), round(d, 3), formed, (bond.atom_i, bond.atom_j), (low, high))
                for d, formed in zip(distances.tolist(), right.tolist(), strict=True)
            ]
        )
    return list(zip(*columns, strict=True))


def measure_stated(
    peptide: Peptide, coordinates: np.ndarray, chi: np.ndarray | None = None
) -> list[tuple[Bond, ...]]:
    """Measure the stated bonds of models (S, L, 5, 3) of the peptide's hand, with chi (S, L, K) as they say."""
    if chi is None:
        return [measure_bonds(peptide, model) for model in coordinates]
    bonds = [
        measure_bonds(peptide, model, turned[:, 0]) for model, turned in zip(coordinates, chi, strict=True)
    ]
    if not peptide.other_bonds:
        return bonds
    more = measure_links(peptide, coordinates, chi)
    return [(*first, *second) for first, second in zip(bonds, more, strict=True)]


def count_clashes_of(peptide: Peptide, coordinates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count the clashes of models (S, L, 5, 3) of a peptide with its stated bonds, as `count_clashes` does."""
    glycine = np.array([letter == "G" for letter in peptide.sequence])
    linked = [(bond.i, bond.j) for bond in peptide.other_bonds if {bond.atom_i, bond.atom_j} & set(BACKBONE)]
    return count_clashes(coordinates, glycine, peptide.cyclic, peptide.disulfides, linked)


def count_clashes(
    coordinates: np.ndarray,
    glycine: np.ndarray,
    cyclic: bool,
    disulfides: tuple[tuple[int, int], ...],
    linked: Sequence[tuple[int, int]] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """Count clashes of models of one peptide, and find out which run through themselves.

    Pairs of atoms two residues or more apart (the shorter way around a ring); CB atoms of a disulfide are left out.

    Parameters
    ----------
    coordinates : numpy.ndarray
        (S, L, 5, 3) Angstrom: N, CA, C, O, CB.
    glycine : numpy.ndarray
        (L,) bool, residues without CB.
    cyclic : bool
        Closed head to tail.
    disulfides : tuple of (int, int)
        1-based.
    linked : sequence of (int, int)
        Residues of other stated bonds with an end in the backbone, 1-based: their atoms are not counted.

    Returns
    -------
    clashes : numpy.ndarray
        (S,) int, pairs closer than the sum of their radii less the allowed overlap.
    through : numpy.ndarray
        (S,) bool, atoms three or more residues apart are closer than `THROUGH`.
    """
    length = len(glycine)
    place = np.arange(length)
    apart = np.abs(place[:, None] - place)
    if cyclic:
        apart = np.minimum(apart, length - apart)
    present = np.ones((length, 5), dtype=bool)
    present[glycine, _CB] = False
    kept = np.flatnonzero(present)
    residue, atom = np.divmod(kept, 5)
    separation = apart[np.ix_(residue, residue)]
    bonded = np.zeros((length, length), dtype=bool)
    for i, j in disulfides:
        bonded[i - 1, j - 1] = bonded[j - 1, i - 1] = True
    skipped = bonded[np.ix_(residue, residue)] & (atom == _CB)[:, None] & (atom == _CB)
    for i, j in linked:
        both = (residue == i - 1) | (residue == j - 1)
        skipped |= both[:, None] & both
    polar = (atom == 0)[:, None] & (atom == 3)
    limit = RADII[atom][:, None] + RADII[atom]
    limit = limit - np.where(polar | polar.T, ALLOWED_OVERLAP_POLAR, ALLOWED_OVERLAP)
    counted = (separation >= 2) & ~skipped & (kept[:, None] < kept)
    far = counted & (separation >= 3)
    points = coordinates.reshape(len(coordinates), -1, 3)[:, kept].astype(np.float32)
    if not np.isfinite(points).all():  # NaN is near nothing, and would count as no clash
        raise BetafoldError("clashes cannot be counted: a coordinate is not finite")
    square = np.square(points).sum(axis=-1)
    distance = square[:, :, None] + square[:, None] - 2 * points @ points.swapaxes(1, 2)  # squared
    clashes = (counted & (distance < np.square(limit).astype(np.float32))).sum(axis=(1, 2))
    through = (far & (distance < THROUGH**2)).any(axis=(1, 2))
    return clashes, through
