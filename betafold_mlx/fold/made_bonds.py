"""Whether rings and disulfides are made, and the torsions across the bond of a ring."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from betafold_mlx.fold.gradient import CA, RING_PAIRS, C, N
from betafold_mlx.fold.restraints import Bonds
from betafold_mlx.geometry import build_backbone, dihedral
from betafold_mlx.geometry.disulfides import place_sulfurs

RING_TOLERANCES, BRIDGE_TOLERANCES = (0.015, 0.04, 0.04, 0.06), (0.03, 0.08, 0.08)
"""Angstrom, in the order of `RING_PAIRS`, and for SG-SG and the two CB-SG: tighter than what
`betafold_mlx.geometry.checks` accepts."""


def bond_misfit(torsions: mx.array, bonds: Bonds) -> np.ndarray:
    """Return the largest violation of a stated bond in units of its tolerance: (B, L, 3) -> (B,), 0 with none."""
    misfit = np.zeros(len(torsions))
    if not bonds.has_rings and not bonds.has_bridges:
        return misfit
    atoms = np.array(build_backbone(torsions, bonds.residues, bonds.mask, bonds.d_residues))  # (B, L, 5, 3)
    rows, i, j = np.argwhere(np.array(bonds.bridges)).T
    _, off = place_sulfurs(atoms[rows, i], atoms[rows, j])
    np.maximum.at(misfit, rows, (np.abs(off) / BRIDGE_TOLERANCES).max(axis=-1))
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
