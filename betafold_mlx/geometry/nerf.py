"""Backbone coordinates from torsions with ideal bond lengths and angles.

The natural extension reference frame (NeRF; Parsons et al., J. Comput. Chem. 26, 1063 (2005)) places one atom
after another from the three before it. Done by residue, that is a rotation from the frame of residue i to the
frame of residue i + 1 which depends on psi_i, omega_i and phi_(i+1) alone. Rotations compose associatively,
so all frames follow from a prefix scan in ceil(log2(L)) batched steps (Hillis and Steele, Commun. ACM 29,
1170 (1986)) instead of L steps one after another. CA positions are then a running sum of CA-CA vectors: in
float32 that keeps bonds between neighbours exact to rounding, where a scan of rotations *and* translations
would group the two neighbours differently.

Inside this file arrays are components first, then residues, then peptides: rotations (3, 3, L, B) and vectors
(3, L, B). A product is three multiplications and two additions over long contiguous rows, and so is each step along the
chain.
"""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from betafold_mlx.geometry import ideal


def has_cb(residues: mx.array) -> mx.array:
    """Return where residues (...) have a CB atom, that is everywhere but at Gly; bool, same shape."""
    return residues != ideal.GLY


def build_backbone(
    torsions: mx.array,
    residues: mx.array,
    mask: mx.array | None = None,
    d_residues: mx.array | None = None,
) -> mx.array:
    """Return the backbone atoms of peptides with ideal geometry.

    The first residue lies in a fixed frame: its CA at the origin, C on the positive x axis, N in the xy plane
    at positive y (as `frames.from_three_points`). phi of the first residue and omega of the last one move
    nothing; psi of the last one places its O.

    Parameters
    ----------
    torsions : mx.array
        (B, L, 3): phi, psi, omega in radians, L >= 1.
    residues : mx.array
        (B, L) integer residue ids.
    mask : mx.array, optional
        (B, L) bool, True for real residues, which come first in each row. Masked torsions may hold anything.
    d_residues : mx.array, optional
        (B, L) bool, True for D residues, which carry their CB on the other side; all are L without it.

    Returns
    -------
    mx.array
        (B, L, 5, 3) float32, Angstrom: N, CA, C, O, CB; zeros where masked. Gly carries a CB where Ala would,
        so that the array has no holes: `has_cb` says which are real.
    """
    if mask is None:
        mask = mx.ones(residues.shape, dtype=mx.bool_)
    constants = residue_constants(residues, mask, d_residues)
    coordinates: mx.array = _build(torsions, constants, mask)  # type: ignore[assignment]
    return coordinates


def residue_constants(residues: mx.array, mask: mx.array, d_residues: mx.array | None = None) -> mx.array:
    """Return the ideal values that `place_atoms` needs: (16, L, B).

    Parameters
    ----------
    residues, mask : mx.array
        (B, L) residue ids, and True for real residues.
    d_residues : mx.array, optional
        (B, L) bool, True for D residues.
    """
    next_is_pro = (residues[:, 1:] == ideal.PRO) & mask[:, 1:]  # (B, L - 1)
    next_is_pro = mx.pad(next_is_pro, [(0, 0), (0, 1)])
    rows = mx.where(next_is_pro, residues + _PRE_PRO, residues)
    if d_residues is not None:
        rows = mx.where(d_residues, rows + _D, rows)
    return mx.take(mx.array(_RESIDUE_TABLE.T), rows.T, axis=1)


def place_atoms(torsions: mx.array, constants: mx.array) -> mx.array:
    """Return backbone atoms in the layout of this file.

    Parameters
    ----------
    torsions : mx.array
        (3, L, B): phi, psi, omega in radians.
    constants : mx.array
        (16, L, B), from `residue_constants`.

    Returns
    -------
    mx.array
        (3, 5, L, B), Angstrom: N, CA, C, O, CB; of padding too.
    """
    c, s = mx.cos(torsions), mx.sin(torsions)
    rotations, ca = _place_frames(c, s, constants)  # (3, 3, L, B), (3, L, B)
    x, y, z = rotations[:, 0], rotations[:, 1], rotations[:, 2]  # axes of the residue, (3, L, B)
    radius = constants[_O_RADIUS]  # O lies opposite to the next N, at the torsion psi + pi
    n = x * constants[_N_X] + y * constants[_N_Y]
    carbonyl = x * constants[_CA_C]
    o = x * constants[_O_X] - (y * (radius * c[1]) + z * (radius * s[1]))
    cb = x * constants[_CB_X] + y * constants[_CB_Y] + z * constants[_CB_Z]
    return mx.stack([n, mx.zeros_like(ca), carbonyl, o, cb], axis=1) + ca[:, None]


def torsion_gradient(atoms: mx.array, gradient: mx.array) -> mx.array:
    """Return the gradient with respect to torsions from that with respect to atoms, by torques.

    A torsion turns all atoms behind its bond about that bond. With u the bond's direction, p a point on it and g the
    gradient at the atoms x behind it, the derivative is u . sum (x - p) x g. The sums over "all atoms behind" are
    running sums from the end of the chain (Abe et al., Comput. Chem. 8, 239 (1984)), so this costs a fraction of
    differentiating the scan.

    Parameters
    ----------
    atoms, gradient : mx.array
        (3, 5, L, B), as from `place_atoms`; the gradient is zero at padding.

    Returns
    -------
    mx.array
        (3, L, B): phi, psi, omega.
    """
    both = mx.stack([gradient, cross_first(atoms, gradient)])  # forces and torques, (2, 3, 5, L, B)
    behind = mx.cumsum(both.sum(axis=2), axis=2, reverse=True)  # (2, 3, L, B): residue i and all after it
    n, ca, c = (atoms[:, atom] for atom in range(3))

    def next_residue(array: mx.array) -> mx.array:
        return mx.concatenate([array[..., 1:, :], mx.zeros_like(array[..., :1, :])], axis=-2)

    # Of phi, psi and omega: at the end of a chain omega's bond leads nowhere, and nothing lies behind it.
    after = next_residue(behind)
    force, torque = mx.stack([behind, after + both[:, :, 3], after], axis=2)  # (3, 3, L, B)
    end = mx.stack([ca, c, next_residue(n)], axis=1)
    axis = end - mx.stack([n, ca, c], axis=1)
    length = mx.sqrt(mx.maximum((axis * axis).sum(axis=0), 1e-12))
    slopes = (axis * (torque - cross_first(end, force))).sum(axis=0) / length
    first = mx.array([0.0, 1.0, 1.0])[:, None, None]  # phi of the first residue moves nothing
    return mx.concatenate([slopes[:, :1] * first, slopes[:, 1:]], axis=1)


@mx.custom_function
def _build(torsions: mx.array, constants: mx.array, mask: mx.array) -> mx.array:
    torsions = mx.contiguous(mx.where(mask[..., None], torsions, 0.0).transpose(2, 1, 0))  # (3, L, B)
    atoms = place_atoms(torsions, constants)
    return mx.where(mask[..., None, None], atoms.transpose(3, 2, 1, 0), 0.0)


@_build.vjp
def _build_vjp(
    primals: tuple[mx.array, mx.array, mx.array], cotangent: mx.array, coordinates: mx.array
) -> tuple[mx.array, mx.array, mx.array]:
    _, constants, mask = primals
    cotangent = mx.where(mask[..., None, None], cotangent, 0.0)
    atoms, gradient = (mx.contiguous(array.transpose(3, 2, 1, 0)) for array in (coordinates, cotangent))
    slope = torsion_gradient(atoms, gradient).transpose(2, 1, 0)
    return mx.where(mask[..., None], slope, 0.0), mx.zeros_like(constants), mx.zeros_like(mask)


def _place_frames(c: mx.array, s: mx.array, constants: mx.array) -> tuple[mx.array, mx.array]:
    """Return all residue frames, rotations (3, 3, L, B) and CA positions (3, L, B), from (co)sines of torsions."""
    _, length, batch = c.shape
    identity = mx.broadcast_to(mx.eye(3)[:, :, None, None], (3, 3, 1, batch))
    origin = mx.zeros((3, 1, batch))
    if length == 1:
        return identity, origin
    # Across each bond: three turns, about CA-C by psi, about C-N by omega, about N-CA by phi of the next
    # residue. From C to the next N, in the frame of this residue; from that N to its CA; and from that CA to its C,
    # which are the next residue's own axes.
    here, there = constants[:, :-1], constants[:, 1:]  # (16, L - 1, B)
    turned = [mx.stack([each[1, :-1], each[2, :-1], each[0, 1:]]) for each in (c, s)]
    to_n, turn_to_ca, turn_to_c = _turns(*turned, here[_CA_C_N], there[_C_N_CA], there[_N_CA_C])
    to_ca = multiply_first(to_n, turn_to_ca)
    to_c = multiply_first(to_ca, turn_to_c)
    step = to_n[:, 0] * there[_C_N] + to_ca[:, 0] * there[_N_CA]  # (3, L - 1, B), from C to the next CA
    step = mx.concatenate([step[:1] + here[_CA_C], step[1:]])  # from CA to the next CA

    rotations = mx.concatenate([identity, _scan(to_c)], axis=2)  # (3, 3, L, B)
    # (3, L - 1, B), now in the first residue's frame
    steps = multiply_first(rotations[:, :, :-1], step[:, None])[:, 0]
    return rotations, mx.concatenate([origin, mx.cumsum(steps, axis=1)], axis=1)


def _turns(c: mx.array, s: mx.array, *angles: mx.array) -> list[mx.array]:
    """Return the rotations from one bond's axes to the next bond's: one (3, 3, ...) for each bond angle.

    A bond's x axis points along it, its y axis towards the atom before it. The next bond leaves at the bond
    angle given by its cosine and sine (2, ...), turned by the torsion whose cosine and sine are c and s (angles, ...):
    Rx(torsion) Rz(pi - angle).
    """
    cosine, sine = mx.stack(list(angles), axis=1)
    zero = mx.zeros_like(c)
    entries = [-cosine, -sine, zero, sine * c, -cosine * c, -s, sine * s, -cosine * s, c]
    return list(mx.stack(entries).reshape(3, 3, *c.shape).swapaxes(0, 2).swapaxes(1, 2))


def cross_first(a: mx.array, b: mx.array) -> mx.array:
    """Return the cross products of vectors (3, ...)."""
    a, b = mx.concatenate([a, a[:2]]), mx.concatenate([b, b[:2]])
    return a[1:4] * b[2:5] - a[2:5] * b[1:4]


def multiply_first(a: mx.array, b: mx.array) -> mx.array:
    """Return the products of matrices (3, 3, ...) and (3, k, ...): (3, k, ...)."""
    return a[:, 0:1] * b[0:1] + a[:, 1:2] * b[1:2] + a[:, 2:3] * b[2:3]


def _scan(rotations: mx.array) -> mx.array:
    """Return all prefix products R_1, R_1 R_2, R_1 R_2 R_3, ... along the chain: (3, 3, n, B)."""
    shift = 1
    while shift < rotations.shape[2]:
        products = multiply_first(rotations[:, :, :-shift], rotations[:, :, shift:])
        rotations = mx.concatenate([rotations[:, :, :shift], products], axis=2)
        shift *= 2
    return rotations


def _cb_direction() -> np.ndarray:
    """Return the unit vectors from CA to CB in the residue frame, (20, 3).

    The direction makes the two ideal angles with CA-N and CA-C; of the two solutions, mirror images in the
    N-CA-C plane, it takes the one of L residues.
    """
    n = np.stack([np.cos(ideal.N_CA_C), np.sin(ideal.N_CA_C)])  # (2, 20); C lies along (1, 0)
    x = np.cos(ideal.C_CA_CB)
    y = (np.cos(ideal.N_CA_CB) - n[0] * x) / n[1]
    # Looking from H to CA, L residues read CO, R, N clockwise (the CORN rule): CB at negative z.
    return np.stack([x, y, -np.sqrt(1.0 - x * x - y * y)], axis=-1)


def _residue_table() -> np.ndarray:
    """Return what `place_atoms` needs of each residue: (80, 16), by D or L, by pre-Pro or not, by residue."""
    rows = []
    cb = ideal.CA_CB[:, None] * _cb_direction()
    for pre_pro in (0, 1):
        ca_c_n, ca_c_o = ideal.CA_C_N[:, pre_pro], ideal.CA_C_O[:, pre_pro]
        columns = [
            *(ideal.N_CA * np.cos(ideal.N_CA_C), ideal.N_CA * np.sin(ideal.N_CA_C)),
            *(ideal.CA_C - ideal.C_O * np.cos(ca_c_o), ideal.C_O * np.sin(ca_c_o)),
            *(cb[:, 0], cb[:, 1], cb[:, 2]),
            *(ideal.CA_C, ideal.C_N, ideal.N_CA),
            *(np.cos(ca_c_n), np.sin(ca_c_n)),
            *(np.cos(ideal.C_N_CA), np.sin(ideal.C_N_CA)),
            *(np.cos(ideal.N_CA_C), np.sin(ideal.N_CA_C)),
        ]
        rows.append(np.stack(columns, axis=-1))
    l_rows = np.concatenate(rows)
    d_rows = l_rows.copy()
    d_rows[:, _CB_Z] *= -1.0  # N, CA and C span the plane of the mirror
    return np.concatenate([l_rows, d_rows]).astype(np.float32)


# Columns of the residue table, in the order of `_residue_table`.
_N_X, _N_Y, _O_X, _O_RADIUS, _CB_X, _CB_Y, _CB_Z, _CA_C, _C_N, _N_CA = range(10)
_CA_C_N, _C_N_CA, _N_CA_C = slice(10, 12), slice(12, 14), slice(14, 16)  # cosines and sines of angles
_RESIDUE_TABLE = _residue_table()
_PRE_PRO, _D = len(_RESIDUE_TABLE) // 4, len(_RESIDUE_TABLE) // 2  # rows further down
