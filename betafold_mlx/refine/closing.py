"""Make stated bonds exact: Newton steps on the torsions that change nothing else more than they must."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from betafold_mlx.geometry.frames import norm
from betafold_mlx.geometry.torsions import dihedral
from betafold_mlx.refine.energy import CA, CB, C, N, place_atoms
from betafold_mlx.refine.restraints import Restraints

ROUNDS = 12
LONGEST_STEP = 0.2
"""Radians a round, so that a step stays where the constraints are nearly linear."""

DAMPING = 1e-3

BRIDGE_CB, BRIDGE_CA = (3.5, 4.3), (4.0, 6.8)
"""Angstrom: inside the accepted CB-CB range of 3.4 to 4.5, and the CA-CA that goes with it (Hazes & Dijkstra 1988)."""

OMEGA_STIFFNESS = 0.15
"""How readily omega turns, as against phi and psi."""


def close_bonds(torsions: mx.array, restraints: Restraints) -> mx.array:
    """Close rings and disulfides.

    Each round takes the shortest step (in phi and psi; omega counts for more) that would meet all constraints
    if they were linear: J^T (J J^T + damping)^-1 r, the damped Gauss-Newton step. Structures without stated bonds
    are returned as they are; those whose bonds cannot be made end as near as they came.

    Parameters
    ----------
    torsions : mx.array
        (B, S, L, 3) radians.
    restraints : Restraints
        Of the B peptides.

    Returns
    -------
    mx.array
        (B, S, L, 3) radians.
    """
    pairs = _pairs(restraints)
    rings = restraints.has_rings
    if not rings and not restraints.has_bridges:
        return torsions
    batch, samples, length, _ = torsions.shape
    ease = np.tile([1.0, 1.0, OMEGA_STIFFNESS], length)
    best, smallest = np.array(torsions), np.full((batch, samples), np.inf)
    for _ in range(ROUNDS + 1):
        misfit, slopes = _linearise(torsions, restraints, pairs, rings)  # (m, B, S), (m, B, S, 3 L)
        worst = np.abs(misfit).max(axis=0)
        better = worst < smallest
        best[better], smallest[better] = np.array(torsions)[better], worst[better]
        if (smallest < 1e-4).all():
            break
        jacobian = slopes.transpose(1, 2, 0, 3).astype(np.float64) * ease  # (B, S, m, 3 L)
        residual = misfit.transpose(1, 2, 0).astype(np.float64)
        square = jacobian @ jacobian.swapaxes(-1, -2)
        square += DAMPING * np.eye(square.shape[-1])
        step = (jacobian.swapaxes(-1, -2) @ np.linalg.solve(square, residual[..., None]))[..., 0] * ease
        longest = np.abs(step).max(axis=-1, keepdims=True)
        step *= np.minimum(1.0, LONGEST_STEP / np.maximum(longest, 1e-9))
        torsions = torsions - mx.array(step.reshape(batch, samples, length, 3).astype(np.float32))
    return mx.array(best)


def _pairs(restraints: Restraints) -> np.ndarray:
    """Return the disulfides of each peptide: (B, most of them, 3) int: i, j, and 1 if it is one, 0 for padding."""
    bridges = np.array(restraints.bridges)
    each = [np.argwhere(matrix) for matrix in bridges]
    most = max(len(pairs) for pairs in each)
    table = np.zeros((len(each), most, 3), dtype=np.int32)
    for row, pairs in enumerate(each):
        table[row, : len(pairs)] = np.concatenate([pairs, np.ones((len(pairs), 1), dtype=int)], axis=1)
    return table


def _linearise(
    torsions: mx.array, restraints: Restraints, pairs: np.ndarray, rings: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the misfits of all constraints and their derivatives: (m, B, S) and (m, B, S, 3 L)."""

    def misfits(angles: mx.array) -> list[mx.array]:
        atoms = place_atoms(angles, restraints)  # (5, 3, B, S, L)
        found = _ring_misfits(atoms, restraints) if rings else []
        for number in range(pairs.shape[1]):
            found += _bridge_misfits(atoms, pairs[:, number])
        return found

    count = (4 if rings else 0) + 2 * pairs.shape[1]
    batch, samples, length, _ = torsions.shape
    values, slopes = [], []
    for number in range(count):
        # Structures do not share torsions: the gradient of the sum holds the gradient of each.
        value, slope = mx.value_and_grad(lambda angles, k=number: misfits(angles)[k].sum())(torsions)
        values.append(value)
        slopes.append(slope.reshape(batch, samples, 3 * length))
    exact = mx.stack(misfits(torsions))
    return np.array(exact), np.array(mx.stack(slopes))


def _ring_misfits(atoms: mx.array, restraints: Restraints) -> list[mx.array]:
    _, _, batch, samples, _ = atoms.shape
    last = mx.broadcast_to(restraints.last[None, None, :, None, None], (5, 3, batch, samples, 1))
    end = mx.take_along_axis(atoms, last, axis=-1)[..., 0].transpose(0, 2, 3, 1)  # (5, B, S, 3)
    start = atoms[..., 0].transpose(0, 2, 3, 1)
    closed = restraints.cyclic[:, None]
    misfits = []
    for number, (a, b) in enumerate(((C, N), (CA, N), (C, CA))):
        misfits.append(norm(end[a] - start[b]) - restraints.ring[:, number : number + 1])
    # At a planar bond the sine of omega is zero and steep; the CA-CA distance would be at its maximum, and flat.
    misfits.append(mx.sin(dihedral(end[CA], end[C], start[N], start[CA])))
    return [mx.where(closed, misfit, 0.0) for misfit in misfits]


def _bridge_misfits(atoms: mx.array, pairs: np.ndarray) -> list[mx.array]:
    """CB-CB and CA-CA of one disulfide a peptide, (B, 3) as in `_pairs`: zero inside the accepted range."""
    _, _, batch, samples, _ = atoms.shape
    i, j = (
        mx.broadcast_to(mx.array(pairs[:, end])[None, None, :, None, None], (5, 3, batch, samples, 1))
        for end in (0, 1)
    )
    apart = mx.take_along_axis(atoms, i, axis=-1)[..., 0] - mx.take_along_axis(atoms, j, axis=-1)[..., 0]
    stated = mx.array(pairs[:, 2] > 0)[:, None]
    misfits = []
    for atom, (low, high) in ((CB, BRIDGE_CB), (CA, BRIDGE_CA)):
        distance = norm(apart[atom].transpose(1, 2, 0))
        misfit = mx.maximum(distance - high, 0.0) - mx.maximum(low - distance, 0.0)
        misfits.append(mx.where(stated, misfit, 0.0))
    return misfits
