"""Closing of rings and disulfides: damped Gauss-Newton steps on the torsions, and the misfit that remains."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from betafold_mlx.fold.gradient import CA, CB, RING_PAIRS, C, N
from betafold_mlx.fold.restraints import Bonds
from betafold_mlx.geometry import build_backbone, dihedral
from betafold_mlx.geometry.frames import norm

ROUNDS = 12
EXACT = 1e-4
"""Angstrom: the largest misfit of a closed structure."""

MAX_STEP = 0.2
"""Radians a round, so that a step stays where the constraints are nearly linear."""

DAMPING = 1e-3

BRIDGE_CB, BRIDGE_CA = (3.5, 4.3), (4.0, 6.8)
"""Angstrom: inside the accepted CB-CB range of 3.4 to 4.5, and the CA-CA that goes with it (Hazes & Dijkstra 1988)."""

RING_TOLERANCES, BRIDGE_TOLERANCE = (0.015, 0.04, 0.04, 0.06), 0.08
"""Angstrom, in the order of `RING_PAIRS` and for CB-CB: tighter than what `betafold_mlx.geometry.checks` accepts."""

OMEGA_STIFFNESS = 0.15
"""How readily omega turns, as against phi and psi."""


def close_bonds(torsions: mx.array, bonds: Bonds) -> mx.array:
    """Close rings and disulfides.

    Each round takes the shortest step (in phi and psi; omega counts for more) that would meet all constraints
    if they were linear: J^T (J J^T + damping)^-1 r, the damped Gauss-Newton step. Structures without stated bonds
    are returned as they are; those whose bonds cannot be made end as near as they came.

    Parameters
    ----------
    torsions : mx.array
        (B, L, 3) radians.
    bonds : Bonds
        Of the B structures.

    Returns
    -------
    mx.array
        (B, L, 3) radians.
    """
    rings = bonds.has_rings
    if not rings and not bonds.has_bridges:
        return torsions
    pairs = _pairs(bonds)
    batch, length, _ = torsions.shape
    ease = np.tile([1.0, 1.0, OMEGA_STIFFNESS], length)
    best, smallest = np.array(torsions), np.full(batch, np.inf)
    for _ in range(ROUNDS + 1):
        misfit, slopes = _linearise(torsions, bonds, pairs, rings)  # (m, B), (m, B, 3 L)
        worst = np.abs(misfit).max(axis=0)
        # What is closed stays, whatever its neighbours need.
        better = (worst < smallest) & (smallest >= EXACT)
        best[better], smallest[better] = np.array(torsions)[better], worst[better]
        if (smallest < EXACT).all():
            break
        jacobian = slopes.transpose(1, 0, 2).astype(np.float64) * ease  # (B, m, 3 L)
        residual = misfit.T.astype(np.float64)
        square = jacobian @ jacobian.swapaxes(-1, -2)
        square += DAMPING * np.eye(square.shape[-1])
        step = (jacobian.swapaxes(-1, -2) @ np.linalg.solve(square, residual[..., None]))[..., 0] * ease
        longest = np.abs(step).max(axis=-1, keepdims=True)
        step *= np.minimum(1.0, MAX_STEP / np.maximum(longest, 1e-9))
        torsions = torsions - mx.array(step.reshape(batch, length, 3).astype(np.float32))
    return mx.array(best)


def _pairs(bonds: Bonds) -> np.ndarray:
    """Return the disulfides of each structure: (B, largest number, 3) int: i, j, and 1 if it is one, 0 for padding."""
    each = [np.argwhere(matrix) for matrix in np.array(bonds.bridges)]
    table = np.zeros((len(each), max(map(len, each)), 3), dtype=np.int32)
    for row, pairs in enumerate(each):
        table[row, : len(pairs)] = np.concatenate([pairs, np.ones((len(pairs), 1), dtype=int)], axis=1)
    return table


def _linearise(
    torsions: mx.array, bonds: Bonds, pairs: np.ndarray, rings: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the misfits of all constraints and their derivatives: (m, B) and (m, B, 3 L)."""

    def misfits(angles: mx.array) -> list[mx.array]:
        atoms = build_backbone(angles, bonds.residues, bonds.mask, bonds.d_residues)  # (B, L, 5, 3)
        found = _ring_misfits(atoms, bonds) if rings else []
        for number in range(pairs.shape[1]):
            found += _bridge_misfits(atoms, pairs[:, number])
        return found

    count = (4 if rings else 0) + 2 * pairs.shape[1]
    slopes = []
    for number in range(count):
        # Structures do not share torsions: the gradient of the sum holds the gradient of each.
        slope = mx.grad(lambda angles, k=number: misfits(angles)[k].sum())(torsions)
        slopes.append(slope.reshape(len(torsions), -1))
    exact = mx.stack(misfits(torsions))
    return np.array(exact), np.array(mx.stack(slopes))


def _ring_misfits(atoms: mx.array, bonds: Bonds) -> list[mx.array]:
    end = mx.take_along_axis(atoms, bonds.last[:, None, None, None], axis=1)[:, 0]  # (B, 5, 3)
    start = atoms[:, 0]
    misfits = []
    for number, (a, b) in enumerate(((C, N), (CA, N), (C, CA))):
        misfits.append(norm(end[:, a] - start[:, b]) - bonds.ring[:, number])
    # At a planar bond the sine of omega is zero and steep; the CA-CA distance would be at its maximum, and flat.
    misfits.append(mx.sin(dihedral(end[:, CA], end[:, C], start[:, N], start[:, CA])))
    return [mx.where(bonds.cyclic, misfit, 0.0) for misfit in misfits]


def _bridge_misfits(atoms: mx.array, pairs: np.ndarray) -> list[mx.array]:
    """CB-CB and CA-CA of one disulfide a structure, (B, 3) as in `_pairs`: zero inside the accepted range."""
    rows = mx.arange(len(pairs))
    apart = atoms[rows, mx.array(pairs[:, 0])] - atoms[rows, mx.array(pairs[:, 1])]  # (B, 5, 3)
    stated = mx.array(pairs[:, 2] > 0)
    misfits = []
    for atom, (low, high) in ((CB, BRIDGE_CB), (CA, BRIDGE_CA)):
        distance = norm(apart[:, atom])
        misfit = mx.maximum(distance - high, 0.0) - mx.maximum(low - distance, 0.0)
        misfits.append(mx.where(stated, misfit, 0.0))
    return misfits


def bond_misfit(torsions: mx.array, bonds: Bonds) -> np.ndarray:
    """Return the largest violation of a stated bond in units of its tolerance: (B, L, 3) -> (B,), 0 with none."""
    misfit = np.zeros(len(torsions))
    if not bonds.has_rings and not bonds.has_bridges:
        return misfit
    atoms = np.array(build_backbone(torsions, bonds.residues, bonds.mask, bonds.d_residues))  # (B, L, 5, 3)
    low, high = BRIDGE_CB
    for row, i, j in np.argwhere(np.array(bonds.bridges)):
        apart = np.linalg.norm(atoms[row, i, CB] - atoms[row, j, CB])
        misfit[row] = max(misfit[row], max(low - apart, apart - high, 0.0) / BRIDGE_TOLERANCE)
    wanted, last = np.array(bonds.ring), np.array(bonds.last)
    for row in np.flatnonzero(np.array(bonds.cyclic)):
        for (a, b), distance, tolerance in zip(RING_PAIRS, wanted[row], RING_TOLERANCES, strict=True):
            apart = np.linalg.norm(atoms[row, last[row], a] - atoms[row, 0, b])
            misfit[row] = max(misfit[row], abs(apart - distance) / tolerance)
    return misfit


def finish_rings(torsions: mx.array, bonds: Bonds) -> tuple[mx.array, mx.array]:
    """Put the O of a ring's last residue into the plane of its bond, and name the torsions across it.

    Parameters
    ----------
    torsions : mx.array
        (B, L, 3) radians.
    bonds : Bonds
        Of the B structures.

    Returns
    -------
    torsions : mx.array
        (B, L, 3) radians. In a ring phi of the first, psi and omega of the last residue are those across its bond.
    coordinates : mx.array
        (B, L, 5, 3) Angstrom; zero at padding.
    """
    atoms = build_backbone(torsions, bonds.residues, bonds.mask, bonds.d_residues)  # (B, L, 5, 3)
    if not bonds.has_rings:
        return torsions, atoms
    end = mx.take_along_axis(atoms, bonds.last[:, None, None, None], axis=1)[:, 0]  # (B, 5, 3)
    start = atoms[:, 0]
    phi = dihedral(end[:, C], start[:, N], start[:, CA], start[:, C])  # (B,)
    psi = dihedral(end[:, N], end[:, CA], end[:, C], start[:, N])
    omega = dihedral(end[:, CA], end[:, C], start[:, N], start[:, CA])
    place, closed = mx.arange(torsions.shape[1]), bonds.cyclic[:, None]
    at_start = (place == 0) & closed  # (B, L)
    at_end = (place == bonds.last[:, None]) & closed
    columns = [
        mx.where(at_start, phi[:, None], torsions[..., 0]),
        mx.where(at_end, psi[:, None], torsions[..., 1]),
        mx.where(at_end, omega[:, None], torsions[..., 2]),
    ]
    torsions = mx.stack(columns, axis=-1)
    return torsions, build_backbone(torsions, bonds.residues, bonds.mask, bonds.d_residues)
