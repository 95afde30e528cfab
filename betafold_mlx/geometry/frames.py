"""Rigid frames: a rotation matrix and a translation, batched over leading axes.

A frame (R, t) maps local to global coordinates, ``x_global = R x_local + t``; the columns of R are the local
axes.
"""

from __future__ import annotations

import mlx.core as mx

Frame = tuple[mx.array, mx.array]
"""Rotation (..., 3, 3) and translation (..., 3)."""


def dot(a: mx.array, b: mx.array) -> mx.array:
    """Return the dot products over the last axis, kept as an axis of length 1."""
    return (a * b).sum(axis=-1, keepdims=True)


def cross(a: mx.array, b: mx.array) -> mx.array:
    """Return the cross products of vectors (..., 3)."""
    ax, ay, az = a[..., 0], a[..., 1], a[..., 2]
    bx, by, bz = b[..., 0], b[..., 1], b[..., 2]
    return mx.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], axis=-1)


def safe_sqrt(x: mx.array) -> mx.array:
    """Return the square root of x >= 0, with gradient 0 (instead of infinity) where x is 0; NaN stays NaN."""
    zero = x <= 0
    # The inner `where` keeps the untaken branch finite: 0 * inf would be NaN in the gradient.
    return mx.where(zero, 0.0, mx.sqrt(mx.where(zero, 1.0, x)))


def norm(v: mx.array) -> mx.array:
    """Return the lengths (...) of vectors (..., 3); the gradient at the zero vector is zero."""
    return safe_sqrt((v * v).sum(axis=-1))


def distances(a: mx.array, b: mx.array) -> mx.array:
    """Return all distances (..., n, m) between points a (..., n, 3) and b (..., m, 3), in Angstrom.

    By differences rather than the expansion |a|^2 + |b|^2 - 2 a.b, which loses half of the digits in float32.
    The gradient at distance zero is zero.
    """
    return norm(a[..., :, None, :] - b[..., None, :, :])


def _normalise(v: mx.array) -> mx.array:
    length = norm(v)[..., None]
    return v / mx.where(length > 0, length, 1.0)


def from_three_points(n: mx.array, ca: mx.array, c: mx.array) -> Frame:
    """Return the frame of a residue by Gram-Schmidt.

    Origin at CA, x towards C, N in the xy plane at positive y, z = x cross y.

    Parameters
    ----------
    n, ca, c : mx.array
        (..., 3), Angstrom.

    Returns
    -------
    Frame
        Rotation (..., 3, 3) and translation (..., 3). Coincident or collinear points give finite values and
        gradients, but axes of length zero: no rotation.
    """
    x = _normalise(c - ca)
    to_n = n - ca
    y = _normalise(to_n - dot(to_n, x) * x)
    return mx.stack([x, y, cross(x, y)], axis=-1), ca


def apply(frame: Frame, points: mx.array) -> mx.array:
    """Map local points (..., n, 3) of frames (...) to global coordinates (..., n, 3)."""
    rotation, translation = frame
    return points @ rotation.swapaxes(-1, -2) + translation[..., None, :]


def compose(outer: Frame, inner: Frame) -> Frame:
    """Return the frame that applies `inner`, then `outer`."""
    rotation, translation = outer
    moved = (rotation @ inner[1][..., None])[..., 0] + translation
    return rotation @ inner[0], moved


def invert(frame: Frame) -> Frame:
    """Return the frame that undoes `frame`: global to local coordinates."""
    rotation, translation = frame
    inverse = rotation.swapaxes(-1, -2)
    return inverse, -(inverse @ translation[..., None])[..., 0]
