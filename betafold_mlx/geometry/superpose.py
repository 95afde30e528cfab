"""Optimal superposition of point sets and RMSD, without a singular value decomposition.

The rotation comes from the quaternion that maximises a quadratic form q^T K q (B. K. P. Horn, J. Opt. Soc.
Am. A 4, 629 (1987)): the eigenvector of the largest eigenvalue of a symmetric traceless 4 x 4 matrix. It is
always a proper rotation. The eigenvector is found by power iteration in its fastest form: shift K until no
eigenvalue is negative, then square the matrix again and again. That is a fixed number of batched 4 x 4
products, on any device, with no branch and no host synchronisation; `mx.linalg.svd` and `eigh` exist on the
CPU only.
"""

from __future__ import annotations

import mlx.core as mx

from betafold_mlx.geometry.frames import safe_sqrt

_SQUARINGS, _PER_NORMALISATION = 24, 4
"""24 squarings raise the ratio of two eigenvalues to the power 2^24, which separates what float32 can tell
apart (6e-8). Scaling after every fourth is enough: a largest eigenvalue of at least 1/4 falls to 4^-16 at the
lowest."""


def superposition(
    mobile: mx.array, target: mx.array, mask: mx.array | None = None
) -> tuple[mx.array, mx.array]:
    """Return the rigid motion that brings `mobile` onto `target` with the smallest RMSD.

    Parameters
    ----------
    mobile, target : mx.array
        (..., n, 3), paired points, Angstrom.
    mask : mx.array, optional
        (..., n) bool, True for the pairs that count. Masked points may hold anything.

    Returns
    -------
    rotation : mx.array
        (..., 3, 3), proper (determinant +1) for any input; one of the optimal ones where there are several
        (points that coincide or lie on a line), the identity where there are none to align. No gradient flows
        through it.
    translation : mx.array
        (..., 3), such that ``mobile @ rotation^T + translation`` is close to `target`.
    """
    if mobile.shape[-2] == 0:  # a product over nothing does not return from OpenBLAS
        mobile, target = (mx.zeros((*x.shape[:-2], 1, 3)) for x in (mobile, target))
        mask = None
    mobile, target = _blank(mobile, mask), _blank(target, mask)
    count = _count(mobile, mask)[..., None, None]
    mobile_centre, target_centre = (
        x.sum(axis=-2, keepdims=True) / count for x in (mobile, target)
    )  # (..., 1, 3)
    # Centring one side is enough, and what is masked stays zero on the other.
    covariance = (mobile - mobile_centre).swapaxes(-1, -2) @ _blank(target - target_centre, mask)
    rotation = mx.stop_gradient(_rotation(_dominant_eigenvector(_quaternion_form(covariance))))
    translation = target_centre - mobile_centre @ rotation.swapaxes(-1, -2)
    return rotation, translation[..., 0, :]


def superpose(mobile: mx.array, target: mx.array, mask: mx.array | None = None) -> mx.array:
    """Return `mobile` (..., n, 3) moved onto `target` with the smallest RMSD over the unmasked pairs.

    All points are moved, the masked ones too. Gradients treat the rotation as a constant; see `rmsd` for when
    that is exact.
    """
    rotation, translation = superposition(mobile, target, mask)
    return mobile @ rotation.swapaxes(-1, -2) + translation[..., None, :]


def rmsd(
    mobile: mx.array, target: mx.array, mask: mx.array | None = None, superposed: bool = True
) -> mx.array:
    """Return the root mean square deviation of paired points.

    The gradient is exact although none flows through the rotation: the optimal rotation is where the
    derivative of the deviation by the rotation vanishes, so moving it with the points changes nothing to
    first order (the envelope theorem). At distance zero the gradient is zero.

    Parameters
    ----------
    mobile, target : mx.array
        (..., n, 3), Angstrom.
    mask : mx.array, optional
        (..., n) bool, True for the pairs that count. Masked points may hold anything.
    superposed : bool
        Whether to superpose first: the minimum over rigid motions. Otherwise the points are taken as they
        lie.

    Returns
    -------
    mx.array
        (...), Angstrom; 0 where no pair counts.
    """
    mobile, target = _blank(mobile, mask), _blank(target, mask)
    if superposed:
        mobile = superpose(mobile, target, mask)
    squares = mx.square(_blank(mobile - target, mask))
    return safe_sqrt(squares.sum(axis=(-1, -2)) / _count(mobile, mask))


def _blank(points: mx.array, mask: mx.array | None) -> mx.array:
    """Set masked points (..., n, 3) to zero, whatever they hold."""
    return points if mask is None else mx.where(mask[..., None], points, 0.0)


def _count(points: mx.array, mask: mx.array | None) -> mx.array:
    """Return how many points count: (...), at least 1."""
    if mask is None:
        return mx.full(points.shape[:-2], max(points.shape[-2], 1), dtype=mx.float32)
    return mx.maximum(mask.sum(axis=-1), 1).astype(mx.float32)


def _quaternion_form(covariance: mx.array) -> mx.array:
    """Return Horn's symmetric matrices (4, 4, ...) of covariances (..., 3, 3), mobile axes by target axes.

    Components come first from here on: a product of 4 x 4 matrices is then seven operations on long rows.
    """
    s = [[covariance[..., i, j] for j in range(3)] for i in range(3)]
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = s
    rows = [
        [xx + yy + zz, yz - zy, zx - xz, xy - yx],
        [yz - zy, xx - yy - zz, xy + yx, zx + xz],
        [zx - xz, xy + yx, yy - xx - zz, yz + zy],
        [xy - yx, zx + xz, yz + zy, zz - xx - yy],
    ]
    return mx.stack([mx.stack(row) for row in rows])


def _dominant_eigenvector(form: mx.array) -> mx.array:
    """Return a unit eigenvector (4, ...) of the largest eigenvalue of symmetric traceless (4, 4, ...)."""
    form = _divide(form, mx.abs(form).max(axis=(0, 1)))  # no overflow below, at any scale
    # No eigenvalue of a symmetric matrix is below minus its Frobenius norm. With a zero matrix: the identity.
    size = mx.sqrt(mx.square(form).sum(axis=(0, 1)))
    power = _divide(form, size) + mx.eye(4).reshape(4, 4, *[1] * (form.ndim - 2))
    for squaring in range(_SQUARINGS):
        if squaring % _PER_NORMALISATION == 0:
            power = power / (
                power[0, 0] + power[1, 1] + power[2, 2] + power[3, 3]
            )  # the sum of the eigenvalues
        first, *others = (power[:, k : k + 1] * power[k : k + 1] for k in range(4))
        power = first + others[0] + others[1] + others[2]
    # Now a projector on the eigenspace, of rank 1 unless the optimum is not unique; any column lies in it,
    # and the one with the largest diagonal entry is the longest.
    longest = mx.argmax(mx.stack([power[k, k] for k in range(4)]), axis=0)  # (...)
    column = mx.take_along_axis(power, mx.broadcast_to(longest[None, None], (4, 1, *longest.shape)), axis=1)[
        :, 0
    ]
    return column / mx.sqrt(mx.square(column).sum(axis=0))


def _divide(a: mx.array, b: mx.array) -> mx.array:
    """Return a / b, or a where b is zero."""
    return a / mx.where(b > 0, b, 1.0)


def _rotation(quaternion: mx.array) -> mx.array:
    """Return the rotation matrices (..., 3, 3) of unit quaternions (4, ...), scalar part first."""
    w, x, y, z = quaternion
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return mx.stack([mx.stack(row, axis=-1) for row in rows], axis=-2)
