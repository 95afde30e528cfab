"""Torsion angles from coordinates.

Sign and zero as IUPAC-IUB, Biochemistry 9, 3471 (1970): 0 is cis (eclipsed), positive is clockwise looking
from the second atom to the third.
"""

from __future__ import annotations

import math

import mlx.core as mx
import numpy as np

from betafold_mlx.geometry.frames import cross, norm

_DEGENERATE = 1e-12
"""Angstrom^4: cross products of bonds on one line to within the precision of float32."""


def wrap(angle: mx.array) -> mx.array:
    """Return angles (radians) shifted by whole turns into (-pi, pi]."""
    turns = mx.ceil((angle - math.pi) / (2.0 * math.pi))
    return angle - 2.0 * math.pi * turns


def dihedral(a: mx.array, b: mx.array, c: mx.array, d: mx.array) -> mx.array:
    """Return the torsion angle of four points about the axis b-c.

    Parameters
    ----------
    a, b, c, d : mx.array
        (..., 3), Angstrom.

    Returns
    -------
    mx.array
        (...), radians in [-pi, pi]. Where it is undefined (a, b, c or b, c, d on one line or coincident) the
        angle and its gradient are zero; NaN where a point is not finite.
    """
    b1, b2, b3 = b - a, c - b, d - c
    n1, n2 = cross(b1, b2), cross(b2, b3)
    y = norm(b2) * (b1 * n2).sum(axis=-1)  # |b2| b1.(b2 x b3): atan2 needs no normalisation
    x = (n1 * n2).sum(axis=-1)
    # atan2(0, 0) has a NaN gradient: replace the point, not only the result. Near it the gradient overflows.
    undefined = (mx.abs(x) + mx.abs(y)) <= _DEGENERATE
    return mx.where(undefined, 0.0, mx.arctan2(y, mx.where(undefined, 1.0, x)))


def backbone_torsions(coordinates: mx.array, mask: mx.array | None = None) -> tuple[mx.array, mx.array]:
    """Return phi, psi and omega of backbones.

    phi_i = C(i-1) N CA C, psi_i = N CA C N(i+1), omega_i = CA(i) C(i) N(i+1) CA(i+1).

    Parameters
    ----------
    coordinates : mx.array
        (..., L, A, 3) with A >= 3: N, CA, C first. Angstrom.
    mask : mx.array, optional
        (..., L) bool, True for real residues. Masked coordinates may hold anything, NaN included.

    Returns
    -------
    torsions : mx.array
        (..., L, 3), radians; 0.0 where undefined.
    defined : mx.array
        (..., L, 3) bool. False for phi of the first, psi and omega of the last residue, and wherever a
        torsion needs a masked residue.
    """
    n, ca, c = (coordinates[..., atom, :] for atom in range(3))  # (..., L, 3)
    if mask is None:
        mask = mx.ones(n.shape[:-1], dtype=mx.bool_)
    else:
        n, ca, c = (mx.where(mask[..., None], atom, 0.0) for atom in (n, ca, c))
    phi = dihedral(
        c[..., :-1, :], n[..., 1:, :], ca[..., 1:, :], c[..., 1:, :]
    )  # (..., L - 1), of residues 2 .. L
    psi = dihedral(n[..., :-1, :], ca[..., :-1, :], c[..., :-1, :], n[..., 1:, :])  # of residues 1 .. L - 1
    omega = dihedral(ca[..., :-1, :], c[..., :-1, :], n[..., 1:, :], ca[..., 1:, :])

    bonded = mask[..., :-1] & mask[..., 1:]  # (..., L - 1)
    phi, psi, omega = (mx.where(bonded, angle, 0.0) for angle in (phi, psi, omega))
    torsions = mx.stack([_shift(phi), _unshift(psi), _unshift(omega)], axis=-1)
    defined = mx.stack([_shift(bonded), _unshift(bonded), _unshift(bonded)], axis=-1)
    return torsions, defined


def torsions_around(coordinates: np.ndarray) -> np.ndarray:
    """Return phi, psi and omega (S, L, 3) of backbones (S, L, A, 3) as if they were rings; NaN counts as the origin."""
    around = np.nan_to_num(coordinates[:, [-1, *range(coordinates.shape[1]), 0], :3]).astype(np.float64)
    bonds = np.diff(around.reshape(len(around), -1, 3), axis=1)[:, 2:-1]  # from C of the last residue on
    normals = np.cross(bonds[:, :-1], bonds[:, 1:])
    y = np.linalg.norm(bonds[:, 1:-1], axis=-1) * (bonds[:, :-2] * normals[:, 1:]).sum(axis=-1)
    angles: np.ndarray = np.arctan2(y, (normals[:, :-1] * normals[:, 1:]).sum(axis=-1))
    return angles.reshape(len(angles), -1, 3).astype(np.float32)


def _shift(values: mx.array) -> mx.array:
    """Put a zero before the values of residue pairs: (..., L - 1) -> (..., L), by the second residue."""
    return mx.concatenate([mx.zeros((*values.shape[:-1], 1), dtype=values.dtype), values], axis=-1)


def _unshift(values: mx.array) -> mx.array:
    """Put a zero after the values of residue pairs: (..., L - 1) -> (..., L), by the first residue."""
    return mx.concatenate([values, mx.zeros((*values.shape[:-1], 1), dtype=values.dtype)], axis=-1)
