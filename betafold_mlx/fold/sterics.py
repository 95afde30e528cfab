"""Van der Waals contacts of side chains: which atoms of a peptide can touch, how near they may come, what that costs.

The energy of two atoms is a soft Lennard-Jones potential of t = d^2 / s^2, s being the sum of their radii: a wall that
rises to `WALL` where they coincide, and a shallow well around s. It needs no roots and no exponentials.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.geometry.side_chains import SLOTS, SideChains
from betafold_mlx.peptide.leaving import leaving_atoms
from betafold_mlx.peptide.residue_table import RESIDUES
from betafold_mlx.peptide.sequence import Peptide

RADII = {"C": 1.70, "N": 1.55, "O": 1.52, "S": 1.80}
"""Van der Waals radii, Angstrom (A. Bondi, J. Phys. Chem. 68, 441 (1964)); others as S."""
HYDROGENS = 0.05
"""Angstrom, added to the radius of an atom that carries hydrogens, which are not there themselves."""
POLAR = 0.45
"""Angstrom that two atoms of N and O may come closer where one has a hydrogen to share."""

WALL, WELL = 20.0, 0.12
"""Nats: two atoms in one place, and the depth of the well; chosen on validation structures, as is `HYDROGENS`."""

CLASH = 0.4
"""Angstrom of overlap that is a clash (Word et al., J. Mol. Biol. 285, 1711 (1999)), of radii without `HYDROGENS`."""


class Contacts(NamedTuple):
    """Atoms of B peptides that can touch: Q of side chains, P of all; places in the flat (L * (5 + A)) arrays.

    Attributes
    ----------
    side, all : mx.array
        (B, Q), (B, P) int, places of the atoms; padding points at 0.
    residue : mx.array
        (B, Q) int, the residue of each atom of a side chain.
    near : mx.array
        (B, Q, P) s^2, Angstrom^2: 0 where the two are bonded, of one residue, or padding.
    limit : mx.array
        (B, Q, P) Angstrom: nearer than this they clash; 0 where `near` is.
    """

    side: mx.array
    all: mx.array
    residue: mx.array
    near: mx.array
    limit: mx.array

    def take(self, rows: mx.array) -> Contacts:
        """Return the contacts of some of the peptides; a row may be taken more than once."""
        return Contacts(*(array[rows] for array in self))


def contacts_of(peptides: Sequence[Peptide], chains: SideChains, backbone: bool = False) -> Contacts:
    """Return the contacts of peptides and their side chains (`betafold_mlx.geometry.side_chains`).

    With `backbone`, those among the atoms of the backbone too: then Q is P.
    """
    least = 0 if backbone else SLOTS
    slots = chains.mask.shape[-1]
    tables = [atoms_of(peptide, names) for peptide, names in zip(peptides, chains.names, strict=True)]
    atoms = max(len(table.radius) for table in tables)
    sides = max(int((table.slot >= least).sum()) for table in tables)
    batch = len(tables)
    side, everything = np.zeros((batch, sides), dtype=np.int32), np.zeros((batch, atoms), dtype=np.int32)
    residue = np.zeros((batch, sides), dtype=np.int32)
    near, limit = np.zeros((2, batch, sides, atoms), dtype=np.float32)
    for row, table in enumerate(tables):
        place = table.residue * slots + table.slot
        own = np.flatnonzero(table.slot >= least)
        side[row, : len(own)], everything[row, : len(place)] = place[own], place
        residue[row, : len(own)] = table.residue[own]
        apart = table.apart[own]
        soft = HYDROGENS * (table.hydrogens[own][:, None] + table.hydrogens.astype(int))
        counted = ~table.bonded[own]
        near[row, : len(own), : len(place)] = np.square(apart + soft) * counted
        limit[row, : len(own), : len(place)] = (apart - CLASH) * counted
    return Contacts(*map(mx.array, (side, everything, residue, near, limit)))


class Atoms(NamedTuple):
    """The N atoms of a peptide, (N,) each.

    Attributes
    ----------
    residue, slot : numpy.ndarray
        Where each stands.
    radius : numpy.ndarray
        Angstrom.
    polar, hydrogens : numpy.ndarray
        Whether it is N or O, and whether it has hydrogens.
    bonded : numpy.ndarray
        (N, N) bool, which are of one residue or too near along bonds to count.
    """

    residue: np.ndarray
    slot: np.ndarray
    radius: np.ndarray
    polar: np.ndarray
    hydrogens: np.ndarray
    bonded: np.ndarray

    @property
    def apart(self) -> np.ndarray:
        """How far apart two atoms that touch are (N, N), Angstrom."""
        gives = self.hydrogens[:, None] | self.hydrogens
        shared = self.polar[:, None] & self.polar & gives
        touching: np.ndarray = self.radius[:, None] + self.radius - POLAR * shared
        return touching


def atoms_of(peptide: Peptide, names: Sequence[Sequence[str]]) -> Atoms:
    """Return the atoms of a peptide, whose residues have those `names` in their slots, without what leaves."""
    rows: list[tuple[int, int, float, bool, bool]] = []
    place: dict[tuple[int, str], int] = {}
    gone = leaving_atoms(peptide)
    for number, (code, atoms) in enumerate(zip(peptide.residues, names, strict=True)):
        kind = RESIDUES[code]
        for index, atom in enumerate(atoms):
            if atom and (number + 1, atom) not in gone:
                element = kind.elements.get(atom, "O")
                place[number, atom] = len(rows)
                reach = RADII.get(element, RADII["S"])
                rows.append((number, index, reach, element in ("N", "O"), atom in kind.hydrogens))
    residue, slot, radius, polar, hydrogens = (np.array(column) for column in zip(*rows, strict=True))
    bonded = (residue[:, None] == residue) | near_along_bonds(peptide, place)
    return Atoms(residue, slot, radius, polar, hydrogens, bonded)


def near_along_bonds(peptide: Peptide, place: dict[tuple[int, str], int]) -> np.ndarray:
    """Tell which atoms (N, N) of a numbering are three bonds or less apart; residues count from 0."""
    bonds = [((i, a), (i, b)) for i, code in enumerate(peptide.residues) for a, b, _ in RESIDUES[code].bonds]
    bonds += [((i, "C"), (i + 1, "N")) for i in range(len(peptide) - 1)]
    bonds += [((len(peptide) - 1, "C"), (len(peptide) - 1, "OXT"))]
    bonds += [((bond.i - 1, bond.atom_i), (bond.j - 1, bond.atom_j)) for bond in peptide.bonds]
    step = np.eye(len(place), dtype=np.float32)
    for first, second in bonds:
        if first in place and second in place:
            i, j = place[first], place[second]
            step[i, j] = step[j, i] = 1
    near: np.ndarray = step @ step @ step > 0
    return near


def contact_energy(squared: mx.array, near: mx.array) -> mx.array:
    """Return the energy of pairs of atoms.

    Parameters
    ----------
    squared : mx.array
        (...) d^2, Angstrom^2.
    near : mx.array
        (...) s^2; 0 for pairs that do not count.
    """
    t = squared / mx.maximum(near, 1e-3)
    wall = mx.square(mx.maximum(1.0 - t, 0.0))
    well = mx.maximum(0.0, 1.0 - mx.square((t - 1.15) / 0.65))
    return mx.where(near > 0, WALL * wall - WELL * well, 0.0)


def clashes(atoms: np.ndarray, contacts: Contacts) -> list[list[tuple[int, int, float]]]:
    """Return the clashes of side chains in structures.

    Parameters
    ----------
    atoms : numpy.ndarray
        (n, L, 5 + A, 3) Angstrom; what is no atom may hold anything.
    contacts : Contacts
        Of the n structures.

    Returns
    -------
    list of list of (int, int, float)
        For each structure the places in its flat array of two atoms that are nearer than `Contacts.limit`, each pair
        once, and by how much, Angstrom.
    """
    flat = np.nan_to_num(atoms).reshape(len(atoms), -1, 3)
    side, every, limit = (np.array(array) for array in (contacts.side, contacts.all, contacts.limit))
    points = (np.take_along_axis(flat, index[..., None], axis=1) for index in (side, every))
    excess = limit - np.array(mx.sqrt(squared_distances(*map(mx.array, points))))
    found: list[list[tuple[int, int, float]]] = [[] for _ in atoms]
    for row, q, p in np.argwhere((limit > 0) & (excess > 0)).tolist():
        a, b = int(side[row, q]), int(every[row, p])
        if a < b or b not in side[row]:
            found[row].append((a, b, float(excess[row, q, p])))
    return found


def squared_distances(a: mx.array, b: mx.array) -> mx.array:
    """Return d^2 (..., n, m) between points a (..., n, 3) and b (..., m, 3), Angstrom^2, by one product."""
    product = a @ b.swapaxes(-1, -2)
    squares = mx.square(a).sum(axis=-1)[..., :, None] + mx.square(b).sum(axis=-1)[..., None, :]
    return mx.maximum(squares - 2.0 * product, 0.0)
