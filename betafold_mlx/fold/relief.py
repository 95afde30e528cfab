"""Room for side chains: backbone and chi angles of crowded models move together, as little as they must.

Packing leaves the backbone as it is, and where that brings two side chains, or two carbonyl oxygens, into one place,
no rotamer helps. Here all torsions and chi angles of such a model give way to its contacts, held where they were, with
the places of the C-alphas held too: a turn in the middle of a chain would move its ends.

Stated bonds are terms of the same energy. They are soft at first, so that long steps are taken, and in the end so
stiff that nothing moves but along what leaves them closed. Closing them afterwards would bring the contacts back.
"""

from __future__ import annotations

from typing import NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.fold.fit_terms import chain_matrix, lower_energy
from betafold_mlx.fold.gradient import CA, C, N
from betafold_mlx.fold.sterics import CLASH, atoms_of
from betafold_mlx.geometry import build_backbone, dihedral
from betafold_mlx.geometry.links import flat_slopes, link_terms, misfits
from betafold_mlx.geometry.side_chains import SideChains, build_side_chains, side_chains
from betafold_mlx.geometry.torsions import backbone_torsions
from betafold_mlx.peptide.leaving import open_end
from betafold_mlx.peptide.residue_table import RESIDUES
from betafold_mlx.peptide.sequence import Peptide


class Stage(NamedTuple):
    """So many steps of Levenberg and Marquardt at most, with nats that a stated bond costs, off by its tolerance."""

    steps: int
    bond: float


STAGES = (Stage(16, 0.1), Stage(10, 3.0), Stage(8, 100.0), Stage(4, 3000.0))
FREE_STAGES = (Stage(16, 0.0),)
"""Without stated bonds."""

ROUNDS = 2
STILL = 0.05
"""Times that structures give way, held each time where they are, and Angstrom^2 of lacking contacts that are enough."""

ENOUGH = 0.02
"""Nats: a step that brings less ends a stage."""

ROOM = 0.15
"""Angstrom beyond what is no clash."""

CONTACT = 60.0
"""Nats, of a contact by the square of what it lacks, Angstrom^2."""

TORSION, OMEGA, CHI = 4.0, 80.0, 2.0
"""Nats: of a turn of phi or psi, of omega, and of a chi angle, by 1 - cos."""

SHAPE = 0.1
"""Nats, of a C-alpha that moves by an Angstrom."""


class Relieved(NamedTuple):
    """Structures that gave way.

    Attributes
    ----------
    backbone, atoms : numpy.ndarray
        (n, L, 5, 3), (n, L, 5 + A, 3) Angstrom.
    torsions, chi : numpy.ndarray
        (n, L, 3), (n, L, K) radians.
    better : numpy.ndarray
        (n,) bool, whether there is more room and no stated bond is worse, or a bond is made that was not.
    """

    backbone: np.ndarray
    atoms: np.ndarray
    torsions: np.ndarray
    chi: np.ndarray
    better: np.ndarray

    def take(self, rows: np.ndarray) -> Relieved:
        """Return some of the structures."""
        return Relieved(*(array[rows] for array in self))


def relieve(peptide: Peptide, backbone: np.ndarray, chi: np.ndarray) -> Relieved:
    """Make room in structures of a peptide.

    Parameters
    ----------
    peptide : Peptide
        L residues.
    backbone : numpy.ndarray
        (n, L, 5, 3) Angstrom: N, CA, C, O, CB of ideal geometry.
    chi : numpy.ndarray
        (n, L, K) radians; what is not finite counts as 0.
    """
    problem = _Crowd(peptide, np.nan_to_num(backbone), np.nan_to_num(chi))
    first, angles = problem.start, problem.start.copy()
    done = np.zeros(len(angles), dtype=bool)
    for _ in range(ROUNDS):
        last = angles.copy()
        for stage in STAGES if peptide.bonds else FREE_STAGES:
            problem.bond = stage.bond
            lower_energy(problem, angles, stage.steps, ENOUGH)
        angles[done] = last[done]
        after, is_off = problem.lacking(angles)
        done = (after < STILL) & (is_off <= 0.5).all(axis=1)
        if done.all():
            break
        problem.start = angles.copy()  # held where it is now
    before, was_off = problem.lacking(first)
    better = (after < before) & (is_off <= np.maximum(was_off, 0.5)).all(axis=1)
    closed = (was_off > 1.0).any(axis=1) & (is_off <= 0.5).all(axis=1)
    torsions, turned, made, atoms = problem.build(angles)
    return Relieved(made, atoms, torsions, turned, better | closed)


class _Crowd:
    """The energy of n structures, in the form that `lower_energy` takes: of 3 L torsions and X chi angles each."""

    def __init__(self, peptide: Peptide, backbone: np.ndarray, chi: np.ndarray) -> None:
        count, self.length = backbone.shape[:2]
        self.bond = 0.0
        self._cyclic, self._chi = peptide.cyclic, chi.astype(np.float64)
        self._ids, self._hands = (
            mx.array(np.tile(each, (count, 1))) for each in (peptide.ids, peptide.d_residues)
        )
        chains = side_chains([peptide.residues], [open_end(peptide)], self.length)
        self._chains: SideChains = chains.take(mx.zeros(count, dtype=mx.int32))
        table = atoms_of(peptide, chains.names[0])
        names = [chains.names[0][i][slot] for i, slot in zip(table.residue, table.slot, strict=True)]
        number = {(int(i), name): row for row, (i, name) in enumerate(zip(table.residue, names, strict=True))}
        self._flat = table.residue * chains.mask.shape[-1] + table.slot
        self._limit = np.triu(np.where(table.bonded, 0.0, table.apart - CLASH + ROOM), 1)
        self._turns(peptide, number)

        start, _ = backbone_torsions(mx.array(backbone))
        torsions = np.array(start).astype(np.float64)
        ends = (mx.array(backbone[:, -1, atom]) for atom in range(4))
        last = np.array(dihedral(*ends)).astype(np.float64)
        torsions[:, -1, 1] = last - np.copysign(np.pi, last)  # O lies opposite to the next N
        self.start = np.concatenate(
            [torsions.reshape(count, -1), self._chi[:, self._free[0], self._free[1]]], axis=1
        )
        freedom = [TORSION, TORSION, OMEGA] * self.length + [CHI] * len(self._axes)
        self._hold = np.array(freedom)
        still = chain_matrix(backbone.astype(np.float64), [CA], np.ones((count, self.length, 1)))
        self._shape = np.zeros((count, len(freedom), len(freedom)))
        self._shape[:, : 3 * self.length, : 3 * self.length] = 2 * SHAPE * still

        self._terms = [term for bond in peptide.bonds for term in link_terms(peptide, bond)]
        places = [[number[place - 1, name] for place, name in term.atoms] for term in self._terms]
        self._number = {atom: number[atom[0] - 1, atom[1]] for term in self._terms for atom in term.atoms}
        self._tolerance = np.array([term.tolerance for term in self._terms])
        self._pairs = np.array([each for each in places if len(each) == 2], dtype=int).reshape(-1, 2)
        self._planes = np.array([each for each in places if len(each) == 4], dtype=int).reshape(-1, 4)
        self._is_pair = np.array([len(each) == 2 for each in places], dtype=bool)

    def _turns(self, peptide: Peptide, number: dict[tuple[int, str], int]) -> None:
        """Set which chi angles are free, the atoms of their bonds, and which atoms lie behind each angle's bond."""
        atoms, length = list(number), self.length
        behind = np.zeros((len(atoms), 3 * length))
        free, axes, columns = [], [], []
        for place, code in enumerate(peptide.residues):
            kind = RESIDUES[code]
            turns = {row.atom: row.turn for row in kind.placements[0]}
            for row, (_, name) in ((number[atom], atom) for atom in atoms if atom[0] == place):
                behind[row, : 3 * place] = 1.0
                behind[row, 3 * place] = name not in ("N", "CA") and turns.get(name) != "phi"
                behind[row, 3 * place + 1] = name in ("O", "OXT")
            for k, (_, begin, end, _) in enumerate(kind.chi[: self._chi.shape[-1]]):
                if moved := kind.turned(k):
                    free.append((place, k))
                    axes.append((number[place, begin], number[place, end]))
                    columns.append([atom == (place, atom[1]) and atom[1] in moved for atom in atoms])
        behind[:, 0] = 0.0  # phi of the first residue moves nothing (`build_backbone`)
        self._free = np.array(free, dtype=int).reshape(-1, 2).T
        self._axes = np.array(axes, dtype=int).reshape(-1, 2)
        by_chi = np.array(columns, dtype=float).reshape(len(columns), len(atoms)).T
        self._behind = np.concatenate([behind, by_chi], axis=1)

    def build(self, angles: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return torsions (n, L, 3), chi (n, L, K), backbone and all atoms of angles (n, 3 L + X)."""
        torsions = mx.array(angles[:, : 3 * self.length].reshape(len(angles), -1, 3).astype(np.float32))
        chi = self._chi.copy()
        chi[:, self._free[0], self._free[1]] = angles[:, 3 * self.length :]
        made = build_backbone(torsions, self._ids, None, self._hands)
        if self._cyclic:  # the last O lies in the plane of the ring's bond
            across = dihedral(made[:, -1, N], made[:, -1, CA], made[:, -1, C], made[:, 0, N])
            last = mx.arange(self.length) == self.length - 1
            psi = mx.where(last, across[:, None], torsions[..., 1])
            torsions = mx.stack([torsions[..., 0], psi, torsions[..., 2]], axis=-1)
            made = build_backbone(torsions, self._ids, None, self._hands)
        atoms = build_side_chains(made, mx.array(chi.astype(np.float32)), self._chains, torsions[..., 0])
        return np.array(torsions), chi, np.array(made), np.array(atoms)

    def lacking(self, angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the sum of squares that contacts lack (n,), Angstrom^2, and misfits in tolerances (n, K)."""
        points = self._points(self.build(angles)[3])
        short = [np.square(self._contacts(each)[2]).sum() for each in points]
        if not self._terms:
            return np.array(short), np.zeros((len(points), 0))
        off = misfits(self._terms, {atom: points[:, row] for atom, row in self._number.items()})
        return np.array(short), np.abs(off / self._tolerance)

    def __call__(self, angles: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return energy (n,), gradient (n, A) and the matrix of Gauss and Newton (n, A, A)."""
        _, _, made, atoms = self.build(angles)
        points, made = self._points(atoms), made.astype(np.float64)
        turned = angles - self.start
        moved = (self._shape @ turned[..., None])[..., 0]
        value = (self._hold * (1.0 - np.cos(turned))).sum(axis=1) + 0.5 * (moved * turned).sum(axis=1)
        gradient = self._hold * np.sin(turned) + moved
        matrix = self._shape + np.diag(self._hold)
        stiff = 2 * self.bond / np.square(self._tolerance)
        off = (
            misfits(self._terms, {atom: points[:, row] for atom, row in self._number.items()})
            if self._terms
            else None
        )
        along, lever = self._bond_axes(made, points)
        for row, x in enumerate(points):
            i, j, lack = self._contacts(x)
            residual, weight = -lack, np.full(len(lack), 2 * CONTACT)
            if off is not None:
                i, j = np.concatenate([i, self._pairs[:, 0]]), np.concatenate([j, self._pairs[:, 1]])
                own = np.concatenate([off[row][self._is_pair], off[row][~self._is_pair]])
                residual = np.concatenate([residual, own])
                weight = np.concatenate([weight, stiff[self._is_pair], stiff[~self._is_pair]])
            between = x[j] - x[i]
            between /= np.maximum(np.linalg.norm(between, axis=1, keepdims=True), 1e-3)
            # An angle about the direction u through p turns x by u x (x - p).
            slope = np.cross(x[j], between) @ along[row].T - between @ lever[row].T
            slope *= self._behind[j] - self._behind[i]
            if len(self._planes):
                slope = np.concatenate([slope, self._flat_slopes(x, along[row], lever[row])])
            value[row] += 0.5 * (weight * np.square(residual)).sum()
            gradient[row] += (weight * residual) @ slope
            matrix[row] += slope.T @ (weight[:, None] * slope)
        return value, gradient, matrix

    def _points(self, atoms: np.ndarray) -> np.ndarray:
        return atoms.reshape(len(atoms), -1, 3)[:, self._flat].astype(np.float64)

    def _contacts(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the pairs of atoms (U, 3) that are too near, and what they lack, Angstrom."""
        squares = np.square(points).sum(axis=-1)
        apart = squares[:, None] + squares - 2.0 * points @ points.T
        i, j = np.nonzero(apart < np.square(self._limit))
        return i, j, self._limit[i, j] - np.linalg.norm(points[j] - points[i], axis=1)

    def _bond_axes(self, made: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the directions u of the angles' bonds, and u x p with a point p of each: (n, A, 3) twice."""
        n, ca, c = (made[:, :, atom] for atom in (N, CA, C))
        after = np.concatenate([n[:, 1:], 2 * c[:, -1:] - ca[:, -1:]], axis=1)
        starts, ends = (
            np.concatenate(
                [np.stack(each, axis=2).reshape(len(made), -1, 3), points[:, self._axes[:, k]]], axis=1
            )
            for k, each in enumerate(((n, ca, c), (ca, c, after)))
        )
        along = ends - starts
        along /= np.linalg.norm(along, axis=-1, keepdims=True)
        return along, np.cross(along, ends)

    def _flat_slopes(self, x: np.ndarray, along: np.ndarray, lever: np.ndarray) -> np.ndarray:
        """Return the derivatives by the angles (F, A) of the sines of F torsions."""
        pulls = flat_slopes([x[self._planes[:, k]] for k in range(4)])
        slope: np.ndarray = sum(
            (np.cross(x[at], pull) @ along.T - pull @ lever.T) * self._behind[at]
            for at, pull in zip(self._planes.T, pulls, strict=True)
        )
        return slope
