"""Torsions of backbones near their targets, found through the NeRF.

What is lowered, for each trace by itself, is

    E = 1/2 sum |x_i - y_i|^2 / s^2 + 1/2 sum ((t - t0) / w)^2 + k clashes + 1/2 sum ((d - d0) / r)^2

over phi, psi and omega: x_i are atoms of the built chain, y_i their targets, laid on them with the smallest RMSD; t0
are the torsions of the start (phi, psi), planar trans (omega), or such as are known; d are the distances across the
bond that closes a ring (`betafold_mlx.generate.rings`), where there is one. Steps are those of Levenberg and
Marquardt (D. W. Marquardt, J. Soc. Ind. Appl. Math. 11, 431 (1963)). Derivatives are by hand. A torsion turns all atoms
behind its bond about that bond, a rigid motion: so the gradient is a torque (`geometry.nerf.torsion_gradient`), and the
matrix of Gauss and Newton is what mechanics calls the mass matrix of a chain, from the inertia of all that is behind
each bond (the composite rigid bodies of M. W. Walker and D. E. Orin, J. Dyn. Syst. Meas. Control 104, 205 (1982)).

Bond lengths and angles are not among the unknowns, so they are ideal whatever the trace is; how far the trace is from
what ideal geometry can do, the RMSD says.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.generate.contacts import clash_gradient
from betafold_mlx.generate.mechanics import chain_matrix, weighted_mean
from betafold_mlx.generate.regions import PLACEHOLDERS
from betafold_mlx.generate.rings import STRETCH_WIDTH, Rings
from betafold_mlx.geometry.nerf import place_atoms, residue_constants, torsion_gradient
from betafold_mlx.geometry.spread import rotations_onto
from betafold_mlx.peptide.sequence import residue_ids

TARGET_WIDTH = 0.1
"""Angstrom, s: a coordinate that is so far off costs half a nat."""

TORSION_WIDTH = math.radians(15.0), math.radians(15.0), math.radians(5.0)
"""Radians, w of phi, psi and omega. In the project's training chains trans omega has a standard deviation of 4.5
degrees; phi and psi start from states that are 20 degrees apart, and common."""

RING_TORSION_WIDTH = math.radians(30.0), math.radians(30.0), math.radians(5.0)
"""The same of rings, which must bend more to close: with 15 degrees three of a hundred more do not come near their
traces."""

KNOWN_WIDTH = math.radians(2.0)
"""Radians, w of a torsion that is known."""

CLASH_WEIGHTS = 0.0, 100.0
"""k, nats per Angstrom^2, one after the other: a chain first finds its shape, through itself where it must, and then
makes room."""

STEPS, RING_STEPS = 12, 20
"""With each weight, at most; a closed chain moves with less ease."""

ENOUGH = 1e-3
"""Nats: a fit that a good step lowers by less has ended, and stays as it is, whatever its company still does."""

LONGEST_STEP = 0.5
"""Radians: no step goes over the next hill."""

FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-2, 1e-6, 1e6


class Backbones(NamedTuple):
    """B backbones, padded to L residues, near their targets.

    Attributes
    ----------
    torsions : numpy.ndarray
        (B, L, 3) float64 radians.
    coordinates : numpy.ndarray
        (B, L, 5, 3) float64 Angstrom, laid on the targets; CB is NaN for ``GLY``.
    rmsd, overlap, misfit : numpy.ndarray
        (B,): to the targets and the deepest clash, Angstrom; of the bond that closes a ring, 1 being accepted.
    """

    torsions: np.ndarray
    coordinates: np.ndarray
    rmsd: np.ndarray
    overlap: np.ndarray
    misfit: np.ndarray


class Problem:
    """B fits, padded to L residues.

    Parameters
    ----------
    targets : numpy.ndarray
        (B, L, A, 3) Angstrom.
    atoms : tuple of int
        Which A of N, CA, C they are of.
    start : numpy.ndarray
        (B, L, 3) radians.
    known : numpy.ndarray
        (B, L, 3) radians, NaN where nothing is known.
    residue : str
        ``ALA`` or ``GLY``.
    lengths : numpy.ndarray
        (B,) int, how many residues of each are real.
    rings : bool
        Whether the chains are rings, to be closed.
    looseness : numpy.ndarray, optional
        (B,) what `TARGET_WIDTH` is multiplied by; 1 if not given.
    """

    def __init__(
        self,
        targets: np.ndarray,
        atoms: tuple[int, ...],
        start: np.ndarray,
        known: np.ndarray,
        residue: str,
        lengths: np.ndarray,
        rings: bool = False,
        looseness: np.ndarray | None = None,
    ) -> None:
        batch, length, _ = start.shape
        self._atoms = list(atoms)
        self._rings = Rings(lengths, length, residue) if rings else None
        self._around = None if self._rings is None else self._rings.around
        mask = np.arange(length) < lengths[:, None]  # (B, L)
        self._mask = mx.array(mask.T)
        loose = np.ones(batch) if looseness is None else looseness
        self._precision = 1.0 / np.square(TARGET_WIDTH * loose)  # (B,)
        self._weight = np.broadcast_to(mask[..., None], targets.shape[:3]).astype(np.float64)
        self._middle = weighted_mean(targets, self._weight)
        self._targets = (targets - self._middle) * self._weight[..., None]  # (B, L, A, 3)
        stated = ~np.isnan(known)
        self.start = np.where(stated, known, start)
        width = RING_TORSION_WIDTH if rings else TORSION_WIDTH
        self._stiffness = 1.0 / np.square(np.where(stated, KNOWN_WIDTH, width))  # (B, L, 3)
        self._with_cb = residue != "GLY"
        letters = mx.array(np.tile(residue_ids(length * PLACEHOLDERS[residue]), (batch, 1)))
        self._constants = residue_constants(letters, mx.ones((batch, length), dtype=mx.bool_))

    def energy(self, torsions: np.ndarray, clash_weight: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the energy of torsions (B, L, 3), and what a step needs.

        Parameters
        ----------
        torsions : numpy.ndarray
            (B, L, 3) radians.
        clash_weight : float
            k.

        Returns
        -------
        energy : numpy.ndarray
            (B,) nats.
        gradient : numpy.ndarray
            (B, 3 L).
        matrix : numpy.ndarray
            (B, 3 L, 3 L), Gauss and Newton's, of the targets and the torsions alone. Rigid motions are taken out of
            it: the targets follow them.
        """
        atoms = self._place(torsions)
        backbone = _peptides_first(atoms)  # (B, L, 5, 3)
        built, target = self._laid(backbone)
        away = built - target  # (B, L, A, 3)
        turn = torsions - self.start
        value = 0.5 * self._precision * np.square(away).sum(axis=(1, 2, 3))
        value += 0.5 * (self._stiffness * np.square(turn)).sum(axis=(1, 2))
        pulls = np.zeros((*away.shape[:2], 5, 3), np.float32)
        pulls[:, :, self._atoms] = away * self._precision[:, None, None, None]
        push = _chains_last(pulls)
        if clash_weight:
            clashes, apart, _ = clash_gradient(atoms, self._mask, self._with_cb, self._around)
            value += clash_weight * np.array(clashes).astype(np.float64)
            push = push + clash_weight * apart
        slope = np.array(torsion_gradient(atoms, push).transpose(2, 1, 0)).astype(np.float64)
        gradient = (slope + self._stiffness * turn).reshape(len(turn), -1)
        matrix = chain_matrix(backbone, self._atoms, self._weight) * self._precision[:, None, None]
        diagonal = np.arange(matrix.shape[1])
        matrix[:, diagonal, diagonal] += self._stiffness.reshape(len(turn), -1)
        if self._rings is not None:
            for off, pull in zip(*self._rings.stretch(backbone), strict=True):  # of one distance
                by_torsion = np.array(torsion_gradient(atoms, _chains_last(pull)).transpose(2, 1, 0))
                row = by_torsion.reshape(len(turn), -1).astype(np.float64)
                value += 0.5 * np.square(off) / STRETCH_WIDTH**2
                gradient += off[:, None] * row / STRETCH_WIDTH**2
                matrix += row[:, :, None] * row[:, None, :] / STRETCH_WIDTH**2
        return value, gradient, matrix

    def solve(self) -> Backbones:
        """Lower the energy, and return what came out; rings are closed then."""
        torsions = self.start.copy()
        for weight in CLASH_WEIGHTS:
            self._lower(torsions, weight)
        misfit = np.zeros(len(torsions))
        if self._rings is not None:
            torsions, misfit = self._rings.closed(torsions)
        return self._judged(torsions, misfit)

    def _lower(self, torsions: np.ndarray, clash_weight: float) -> None:
        """Lower the energy of torsions (B, L, 3), which are changed in place."""
        value, gradient, matrix = self.energy(torsions, clash_weight)
        damping = np.full(len(value), FIRST_DAMPING)
        diagonal = np.arange(matrix.shape[1])
        ended = np.zeros(len(value), dtype=bool)
        for _ in range(STEPS if self._rings is None else RING_STEPS):
            damped = matrix.copy()
            damped[:, diagonal, diagonal] *= 1.0 + damping[:, None]
            step = np.linalg.solve(damped, gradient[..., None])[..., 0]
            longest = np.abs(step).max(axis=1, keepdims=True)
            step *= np.minimum(1.0, LONGEST_STEP / np.maximum(longest, 1e-12))
            trial = torsions - step.reshape(torsions.shape)
            new_value, new_gradient, new_matrix = self.energy(trial, clash_weight)
            better = (new_value < value) & ~ended
            ended |= better & (value - new_value < ENOUGH)
            torsions[better], value[better] = trial[better], new_value[better]
            gradient[better], matrix[better] = new_gradient[better], new_matrix[better]
            if ended.all():
                break
            damping = np.clip(np.where(better, damping / 5, damping * 5), LEAST_DAMPING, MOST_DAMPING)

    def _place(self, torsions: np.ndarray) -> mx.array:
        """Return the atoms (3, 5, L, B) of torsions (B, L, 3)."""
        angles = mx.contiguous(mx.array(torsions.astype(np.float32)).transpose(2, 1, 0))
        return place_atoms(angles, self._constants)

    def _laid(self, backbone: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the built atoms (B, L, A, 3) that have targets, centred, and the targets laid on them."""
        built = backbone[:, :, self._atoms]
        built = (built - weighted_mean(built, self._weight)) * self._weight[..., None]
        flat = self._targets.reshape(len(built), -1, 3)
        turned = flat @ rotations_onto(flat, built.reshape(len(built), -1, 3))
        return built, turned.reshape(built.shape)

    def _judged(self, torsions: np.ndarray, misfit: np.ndarray) -> Backbones:
        torsions = np.remainder(torsions + math.pi, 2 * math.pi) - math.pi
        atoms = self._place(torsions)
        overlap = np.array(clash_gradient(atoms, self._mask, self._with_cb, self._around)[2])
        backbone = _peptides_first(atoms)
        built, target = self._laid(backbone)
        rmsd = np.sqrt(np.square(built - target).sum(axis=(1, 2, 3)) / self._weight.sum(axis=(1, 2)))
        flat = built.reshape(len(built), -1, 3)
        turn = rotations_onto(flat, self._targets.reshape(flat.shape))
        middle = weighted_mean(backbone[:, :, self._atoms], self._weight)
        laid = (backbone - middle) @ turn[:, None] + self._middle
        if not self._with_cb:
            laid[:, :, 4] = np.nan
        return Backbones(torsions, laid, rmsd, overlap, misfit)


def _peptides_first(atoms: mx.array) -> np.ndarray:
    """(3, 5, L, B) -> (B, L, 5, 3) float64."""
    return np.array(atoms.transpose(3, 2, 1, 0)).astype(np.float64)


def _chains_last(pulls: np.ndarray) -> mx.array:
    """(B, L, 5, 3) -> (3, 5, L, B), as the chain is built."""
    return mx.contiguous(mx.array(pulls).transpose(3, 2, 1, 0))
