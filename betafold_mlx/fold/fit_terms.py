"""The fit of a backbone: its minimiser, clashes with their gradient, and the Gauss-Newton matrix of the torsions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import mlx.core as mx
import numpy as np

from betafold_mlx.fold.gradient import CA, CB, CONTACTS, C, N

MIN_SEPARATION = 3
"""Residues along the chain from which on two atoms can clash."""
FIRST_DAMPING, MIN_DAMPING, MAX_DAMPING = 1e-2, 1e-6, 1e6
MAX_STEP = 0.5
"""Radians: no step goes over the next hill."""

Energy = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""Torsions (B, L, 3) -> energy (B,), its gradient (B, 3 L) and the Gauss-Newton matrix (B, 3 L, 3 L)."""


def lower_energy(energy: Energy, torsions: np.ndarray, steps: int, enough: float = 0.0) -> np.ndarray:
    """Lower the energy of torsions (B, L, 3), which are changed in place, by Levenberg-Marquardt steps.

    A chain that a good step lowers by less than `enough` has ended, and stays as it is, whatever its company still
    does. Returns which chains have: (B,) bool.
    """
    value, gradient, matrix = energy(torsions)
    damping = np.full(len(value), FIRST_DAMPING)
    diagonal = np.arange(matrix.shape[1])
    ended = np.zeros(len(value), dtype=bool)
    for _ in range(steps):
        damped = matrix.copy()
        damped[:, diagonal, diagonal] *= 1.0 + damping[:, None]
        step = np.linalg.solve(damped, gradient[..., None])[..., 0]
        step *= np.minimum(1.0, MAX_STEP / np.maximum(np.abs(step).max(axis=1, keepdims=True), 1e-12))
        trial = torsions - step.reshape(torsions.shape)
        new_value, new_gradient, new_matrix = energy(trial)
        better = (new_value < value) & ~ended
        ended |= better & (value - new_value < enough)
        torsions[better], value[better] = trial[better], new_value[better]
        gradient[better], matrix[better] = new_gradient[better], new_matrix[better]
        if ended.all():
            break
        damping = np.clip(np.where(better, damping / 5, damping * 5), MIN_DAMPING, MAX_DAMPING)
    return ended


def clash_gradient(
    atoms: mx.array, mask: mx.array, with_cb: bool, around: mx.array | None = None
) -> tuple[mx.array, mx.array, mx.array]:
    """Return the energy of clashes, its gradient, and the deepest overlap.

    The energy is the sum over pairs of atoms that are closer than their closest approach c
    (`betafold_mlx.fold.gradient.CONTACTS`) of ((c^2 - d^2) / 2 c)^2, which is (c - d)^2 near c.

    Parameters
    ----------
    atoms : mx.array
        (3, 5, L, B) Angstrom, as `betafold_mlx.geometry.nerf.place_atoms` makes them.
    mask : mx.array
        (L, B) bool, True for real residues.
    with_cb : bool
        Whether CB counts.
    around : mx.array, optional
        (B,) residues of each chain, where they are rings.

    Returns
    -------
    energy : mx.array
        (B,) Angstrom^2.
    gradient : mx.array
        (3, 5, L, B) Angstrom.
    overlap : mx.array
        (B,) Angstrom: the largest c - d, 0 where nothing clashes.
    """
    length, batch = atoms.shape[2:]
    place = mx.arange(length)
    separation = mx.abs(place[:, None] - place)[..., None]  # (L, L, 1), both ways
    if around is not None:
        separation = mx.minimum(separation, around - separation)  # (L, L, B)
    apart = separation >= MIN_SEPARATION
    apart = apart & mask[:, None] & mask[None]  # (L, L, B)
    energy, overlap = mx.zeros(batch), mx.zeros(batch)
    pushes = [mx.zeros((3, length, batch)) for _ in range(5)]
    for a, b, closest in CONTACTS:
        if CB in (a, b) and not with_cb:
            continue
        between = atoms[:, a, :, None] - atoms[:, b, None]  # (3, L, L, B)
        square = mx.square(between).sum(axis=0)
        depth = mx.maximum(closest**2 - square, 0.0) * apart / (2 * closest)
        # Of two atoms of one kind each pair stands in the matrix twice.
        weight = 0.5 if a == b else 1.0
        energy = energy + weight * mx.square(depth).sum(axis=(0, 1))
        overlap = mx.maximum(overlap, closest - mx.sqrt(mx.where(apart, square, closest**2).min(axis=(0, 1))))
        push = (-2.0 * weight / closest) * depth * between
        pushes[a] = pushes[a] + push.sum(axis=2)
        pushes[b] = pushes[b] - push.sum(axis=1)
    return energy, mx.stack(pushes, axis=1), overlap


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
    points = backbone - weighted_mean(backbone[:, :, atoms], weight)
    n, ca, c = (points[:, :, atom] for atom in (N, CA, C))
    after = np.concatenate([n[:, 1:], 2 * c[:, -1:] - ca[:, -1:]], axis=1)  # behind the last there is nothing
    starts, ends = np.stack([n, ca, c], axis=2), np.stack([ca, c, after], axis=2)  # (B, L, 3, 3)
    axes = ends - starts
    axes /= np.maximum(np.linalg.norm(axes, axis=-1, keepdims=True), 1e-6)  # zero at padding
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


def weighted_mean(points: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the weighted means (B, 1, 1, 3) of points (B, L, A, 3) by weights (B, L, A)."""
    total = (points * weight[..., None]).sum(axis=(1, 2), keepdims=True)
    return total / weight.sum(axis=(1, 2))[:, None, None, None]
