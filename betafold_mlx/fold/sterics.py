"""Van der Waals contacts of side chains: which atoms of a peptide can touch, how near they may come, what that costs.

The energy of two atoms is a soft Lennard-Jones potential of t = d^2 / s^2, s being the sum of their radii: a wall that
rises to `WALL` where they coincide, and a shallow well around s. It needs no roots and no exponentials.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
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
BOTTOM, WIDTH = 1.15, 0.65
"""Where the well is deepest, and from there how far it goes: d^2 / s^2."""

PAIRS = 300_000
"""Pairs of atoms at a time: more of them fall out of the processor's cache."""

NEVER, SAFE = 1e4, 1e-2
"""Angstrom^-2 in the place of 1 / s^2 for pairs that do not count, and Angstrom^2 added to each d^2: beyond the well
even of an atom with itself, where rounding makes d^2 negative."""

CLASH = 0.4
"""Angstrom of overlap that is a clash (Word et al., J. Mol. Biol. 285, 1711 (1999)), of radii without `HYDROGENS`."""


class Contacts(NamedTuple):
    """Atoms of B peptides that can touch: P of them, the Q of side chains first.

    Attributes
    ----------
    atoms : mx.array
        (B, P) int, places in the flat (L * (5 + A)) arrays; padding points at 0.
    side, backbone : mx.array
        (B, Q) and (B, P - Q) int, the same atoms in the flat (L * A) arrays of side chains and (L * 5) of backbones.
    residue : mx.array
        (B, Q) int, the residue of each atom of a side chain; L of padding.
    back : mx.array
        (B, L, 5 + A) int, where each place stands in `atoms`; P where it is no atom.
    inverse : mx.array
        (B, P, P) 1 / s^2, Angstrom^-2; `NEVER` where the two are bonded, of one residue, or padding.
    limit : mx.array
        (B, P, P) Angstrom: nearer than this they clash; 0 where they may.
    """

    atoms: mx.array
    side: mx.array
    backbone: mx.array
    residue: mx.array
    back: mx.array
    inverse: mx.array
    limit: mx.array

    def take(self, rows: mx.array) -> Contacts:
        """Return the contacts of some of the peptides; a row may be taken more than once."""
        return Contacts(*(array[rows] for array in self))

    def take_sides(self, atoms: mx.array) -> mx.array:
        """Return the atoms of side chains (3, A, ..., L, B), as (B, ..., Q, 3)."""
        axes = (atoms.ndim - 1, *range(2, atoms.ndim - 1), 1, 0)
        flat = atoms.transpose(axes).flatten(-3, -2)
        several = (1,) * (flat.ndim - 3)
        return mx.take_along_axis(flat, self.side.reshape(len(flat), *several, -1, 1), axis=-2)

    def in_slots(self, values: mx.array) -> mx.array:
        """Return values (B, Q, 3) of side chains' atoms in their slots, (3, A, L, B); 0 where there is no atom."""
        count, number, _ = values.shape
        index = mx.minimum(self.back[..., SLOTS:], number).flatten(1, 2)
        padded = mx.concatenate([values, mx.zeros((count, 1, 3))], axis=1)
        spread = mx.take_along_axis(padded, index[..., None], axis=1)
        return mx.contiguous(spread.reshape(count, self.back.shape[1], -1, 3).transpose(3, 2, 1, 0))


def contacts_of(peptides: Sequence[Peptide], chains: SideChains) -> Contacts:
    """Return the contacts of peptides and their side chains (`betafold_mlx.geometry.side_chains`)."""
    _, length, slots = chains.mask.shape
    tables = [atoms_of(peptide, names) for peptide, names in zip(peptides, chains.names, strict=True)]
    batch, sides = len(tables), max(table.sides for table in tables)
    total = sides + max(len(table.radius) - table.sides for table in tables)
    atoms = np.zeros((batch, total), dtype=np.int32)
    back = np.full((batch, length * slots), total, dtype=np.int32)
    residue = np.full((batch, sides), length, dtype=np.int32)
    inverse = np.full((batch, total, total), NEVER, dtype=np.float32)
    limit = np.zeros((batch, total, total), dtype=np.float32)
    for row, table in enumerate(tables):
        place = table.residue * slots + table.slot
        column = np.arange(len(place))
        column[table.sides :] += sides - table.sides
        atoms[row, column], back[row, place] = place, column
        residue[row, : table.sides] = table.residue[: table.sides]
        apart = table.apart
        soft = HYDROGENS * (table.hydrogens[:, None] + table.hydrogens.astype(np.float32))
        at = row, column[:, None], column
        inverse[at] = np.where(table.bonded, NEVER, 1 / np.square(apart + soft))
        limit[at] = np.where(table.bonded, 0.0, apart - CLASH)
    at_residue, slot = np.divmod(atoms, slots)
    side = np.maximum(at_residue * (slots - SLOTS) + slot - SLOTS, 0)[:, :sides]
    backbone = (at_residue * SLOTS + np.minimum(slot, SLOTS - 1))[:, sides:]
    arrays = (atoms, side, backbone, residue, back.reshape(batch, length, slots), inverse, limit)
    return Contacts(*map(mx.array, arrays))


class Atoms(NamedTuple):
    """The N atoms of a peptide, those of side chains first, (N,) each.

    Attributes
    ----------
    sides : int
        How many are of side chains.
    residue, slot : numpy.ndarray
        Where each stands.
    radius : numpy.ndarray
        Angstrom.
    polar, hydrogens : numpy.ndarray
        Whether it is N or O, and whether it has hydrogens.
    bonded : numpy.ndarray
        (N, N) bool, which are of one residue or too near along bonds to count.
    """

    sides: int
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
    rows = [_residue_atoms(code, tuple(own)) for code, own in zip(peptide.residues, names, strict=True)]
    residue = np.repeat(np.arange(len(rows)), list(map(len, rows)))
    columns = np.concatenate(rows)
    slot = columns[:, 0].astype(int)
    order = np.argsort(slot < SLOTS, kind="stable")
    if gone := leaving_atoms(peptide):
        order = order[[(residue[k] + 1, names[residue[k]][slot[k]]) not in gone for k in order]]
    residue, slot, columns = residue[order], slot[order], columns[order]
    radius, polar, hydrogens, to_n, to_c = columns[:, 1:].T
    if peptide.bonds:
        place = {
            (i, names[i][k]): new
            for new, (i, k) in enumerate(zip(residue.tolist(), slot.tolist(), strict=True))
        }
        near = near_along_bonds(peptide, place)
    else:
        near = to_c[:, None] + to_n <= 2  # with the bond between the two residues
        near &= residue[:, None] + 1 == residue
        near |= near.T
    return Atoms(
        int((slot >= SLOTS).sum()),
        residue,
        slot,
        radius.astype(np.float32),
        polar > 0,
        hydrogens > 0,
        (residue[:, None] == residue) | near,
    )


@cache
def _residue_atoms(code: str, names: tuple[str, ...]) -> np.ndarray:
    """Return slot, radius, whether it is polar, whether it has hydrogens, and bonds to N and to C of each atom."""
    kind = RESIDUES[code]
    away = [{end: 0} for end in ("N", "C")]
    bonds = [bond[:2] for bond in kind.bonds] + [("C", "OXT")]
    for steps in away:
        for step in range(1, len(names)):
            for a, b in [*bonds, *(bond[::-1] for bond in bonds)]:
                if steps.get(a, step) < step:
                    steps.setdefault(b, step)
    rows = []
    for slot, atom in enumerate(names):
        element = kind.elements.get(atom, "O")
        radius = RADII.get(element, RADII["S"])
        near = (steps.get(atom, len(names)) for steps in away)
        if atom:
            rows.append((slot, radius, element in ("N", "O"), atom in kind.hydrogens, *near))
    return np.array(rows, dtype=float)


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


def contact_energy(squared: mx.array, inverse: mx.array) -> mx.array:
    """Return the energy of pairs of atoms.

    Parameters
    ----------
    squared : mx.array
        (...) d^2, Angstrom^2, from `squared_distances`.
    inverse : mx.array
        (...) 1 / s^2, or `NEVER`.
    """
    t = squared * inverse
    wall = mx.square(mx.minimum(t, 1.0) - 1.0)
    return WALL * wall - mx.maximum(WELL - WELL / WIDTH**2 * mx.square(t - BOTTOM), 0.0)


def contact_slope(points: mx.array, others: mx.array, inverse: mx.array) -> mx.array:
    """Return the gradient (n, Q, 3) at points of their energies with others (n, P, 3); inverse (n, Q, P)."""
    together = max(1, PAIRS // (inverse.shape[1] * inverse.shape[2]))
    slopes = []
    for first in range(0, len(points), together):
        some = slice(first, first + together)
        t = squared_distances(points[some], others[some]) * inverse[some]
        off = t - BOTTOM
        well = off * (mx.abs(off) < WIDTH)
        by_t = mx.minimum(t, 1.0) - 1.0 + (WELL / (WALL * WIDTH**2)) * well  # over 2 WALL
        by_square = by_t * (4.0 * WALL * inverse[some])
        ones = mx.ones((*others[some].shape[:-1], 1))
        pulled = by_square @ mx.concatenate([others[some], ones], axis=-1)
        slopes.append(points[some] * pulled[..., 3:] - pulled[..., :3])
        mx.async_eval(slopes[-1])  # else all would be done together
    return mx.concatenate(slopes)


def clashes(atoms: np.ndarray, contacts: Contacts) -> list[list[tuple[int, int]]]:
    """Return the clashes in structures.

    Parameters
    ----------
    atoms : numpy.ndarray
        (n, L, 5 + A, 3) Angstrom; what is no atom may hold anything.
    contacts : Contacts
        Of the n structures.

    Returns
    -------
    list of list of (int, int)
        For each structure the places in its flat array of two atoms that are nearer than `Contacts.limit`, each pair
        once: first those that have an atom of a side chain in front.
    """
    flat = mx.array(np.nan_to_num(atoms).reshape(len(atoms), -1, 3))
    points = mx.take_along_axis(flat, contacts.atoms[..., None], axis=1)
    close = np.array(squared_distances(points, points) < mx.square(contacts.limit))
    places = np.array(contacts.atoms)
    found: list[list[tuple[int, int]]] = [[] for _ in atoms]
    for row, q, p in np.argwhere(close).tolist():
        if q < p:
            found[row].append((int(places[row, q]), int(places[row, p])))
    return found


def near_pairs(points: np.ndarray, limit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which points (N, 3) are nearer to each other than a limit (N, N): the two places of each pair."""
    squares = np.square(points).sum(axis=-1)
    first, second = np.nonzero(squares[:, None] + squares - 2.0 * points @ points.T < np.square(limit))
    return first, second


def squared_distances(a: mx.array, b: mx.array) -> mx.array:
    """Return d^2 + `SAFE` (..., n, m) between points a (..., n, 3) and b (..., m, 3), Angstrom^2, by one product."""
    squares = (mx.square(each).sum(axis=-1, keepdims=True) for each in (a, b))
    of_a, of_b = (mx.concatenate([each, mx.ones_like(each)], axis=-1) for each in squares)
    first = mx.concatenate([-2.0 * a, of_a + mx.array([SAFE, 0.0])], axis=-1)
    second = mx.concatenate([b, of_b[..., ::-1]], axis=-1)
    return first @ second.swapaxes(-1, -2)
