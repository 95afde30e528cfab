"""Room for side chains: backbone and chi angles of crowded models move together, as little as they must.

Packing leaves the backbone as it is, and where that brings two side chains, or two carbonyl oxygens, into one place,
no rotamer helps. Here all torsions and chi angles of such a model give way to its contacts, held where they were, with
the places of the C-alphas held too: a turn in the middle of a chain would move its ends.

Stated bonds are terms of the same energy. They are soft at first, so that long steps are taken, and in the end so
stiff that nothing moves but along what leaves them closed. Closing them afterwards would bring the contacts back.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from betafold_mlx.fold.fit_terms import chain_matrix, lower_energy
from betafold_mlx.fold.gradient import CA
from betafold_mlx.fold.sterics import CLASH, atoms_of, near_pairs
from betafold_mlx.geometry.links import flat_slopes, link_terms, misfits
from betafold_mlx.geometry.side_chains import slot_names
from betafold_mlx.geometry.turning import Turning
from betafold_mlx.peptide.leaving import open_end
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
    atoms : numpy.ndarray
        (n, L, 5 + A, 3) Angstrom.
    chi : numpy.ndarray
        (n, L, K) radians.
    better : numpy.ndarray
        (n,) bool, whether there is more room and no stated bond is worse, or a bond is made that was not.
    """

    atoms: np.ndarray
    chi: np.ndarray
    better: np.ndarray

    def take(self, rows: np.ndarray) -> Relieved:
        """Return some of the structures."""
        return Relieved(*(array[rows] for array in self))


def relieve(peptide: Peptide, atoms: np.ndarray, chi: np.ndarray) -> Relieved:
    """Make room in structures of a peptide.

    Parameters
    ----------
    peptide : Peptide
        L residues.
    atoms : numpy.ndarray
        (n, L, 5 + A, 3) Angstrom, of ideal geometry; what is no atom may hold anything.
    chi : numpy.ndarray
        (n, L, K) radians of these atoms.
    """
    problem = _Crowd(peptide, atoms)
    turned = np.zeros((len(atoms), problem.turning.behind.shape[1]))
    first = problem.lacking(turned)
    done = np.zeros(len(atoms), dtype=bool)
    for _ in range(ROUNDS):
        last = turned.copy()
        for stage in STAGES if peptide.bonds else FREE_STAGES:
            problem.bond = stage.bond
            lower_energy(problem, turned, stage.steps, ENOUGH)
        turned[done] = last[done]
        after, is_off = problem.lacking(turned)
        done = (after < STILL) & (is_off <= 0.5).all(axis=1)
        if done.all():
            break
        problem.held = turned.copy()  # where it is now
    before, was_off = first
    better = (after < before) & (is_off <= np.maximum(was_off, 0.5)).all(axis=1)
    closed = (was_off > 1.0).any(axis=1) & (is_off <= 0.5).all(axis=1)
    residues, numbers = problem.turning.chi.T
    made = chi.copy()
    made[:, residues, numbers] += turned[:, 3 * len(peptide) :]
    return Relieved(problem.build(turned), made, better | closed)


class _Crowd:
    """The energy of n structures, in the form that `lower_energy` takes: of how far their angles turned (n, A)."""

    def __init__(self, peptide: Peptide, atoms: np.ndarray) -> None:
        self.bond, self.held = 0.0, 0.0
        self._atoms, count = atoms, len(atoms)
        names = slot_names(peptide.residues, open_end(peptide))
        table = atoms_of(peptide, names)
        self._at = slice(None), table.residue, table.slot
        self._limit = np.triu(np.where(table.bonded, 0.0, table.apart - CLASH + ROOM), 1)
        self.turning = Turning(
            peptide, [(i + 1, names[i][slot]) for i, slot in zip(table.residue, table.slot, strict=True)]
        )
        self._start = self._points(atoms)
        number, length = self.turning.rows, len(peptide)

        self._hold = np.array([TORSION, TORSION, OMEGA] * length + [CHI] * len(self.turning.chi))
        still = chain_matrix(atoms[:, :, :3].astype(np.float64), [CA], np.ones((count, length, 1)))
        self._shape = np.zeros((count, len(self._hold), len(self._hold)))
        self._shape[:, : 3 * length, : 3 * length] = 2 * SHAPE * still

        self._terms = [term for bond in peptide.bonds for term in link_terms(peptide, bond)]
        places = [[number[atom] for atom in term.atoms] for term in self._terms]
        self._number = {atom: number[atom] for term in self._terms for atom in term.atoms}
        self._tolerance = np.array([term.tolerance for term in self._terms])
        self._pairs = np.array([each for each in places if len(each) == 2], dtype=int).reshape(-1, 2)
        self._planes = np.array([each for each in places if len(each) == 4], dtype=int).reshape(-1, 4)
        self._is_pair = np.array([len(each) == 2 for each in places], dtype=bool)
        ring = [(length, "CA"), (length, "C"), (length, "O"), (1, "N")]
        self._ring = [number[atom] for atom in ring] if peptide.cyclic else None

    def build(self, turned: np.ndarray) -> np.ndarray:
        """Return all atoms (n, L, 5 + A, 3) of structures that turned."""
        atoms = self._atoms.copy()
        atoms[self._at] = self._turned(turned)
        return atoms

    def _turned(self, turned: np.ndarray) -> np.ndarray:
        """Return the atoms (n, U, 3) of structures that turned."""
        points = self.turning.turned(self._start, turned)
        if self._ring:  # the last O lies in the plane of the ring's bond
            points[:, self._ring[2]] = _opposite(*(points[:, row] for row in self._ring))
        return points

    def lacking(self, turned: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the sum of squares that contacts lack (n,), Angstrom^2, and misfits in tolerances (n, K)."""
        points = self._turned(turned)
        short = [np.square(self._contacts(each)[2]).sum() for each in points]
        if not self._terms:
            return np.array(short), np.zeros((len(points), 0))
        off = misfits(self._terms, {atom: points[:, row] for atom, row in self._number.items()})
        return np.array(short), np.abs(off / self._tolerance)

    def __call__(self, turned: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return energy (n,), gradient (n, A) and the matrix of Gauss and Newton (n, A, A)."""
        points = self._turned(turned)
        turned = turned - self.held
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
        behind = self.turning.behind
        for row, (x, along, lever) in enumerate(zip(points, *self.turning.axes(points), strict=True)):
            i, j, lack = self._contacts(x)
            residual, weight = -lack, np.full(len(lack), 2 * CONTACT)
            if off is not None:
                i, j = np.concatenate([i, self._pairs[:, 0]]), np.concatenate([j, self._pairs[:, 1]])
                own = np.concatenate([off[row][self._is_pair], off[row][~self._is_pair]])
                residual = np.concatenate([residual, own])
                weight = np.concatenate([weight, stiff[self._is_pair], stiff[~self._is_pair]])
            between = x[j] - x[i]
            between /= np.maximum(np.linalg.norm(between, axis=1, keepdims=True), 1e-3)
            slope = np.cross(x[j], between) @ along.T - between @ lever.T
            slope *= behind[j] - behind[i]
            if len(self._planes):
                slope = np.concatenate([slope, self._flat_slopes(x, along, lever)])
            value[row] += 0.5 * (weight * np.square(residual)).sum()
            gradient[row] += (weight * residual) @ slope
            matrix[row] += slope.T @ (weight[:, None] * slope)
        return value, gradient, matrix

    def _points(self, atoms: np.ndarray) -> np.ndarray:
        return atoms[self._at].astype(np.float64)

    def _contacts(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the pairs of atoms (U, 3) that are too near, and what they lack, Angstrom."""
        i, j = near_pairs(points, self._limit)
        return i, j, self._limit[i, j] - np.linalg.norm(points[j] - points[i], axis=1)

    def _flat_slopes(self, x: np.ndarray, along: np.ndarray, lever: np.ndarray) -> np.ndarray:
        """Return the derivatives by the angles (F, A) of the sines of F torsions."""
        pulls = flat_slopes([x[self._planes[:, k]] for k in range(4)])
        slope: np.ndarray = sum(
            (np.cross(x[at], pull) @ along.T - pull @ lever.T) * self.turning.behind[at]
            for at, pull in zip(self._planes.T, pulls, strict=True)
        )
        return slope


def _opposite(ca: np.ndarray, c: np.ndarray, o: np.ndarray, next_n: np.ndarray) -> np.ndarray:
    """Return O (n, 3), as far along CA-C and from it as it is, but on the other side than the next N."""
    along = (c - ca) / np.linalg.norm(c - ca, axis=-1, keepdims=True)

    def away(point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        off = point - c
        beside: np.ndarray = (off * along).sum(axis=-1, keepdims=True) * along
        return beside, off - beside

    (beside, out), (_, other) = away(o), away(next_n)
    size = np.linalg.norm(out, axis=-1, keepdims=True) / np.linalg.norm(other, axis=-1, keepdims=True)
    placed: np.ndarray = c + beside - size * other
    return placed
