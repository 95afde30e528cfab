"""Fit of backbone torsions to atoms in space: Levenberg-Marquardt through the chain of ideal geometry.

For each chain by itself

    E = 1/2 sum w |x_i - y_i|^2 / s^2 + 1/2 sum ((t - t0) / r)^2 + k clashes + 1/2 sum (stretch / u)^2

is lowered over phi, psi and omega: x_i are atoms of the built chain, y_i their targets, superposed on them; t0 are the
torsions of the start; stretches are those of the ring bond and of disulfides. Unlike a minimisation over distances it
has the hand of the targets, and reaches them in a dozen steps (Marquardt, J. Soc. Ind. Appl. Math. 11, 431, 1963).
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.fold.fit_terms import chain_matrix, clash_gradient, lower_energy, weighted_mean
from betafold_mlx.fold.gradient import BRIDGE_CA, CA, CB, RING_PAIRS
from betafold_mlx.fold.joining import joined
from betafold_mlx.fold.restraints import Bonds
from betafold_mlx.geometry.nerf import place_atoms, residue_constants, torsion_gradient
from betafold_mlx.geometry.spread import rotations_onto

DISULFIDE_CB = (3.6, 4.0)
"""CB-CB of a disulfide, Angstrom, inside the accepted range."""


class Stage(NamedTuple):
    """One part of a fit.

    Attributes
    ----------
    steps : int
        At most.
    clash : float
        k, nats per Angstrom^2.
    ring, disulfide : float
        u, Angstrom: a stretch that costs half a nat.
    """

    steps: int
    clash: float
    ring: float
    disulfide: float


STAGES = (Stage(12, 0.0, 0.3, 0.6), Stage(12, 30.0, 0.05, 0.2))
"""A chain first finds its shape, through itself where it must, then makes room and closes."""

ENOUGH, LOOK_EVERY = 0.05, 4
"""Nats: a step that gains less is the last one of a chain; and steps after which this is looked at."""


TARGET_WIDTH = 0.5
"""Angstrom, of a C-alpha about that of a template or a trace."""


class FitTargets(NamedTuple):
    """Where C-alphas are to lie, in B chains padded to L residues.

    Attributes
    ----------
    ca : numpy.ndarray
        (B, L, 3) Angstrom.
    weight : numpy.ndarray
        (B, L), 1, or 0 where a residue has no target.
    width : float
        s, Angstrom: a C-alpha that is so far off costs half a nat.
    """

    ca: np.ndarray
    weight: np.ndarray
    width: float


class Fit(NamedTuple):
    """A fit of B chains: what `fit_torsions` takes."""

    start: np.ndarray
    freedom: np.ndarray
    targets: FitTargets
    bonds: Bonds


def fit_together(fits: Sequence[Fit]) -> list[np.ndarray]:
    """Return what `fit_torsions` makes of each, in one go; their chains have one padded length, targets one width."""
    start, freedom, ca, weight = (
        np.concatenate(arrays)
        for arrays in zip(*((fit.start, fit.freedom, *fit.targets[:2]) for fit in fits), strict=True)
    )
    targets = FitTargets(ca, weight, fits[0].targets.width)
    torsions = fit_torsions(start, freedom, targets, joined([fit.bonds._replace(reach=None) for fit in fits]))
    return np.split(torsions, np.cumsum([len(fit.start) for fit in fits])[:-1])


def fit_torsions(
    start: np.ndarray,
    freedom: np.ndarray,
    targets: FitTargets,
    bonds: Bonds,
    stages: tuple[Stage, ...] = STAGES,
) -> np.ndarray:
    """Fit torsions to targets.

    Parameters
    ----------
    start : numpy.ndarray
        (B, L, 3) radians phi, psi, omega.
    freedom : numpy.ndarray
        (B, L, 3) r, radians: a turn from the start that costs half a nat.
    targets : FitTargets
        Of the B chains.
    bonds : Bonds
        Residues, mask, ring and disulfides of the B chains.
    stages : tuple of Stage
        One after the other.

    Returns
    -------
    numpy.ndarray
        (B, L, 3) float64 radians.
    """
    whole = _Problem(start, freedom, targets, bonds)
    torsions = whole.start.copy()
    for stage in stages:
        going, problem = np.arange(len(torsions)), whole
        for first in range(0, stage.steps, LOOK_EVERY):  # chains that have ended are left behind
            lowered = torsions[going]
            steps = min(LOOK_EVERY, stage.steps - first)
            ended = lower_energy(functools.partial(problem._energy, stage=stage), lowered, steps, ENOUGH)
            torsions[going] = lowered
            if ended.all():
                break
            if ended.any():
                going, problem = going[~ended], problem.part(~ended)
    return torsions


class _Problem:
    def __init__(self, start: np.ndarray, freedom: np.ndarray, targets: FitTargets, bonds: Bonds) -> None:
        self.start = start.astype(np.float64)
        self._stiffness = 1.0 / np.square(freedom.astype(np.float64))
        self._weight = targets.weight.astype(np.float64)[..., None]  # (B, L, 1)
        points = targets.ca.astype(np.float64)[:, :, None]  # (B, L, 1, 3)
        self._targets = self._centred(points)
        self._precision = 1.0 / targets.width**2
        mask = np.array(bonds.mask)
        self._mask = mx.array(mask.T)
        self._constants = residue_constants(bonds.residues, bonds.mask, bonds.d_residues)
        length = mask.sum(axis=1)
        # What is far along an open chain is never near around it.
        self._around = mx.array(np.where(np.array(bonds.cyclic), length, 4 * mask.shape[1]))
        self._stretches = _stretches_of(bonds)

    def part(self, keep: np.ndarray) -> _Problem:
        """Return the problem of some of the chains: `keep` is (B,) bool."""
        part, rows = copy.copy(self), mx.array(np.flatnonzero(keep))
        part.start, part._stiffness, part._weight = (
            self.start[keep],
            self._stiffness[keep],
            self._weight[keep],
        )
        part._targets, part._around = self._targets[keep], self._around[rows]
        part._mask, part._constants = self._mask[:, rows], self._constants[..., rows]
        residues, limits, stated = (
            of[keep] for of in (self._stretches.residues, self._stretches.range, self._stretches.stated)
        )
        part._stretches = self._stretches._replace(residues=residues, range=limits, stated=stated)
        return part

    def _centred(self, points: np.ndarray) -> np.ndarray:
        return (points - weighted_mean(points, self._weight)) * self._weight[..., None]

    def _energy(self, torsions: np.ndarray, stage: Stage) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the energy (B,), its gradient (B, 3 L) and the matrix of Gauss and Newton (B, 3 L, 3 L)."""
        batch = len(torsions)
        angles = mx.contiguous(mx.array(torsions.astype(np.float32)).transpose(2, 1, 0))
        atoms = place_atoms(angles, self._constants)  # (3, 5, L, B)
        backbone = np.array(atoms.transpose(3, 2, 1, 0)).astype(np.float64)  # (B, L, 5, 3)
        built = self._centred(backbone[:, :, CA : CA + 1])
        flat = self._targets.reshape(batch, -1, 3)
        laid = flat @ rotations_onto(flat, built.reshape(batch, -1, 3))
        away = built - laid.reshape(built.shape)
        turn = np.remainder(torsions - self.start + math.pi, 2 * math.pi) - math.pi
        value = 0.5 * self._precision * np.square(away).sum(axis=(1, 2, 3))
        value += 0.5 * (self._stiffness * np.square(turn)).sum(axis=(1, 2))
        pulls = np.zeros((batch, 1 + len(self._stretches.atoms), *backbone.shape[1:]), np.float32)
        pulls[:, 0, :, CA] = self._precision * away[:, :, 0]
        stretch = self._stretches.measure(backbone, stage, pulls[:, 1:])  # (B, m)
        value += 0.5 * np.square(stretch).sum(axis=1)
        slopes = self._by_torsion(atoms, pulls)  # (B, 1 + m, 3 L)
        gradient = slopes[:, 0] + (self._stiffness * turn).reshape(batch, -1)
        gradient += (stretch[..., None] * slopes[:, 1:]).sum(axis=1)
        if stage.clash:
            clashes, push, _ = clash_gradient(atoms, self._mask, True, self._around)
            value += stage.clash * np.array(clashes).astype(np.float64)
            slope = np.array(torsion_gradient(atoms, push).transpose(2, 1, 0)).astype(np.float64)
            gradient += stage.clash * slope.reshape(batch, -1)
        matrix = chain_matrix(backbone, [CA], self._weight) * self._precision
        matrix += slopes[:, 1:].swapaxes(1, 2) @ slopes[:, 1:]
        diagonal = np.arange(matrix.shape[1])
        matrix[:, diagonal, diagonal] += self._stiffness.reshape(batch, -1)
        return value, gradient, matrix

    @staticmethod
    def _by_torsion(atoms: mx.array, pulls: np.ndarray) -> np.ndarray:
        """Return what pulls on atoms do to the torsions: (B, m, L, 5, 3) -> (B, m, 3 L) float64."""
        batch, number = pulls.shape[:2]
        last = mx.array(pulls.reshape(batch * number, *pulls.shape[2:])).transpose(3, 2, 1, 0)
        slopes = torsion_gradient(mx.repeat(atoms, number, axis=3), mx.contiguous(last))  # (3, L, B m)
        return np.array(slopes.transpose(2, 1, 0)).astype(np.float64).reshape(batch, number, -1)


class _Stretches(NamedTuple):
    """m distances of each of B chains that stated bonds ask for.

    Attributes
    ----------
    atoms : numpy.ndarray
        (m, 2) int, atoms of the two residues.
    residues : numpy.ndarray
        (B, m, 2) int.
    range : numpy.ndarray
        (B, m, 2) Angstrom, lowest and highest distance.
    of_ring : numpy.ndarray
        (m,) bool, across the bond of a ring; else of a disulfide.
    stated : numpy.ndarray
        (B, m) bool.
    """

    atoms: np.ndarray
    residues: np.ndarray
    range: np.ndarray
    of_ring: np.ndarray
    stated: np.ndarray

    def measure(self, backbone: np.ndarray, stage: Stage, pulls: np.ndarray) -> np.ndarray:
        """Return the stretches (B, m) in units of the stage; add their derivatives to pulls (B, m, L, 5, 3)."""
        rows = np.arange(len(backbone))
        stretch = np.zeros(self.stated.shape)
        for number, (a, b) in enumerate(self.atoms):
            i, j = self.residues[:, number].T
            unit = stage.ring if self.of_ring[number] else stage.disulfide
            between = backbone[rows, i, a] - backbone[rows, j, b]
            distance = np.linalg.norm(between, axis=1)
            low, high = self.range[:, number].T
            off = np.maximum(distance - high, 0.0) - np.maximum(low - distance, 0.0)
            stretch[:, number] = off / unit * self.stated[:, number]
            direction = between / (np.maximum(distance, 1e-6) * unit)[:, None] * self.stated[:, number, None]
            pulls[rows, number, i, a] += direction
            pulls[rows, number, j, b] -= direction
        return stretch


def _stretches_of(bonds: Bonds) -> _Stretches:
    batch = len(bonds.mask)
    cyclic, last, bridges = np.array(bonds.cyclic), np.array(bonds.last), np.array(bonds.bridges)
    pairs = [np.argwhere(matrix) for matrix in bridges]
    rings = len(RING_PAIRS) if cyclic.any() else 0
    count = rings + 2 * max(len(each) for each in pairs)
    atoms = np.zeros((count, 2), dtype=int)
    residues = np.zeros((batch, count, 2), dtype=int)
    residues[..., 1] = 1  # two residues even where nothing is stated
    limits = np.zeros((batch, count, 2))
    stated = np.zeros((batch, count), dtype=bool)
    if rings:
        atoms[:rings] = RING_PAIRS
        residues[:, :rings, 0], residues[:, :rings, 1] = last[:, None], 0
        limits[:, :rings] = np.array(bonds.ring)[..., None]
        stated[:, :rings] = cyclic[:, None]
    for number in range(rings, count, 2):
        atoms[number], atoms[number + 1] = CB, CA
    for row, each in enumerate(pairs):
        for k, pair in enumerate(each):
            places = slice(rings + 2 * k, rings + 2 * k + 2)
            residues[row, places] = pair
            limits[row, places] = (DISULFIDE_CB, BRIDGE_CA)
            stated[row, places] = True
    return _Stretches(atoms, residues, limits, np.arange(count) < rings, stated)
