"""Fit torsions so that a backbone of ideal geometry comes near its targets.

Minimised, for each trace by itself, is

    E = 1/2 sum |x_i - y_i|^2 / s^2 + 1/2 sum ((t - t0) / w)^2 + k clashes + 1/2 sum ((d - d0) / r)^2

over phi, psi and omega: x_i are atoms of the built chain, y_i their targets, superposed on them; t0 are the initial
torsions (phi, psi), planar trans (omega), or known torsions; d are the distances across the bond that closes a ring
(`betafold_mlx.generate.rings`). The method is that of Levenberg and Marquardt (D. W. Marquardt, J. Soc. Ind. Appl.
Math. 11, 431 (1963)), with derivatives by hand. A torsion turns all atoms behind its bond about that bond, a rigid
motion: so the gradient is a torque (`geometry.nerf.torsion_gradient`), and the Gauss-Newton matrix is what mechanics
calls the mass matrix of a chain, from the inertia of all that is behind each bond (the composite rigid bodies of M. W.
Walker and D. E. Orin, J. Dyn. Syst. Meas. Control 104, 205 (1982)).
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.fold.fit_terms import chain_matrix, clash_gradient, lower_energy, weighted_mean
from betafold_mlx.generate.rings import STRETCH_WIDTH, Rings
from betafold_mlx.generate.trace_states import PLACEHOLDERS
from betafold_mlx.geometry.nerf import place_atoms, residue_constants, torsion_gradient
from betafold_mlx.geometry.spread import rotations_onto
from betafold_mlx.peptide.sequence import residue_ids

TARGET_WIDTH = 0.1  # Angstrom, s: a coordinate that is so far off costs half a nat
TORSION_WIDTH = math.radians(15.0), math.radians(15.0), math.radians(5.0)
"""Radians, w of phi, psi and omega. In the project's training chains trans omega has a standard deviation of 4.5
degrees; phi and psi start from states that are 20 degrees apart, and common."""
RING_TORSION_WIDTH = math.radians(30.0), math.radians(30.0), math.radians(5.0)
"""The same of rings, which must bend more to close: with 15 degrees three of a hundred more do not come near their
traces."""
KNOWN_WIDTH = math.radians(2.0)  # radians, w of a torsion that is known
CLASH_WEIGHTS = 0.0, 100.0
"""k, nats per Angstrom^2, one after the other: a chain first finds its shape, through itself where it must, and then
makes room."""
STEPS, RING_STEPS = 12, 20  # with each weight, at most; a closed chain moves with less ease
ENOUGH = 1e-3
"""Nats: a fit that a good step lowers by less has ended, and stays as it is, whatever its company still does."""
MAX_RMSD = 1.0
"""Angstrom: farther from the trace a backbone has another shape than the drawn one. Of 256 windows of 24 residues of
the project's training chains none is farther than 0.36, with noise of 0.5 A on each coordinate five are."""
MAX_OVERLAP = 0.6  # Angstrom: a deeper overlap of two atoms is a clash


class Fit(NamedTuple):
    """A backbone that was fitted to a trace of L residues."""

    torsions: np.ndarray  # (L, 3) float32 radians: phi, psi, omega
    # (L, 5, 3) float32 Angstrom: N, CA, C, O, CB, superposed on the trace; CB is NaN for ``GLY``.
    # All are NaN where a coordinate of the trace is not finite.
    coordinates: np.ndarray
    rmsd: float  # C-alphas to the trace, Angstrom
    overlap: float  # the deepest clash, Angstrom
    misfit: float = 0.0  # deviation of the bond that closes a ring, in units of the tolerance

    @property
    def whole(self) -> bool:
        """Whether there is a backbone, and all its bonds are good, also the one that closes a ring."""
        return math.isfinite(self.rmsd) and self.misfit <= 1.0

    @property
    def problems(self) -> tuple[str, ...]:
        """Why this backbone must not be used; empty where all is well."""
        if not math.isfinite(self.rmsd):
            return ("the trace holds coordinates that are not numbers",)
        found = []
        if not self.misfit <= 1.0:
            found.append("the ring cannot be closed near the trace")
        if not self.rmsd <= MAX_RMSD:
            found.append(f"the trace is {self.rmsd:.2f} A from any ideal backbone (limit {MAX_RMSD:g})")
        if not self.overlap <= MAX_OVERLAP:
            found.append(f"atoms overlap by {self.overlap:.2f} A (limit {MAX_OVERLAP:g})")
        return tuple(found)


class FitProblem:
    """B fits, padded to L residues of one type, ``ALA`` or ``GLY``; rings are closed.

    Angles are in radians, positions in Angstrom.
    """

    def __init__(
        self,
        targets: np.ndarray,  # (B, L, A, 3)
        atoms: tuple[int, ...],  # the A atoms, of N, CA, C, that have targets
        start: np.ndarray,  # (B, L, 3) phi, psi, omega
        known: np.ndarray,  # (B, L, 3), NaN where nothing is known
        residue: str,
        lengths: np.ndarray,  # (B,) int
        rings: bool = False,
        looseness: np.ndarray | None = None,  # (B,) factor on `TARGET_WIDTH`; 1 if not given
    ) -> None:
        batch, length, _ = start.shape
        self._atoms = list(atoms)
        self._rings = Rings(lengths, length, residue) if rings else None
        self._lengths = lengths
        self._around = mx.array(lengths) if rings else None  # separations go around a ring
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
        """Return the energy (B,), nats, of torsions (B, L, 3), its gradient (B, 3 L) and the matrix (B, 3 L, 3 L).

        The Gauss-Newton matrix is without the clashes. Rigid motions are taken out of it: the targets follow them.
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

    def solve(self) -> list[Fit]:
        """Minimise the energy, close rings, and return the backbones."""
        torsions = self.start.copy()
        steps = STEPS if self._rings is None else RING_STEPS
        for weight in CLASH_WEIGHTS:
            lower_energy(functools.partial(self.energy, clash_weight=weight), torsions, steps, ENOUGH)
        misfit = np.zeros(len(torsions))
        if self._rings is not None:
            torsions, misfit = self._rings.closed(torsions)
        return self._fits(torsions, misfit)

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

    def _fits(self, torsions: np.ndarray, misfit: np.ndarray) -> list[Fit]:
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
        rows = zip(torsions, laid, rmsd, overlap, misfit, self._lengths, strict=True)
        return [
            Fit(t[:length].astype(np.float32), x[:length].astype(np.float32), float(r), float(o), float(m))
            for t, x, r, o, m, length in rows
        ]


def _peptides_first(atoms: mx.array) -> np.ndarray:
    """(3, 5, L, B) -> (B, L, 5, 3) float64."""
    return np.array(atoms.transpose(3, 2, 1, 0)).astype(np.float64)


def _chains_last(pulls: np.ndarray) -> mx.array:
    """(B, L, 5, 3) -> (3, 5, L, B), as the chain is built."""
    return mx.contiguous(mx.array(pulls).transpose(3, 2, 1, 0))
