"""From a C-alpha trace to a backbone with ideal geometry: torsions that are fitted through the NeRF.

What is lowered, for each trace by itself, is

    E = 1/2 sum |x_i - y_i|^2 / s^2 + 1/2 sum ((t - t0) / w)^2 + k clashes

over phi, psi and omega: x_i are atoms of the built chain, y_i their targets, laid on them with the smallest RMSD; t0
are the torsions of the start (phi, psi), planar trans (omega), or such as are known. Steps are those of Levenberg and
Marquardt (D. W. Marquardt, J. Soc. Ind. Appl. Math. 11, 431 (1963)). Derivatives are by hand. A torsion turns all atoms
behind its bond about that bond, a rigid motion: so the gradient is a torque (`geometry.nerf.torsion_gradient`), and the
matrix of Gauss and Newton is what mechanics calls the mass matrix of a chain, from the inertia of all that is behind
each bond (the composite rigid bodies of M. W. Walker and D. E. Orin, J. Dyn. Syst. Meas. Control 104, 205 (1982)).

Bond lengths and angles are not among the unknowns, so they are ideal whatever the trace is; how far the trace is from
what ideal geometry can do, the RMSD says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.errors import BetafoldError
from betafold_mlx.generate.contacts import clash_gradient
from betafold_mlx.generate.regions import PLACEHOLDERS
from betafold_mlx.generate.starts import start_torsions
from betafold_mlx.geometry.nerf import place_atoms, residue_constants, torsion_gradient
from betafold_mlx.sequence import residue_ids
from betafold_mlx.spread import rotations_onto

N, CA, C = range(3)

TARGET_WIDTH = 0.1
"""Angstrom, s: a coordinate that is so far off costs half a nat."""

TORSION_WIDTH = math.radians(30.0), math.radians(30.0), math.radians(5.0)
"""Radians, w of phi, psi and omega. In the project's training chains trans omega has a standard deviation of 4.5
degrees; phi and psi are held only against wandering off where the trace says nothing."""

KNOWN_WIDTH = math.radians(2.0)
"""Radians, w of a torsion that is known."""

CLASH_WEIGHTS = 0.0, 100.0
"""k, nats per Angstrom^2, one after the other: a chain first finds its shape, through itself where it must, and then
makes room."""

STEPS = 12
"""With each weight, at most."""

ENOUGH = 1e-3
"""Nats: a fit that a good step lowers by less has ended, and stays as it is, whatever its company still does."""

LONGEST_STEP = 0.5
"""Radians: no step goes over the next hill."""

FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-2, 1e-6, 1e6

MOST_RMSD = 1.0
"""Angstrom: farther from the trace a backbone has another shape than what was drawn. Of 256 windows of 24 residues of
the project's training chains none is farther than 0.2, with noise of 0.5 A on each coordinate none than 0.72."""

MOST_OVERLAP = 0.6
"""Angstrom: atoms deeper in one another than that clash."""

_TOGETHER, _STEP = 256, 8  # traces at a time, padded to a multiple of so many residues


class Fit(NamedTuple):
    """A backbone that was fitted to a trace of L residues.

    Attributes
    ----------
    torsions : numpy.ndarray
        (L, 3) float32 radians: phi, psi, omega.
    coordinates : numpy.ndarray
        (L, 5, 3) float32 Angstrom: N, CA, C, O, CB, laid on the trace; CB is NaN for ``GLY``.
    rmsd : float
        Of its C-alphas to the trace, Angstrom.
    overlap : float
        The deepest clash, Angstrom.
    """

    torsions: np.ndarray
    coordinates: np.ndarray
    rmsd: float
    overlap: float

    @property
    def problem(self) -> str | None:
        """Why this backbone must not be used; None where there is no reason."""
        if not self.rmsd <= MOST_RMSD:
            return f"the trace is {self.rmsd:.2f} A from any ideal backbone (limit {MOST_RMSD:g})"
        if not self.overlap <= MOST_OVERLAP:
            return f"atoms overlap by {self.overlap:.2f} A (limit {MOST_OVERLAP:g})"
        return None


def fit_traces(
    traces: Sequence[np.ndarray], residue: str = "ALA", known: Sequence[np.ndarray | None] | None = None
) -> list[Fit]:
    """Fit backbones to C-alpha traces, each by itself.

    Parameters
    ----------
    traces : sequence of numpy.ndarray
        (L, 3) each, Angstrom, L >= 3; lengths may differ.
    residue : str
        ``ALA`` or ``GLY``: what all residues are.
    known : sequence of numpy.ndarray or None, optional
        For each trace (L, 3) torsions in radians to keep, NaN where nothing is known.

    Returns
    -------
    list of Fit
        In the order of the traces.

    Raises
    ------
    BetafoldError
        For a trace of another shape, one with a coordinate that is not finite, or an unknown residue.
    """
    if residue not in PLACEHOLDERS:
        raise BetafoldError(f"{residue!r} is not one of {', '.join(PLACEHOLDERS)}")
    for trace in traces:
        if trace.ndim != 2 or trace.shape[1] != 3 or len(trace) < 3:
            raise BetafoldError(f"a trace of shape {trace.shape}: it needs three C-alphas or more")
        if not np.isfinite(trace).all():
            raise BetafoldError("a coordinate of a trace is not a number")
    stated = [
        np.full((len(trace), 3), np.nan) if known is None or (torsions := known[row]) is None else torsions
        for row, trace in enumerate(traces)
    ]
    starts = _starts(traces, stated, residue)
    fits: list[Fit | None] = [None] * len(traces)
    lengths = np.array([len(trace) for trace in traces], dtype=np.int64)
    padded = -(-lengths // _STEP) * _STEP  # by its own length alone: a fit does not depend on its company
    for length in np.unique(padded):
        members = np.flatnonzero(padded == length)
        for first in range(0, len(members), _TOGETHER):
            rows = members[first : first + _TOGETHER].tolist()
            problem = Problem(
                _padded([traces[row][:, None] for row in rows], length, 0.0),
                (CA,),
                _padded([starts[row] for row in rows], length, math.pi),
                _padded([stated[row] for row in rows], length, np.nan),
                residue,
                lengths[rows],
            )
            for row, fit in zip(rows, problem.solve(), strict=True):
                fits[row] = fit
    return [fit for fit in fits if fit is not None]


def fit_backbones(coordinates: np.ndarray, torsions: np.ndarray, residue: str = "ALA") -> list[Fit]:
    """Fit ideal backbones to real ones.

    Parameters
    ----------
    coordinates : numpy.ndarray
        (B, L, 3, 3) Angstrom: N, CA, C.
    torsions : numpy.ndarray
        (B, L, 3) radians: those of the backbones, to start from.
    residue : str
        ``ALA`` or ``GLY``.

    Returns
    -------
    list of Fit
        Their RMSD is over N, CA and C.
    """
    nothing = np.full(torsions.shape, np.nan)
    lengths = np.full(len(torsions), torsions.shape[1])
    targets, start = coordinates.astype(np.float64), torsions.astype(np.float64)
    return Problem(targets, (N, CA, C), start, nothing, residue, lengths).solve()


def _starts(traces: Sequence[np.ndarray], stated: Sequence[np.ndarray], residue: str) -> list[np.ndarray]:
    """Return the torsions (L, 3) that the fit of each trace starts from."""
    lengths = np.array([len(trace) for trace in traces])
    starts: list[np.ndarray] = [np.zeros((0, 3))] * len(traces)
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length).tolist()
        known = np.stack([stated[row][:, :2] for row in rows])
        found = start_torsions(np.stack([traces[row] for row in rows]), residue, known)
        planar = np.full((*found.shape[:2], 1), math.pi)
        for row, torsions in zip(rows, np.concatenate([found, planar], axis=-1), strict=True):
            starts[row] = torsions
    return starts


def _padded(arrays: Sequence[np.ndarray], length: int, filler: float) -> np.ndarray:
    """Stack arrays (L, ...) of different L to (B, length, ...) float64."""
    stacked = np.full((len(arrays), length, *arrays[0].shape[1:]), filler)
    for row, array in enumerate(arrays):
        stacked[row, : len(array)] = array
    return stacked


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
    """

    def __init__(
        self,
        targets: np.ndarray,
        atoms: tuple[int, ...],
        start: np.ndarray,
        known: np.ndarray,
        residue: str,
        lengths: np.ndarray,
    ) -> None:
        batch, length, _ = start.shape
        self._lengths, self._atoms = lengths, list(atoms)
        mask = np.arange(length) < lengths[:, None]  # (B, L)
        self._mask = mx.array(mask.T)
        self._weight = np.broadcast_to(mask[..., None], targets.shape[:3]).astype(np.float64)
        self._middle = _mean(targets, self._weight)
        self._targets = (targets - self._middle) * self._weight[..., None]  # (B, L, A, 3)
        stated = ~np.isnan(known)
        self.start = np.where(stated, known, start)
        self._stiffness = 1.0 / np.square(np.where(stated, KNOWN_WIDTH, TORSION_WIDTH))  # (B, L, 3)
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
        value = 0.5 * np.square(away).sum(axis=(1, 2, 3)) / TARGET_WIDTH**2
        value += 0.5 * (self._stiffness * np.square(turn)).sum(axis=(1, 2))
        pulls = np.zeros((*away.shape[:2], 5, 3), np.float32)
        pulls[:, :, self._atoms] = away / TARGET_WIDTH**2
        push = mx.contiguous(mx.array(pulls).transpose(3, 2, 1, 0))
        if clash_weight:
            clashes, apart, _ = clash_gradient(atoms, self._mask, self._with_cb)
            value += clash_weight * np.array(clashes).astype(np.float64)
            push = push + clash_weight * apart
        slope = np.array(torsion_gradient(atoms, push).transpose(2, 1, 0)).astype(np.float64)
        gradient = (slope + self._stiffness * turn).reshape(len(turn), -1)
        matrix = chain_matrix(backbone, self._atoms, self._weight) / TARGET_WIDTH**2
        diagonal = np.arange(matrix.shape[1])
        matrix[:, diagonal, diagonal] += self._stiffness.reshape(len(turn), -1)
        return value, gradient, matrix

    def solve(self) -> list[Fit]:
        """Lower the energy, and return what came out."""
        torsions = self.start.copy()
        for weight in CLASH_WEIGHTS:
            self._lower(torsions, weight)
        return self._fits(torsions)

    def _lower(self, torsions: np.ndarray, clash_weight: float) -> None:
        """Lower the energy of torsions (B, L, 3), which are changed in place."""
        value, gradient, matrix = self.energy(torsions, clash_weight)
        damping = np.full(len(value), FIRST_DAMPING)
        diagonal = np.arange(matrix.shape[1])
        ended = np.zeros(len(value), dtype=bool)
        for _ in range(STEPS):
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
        built = (built - _mean(built, self._weight)) * self._weight[..., None]
        flat = self._targets.reshape(len(built), -1, 3)
        turned = flat @ rotations_onto(flat, built.reshape(len(built), -1, 3))
        return built, turned.reshape(built.shape)

    def _fits(self, torsions: np.ndarray) -> list[Fit]:
        torsions = np.remainder(torsions + math.pi, 2 * math.pi) - math.pi
        atoms = self._place(torsions)
        overlap = np.array(clash_gradient(atoms, self._mask, self._with_cb)[2])
        backbone = _peptides_first(atoms)
        built, target = self._laid(backbone)
        rmsd = np.sqrt(np.square(built - target).sum(axis=(1, 2, 3)) / self._weight.sum(axis=(1, 2)))
        flat = built.reshape(len(built), -1, 3)
        turn = rotations_onto(flat, self._targets.reshape(flat.shape))
        middle = _mean(backbone[:, :, self._atoms], self._weight)
        laid = (backbone - middle) @ turn[:, None] + self._middle
        if not self._with_cb:
            laid[:, :, 4] = np.nan
        return [
            Fit(t[:length].astype(np.float32), x[:length].astype(np.float32), float(r), float(o))
            for t, x, r, o, length in zip(torsions, laid, rmsd, overlap, self._lengths, strict=True)
        ]


def chain_matrix(backbone: np.ndarray, atoms: Sequence[int], weight: np.ndarray) -> np.ndarray:
    """Return J^T J of atoms by torsions, J being without what a motion of the whole chain could do.

    A torsion k moves all atoms behind its bond as one body: atom x with the velocity u x + v, where u is the bond's
    direction and v = -u p with a point p on it (products of vectors). With s_k = (u, v) and I_k the 6 x 6 matrix of the
    sum of squares of velocities of what is behind k, (J^T J)_kl is s_k I_l s_l for k before l.

    Parameters
    ----------
    backbone : numpy.ndarray
        (B, L, >=3, 3) Angstrom: N, CA, C first.
    atoms : sequence of int
        Which A atoms of each residue count.
    weight : numpy.ndarray
        (B, L, A), how much: 1, or 0 for padding.

    Returns
    -------
    numpy.ndarray
        (B, 3 L, 3 L), by phi, psi, omega of the first residue, then of the second ...
    """
    batch = len(backbone)
    points = backbone - _mean(backbone[:, :, atoms], weight)
    n, ca, c = (points[:, :, atom] for atom in (N, CA, C))
    after = np.concatenate([n[:, 1:], 2 * c[:, -1:] - ca[:, -1:]], axis=1)  # behind the last there is nothing
    starts, ends = np.stack([n, ca, c], axis=2), np.stack([ca, c, after], axis=2)  # (B, L, 3, 3)
    axes = ends - starts
    axes /= np.linalg.norm(axes, axis=-1, keepdims=True)
    motion = np.concatenate([axes, -np.cross(axes, ends)], axis=-1)  # (B, L, 3, 6)

    x = points[:, :, atoms]  # (B, L, A, 3)
    turning = np.zeros((*x.shape, 6))  # the velocity of x is (-[x] | 1) (u, v)
    for axis, (i, j) in enumerate(((1, 2), (2, 0), (0, 1))):
        turning[..., i, j], turning[..., j, i] = x[..., axis], -x[..., axis]
        turning[..., axis, 3 + axis] = 1.0
    inertia = np.einsum("blami,blamj->blij", turning * weight[..., None, None], turning)
    behind = np.cumsum(inertia[:, ::-1], axis=1)[:, ::-1]  # of a residue and all after it
    further = np.concatenate([behind[:, 1:], np.zeros_like(behind[:, :1])], axis=1)
    bodies = np.stack([behind, further, further], axis=2)  # phi moves the C of its own residue too
    momenta = np.einsum("blkij,blkj->blki", bodies, motion).reshape(batch, -1, 6)
    upper = np.triu(motion.reshape(batch, -1, 6) @ momenta.swapaxes(1, 2))
    matrix = upper + np.triu(upper, k=1).swapaxes(1, 2)
    whole = behind[:, 0] + 1e-9 * np.eye(6)  # of atoms on a line one rotation does nothing
    return matrix - momenta @ np.linalg.solve(whole, momenta.swapaxes(1, 2))


def _mean(points: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the weighted means (B, 1, 1, 3) of points (B, L, A, 3) by weights (B, L, A)."""
    total = (points * weight[..., None]).sum(axis=(1, 2), keepdims=True)
    return total / weight.sum(axis=(1, 2))[:, None, None, None]


def _peptides_first(atoms: mx.array) -> np.ndarray:
    """(3, 5, L, B) -> (B, L, 5, 3) float64."""
    return np.array(atoms.transpose(3, 2, 1, 0)).astype(np.float64)
