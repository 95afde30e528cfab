"""The mechanics of a chain whose torsions turn: what each of them moves, and how much."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

N, CA, C = range(3)


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


def weighted_mean(points: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the weighted means (B, 1, 1, 3) of points (B, L, A, 3) by weights (B, L, A)."""
    total = (points * weight[..., None]).sum(axis=(1, 2), keepdims=True)
    return total / weight.sum(axis=(1, 2))[:, None, None, None]
