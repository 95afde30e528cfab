"""A C-alpha trace at several scales: fewer points along the chain for its coarse shape; the noise of each scale.

Down and Up of PAR (protein autoregressive modelling) are linear interpolation along the sequence. An open chain keeps
its ends: its points stand evenly from the first residue to the last. A ring has no ends: its points stand evenly
around it from the first residue on, and interpolation goes across the closing bond.
"""

from __future__ import annotations

import functools

import mlx.core as mx
import numpy as np

from betafold_mlx.generate.generator_config import MAX_SCALES

MIN_POINTS = 3  # a coarse shape has at least a bend
COARSEST = 2 ** (MAX_SCALES - 1)  # residues a point at the coarsest scale
FIRST_NOISE = (9.5, 4.0, 1.7)
"""Standard deviation of the noise of the first scale along each axis, Angstrom: that of coarse traces of the training
data in the standard orientation (`canonical_axes`)."""
LATER_NOISE = (0.9, 1.3)
"""The same of later scales, from the finest: that of what they add to the straight lines between the coarser points."""


def scale_sizes(length: int, *, scales: int = MAX_SCALES) -> tuple[int, ...]:
    """Return how many points a chain has at each scale, coarse to fine: L/4, L/2 and L, rounded up."""
    halvings = range(scales - 1, -1, -1)
    return tuple(max(MIN_POINTS, -(-length // 2**halving)) for halving in halvings)


def noise_scale(scale: int, scales: int) -> np.ndarray:
    """Return the standard deviation of the noise of a scale (0 = coarsest), (3,) float32 Angstrom."""
    return np.array(FIRST_NOISE if scale == 0 else [LATER_NOISE[scales - 1 - scale]] * 3, np.float32)


def centred(points: mx.array, mask: mx.array) -> mx.array:
    """Return points (B, S, 3) with their mean subtracted, zero at padding (B, S)."""
    real = mask[..., None].astype(points.dtype)
    mean = (points * real).sum(axis=1, keepdims=True) / mx.maximum(real.sum(axis=1, keepdims=True), 1.0)
    return (points - mean) * real


def point_positions(length: int, size: int, cyclic: bool = False) -> np.ndarray:
    """Return where the points of a scale stand along the chain: (size,) float64, in residues from 0."""
    if cyclic:
        return np.arange(size) * (length / size)
    return np.arange(size) * ((length - 1) / max(size - 1, 1))


def interpolation_at(places: np.ndarray, length: int) -> np.ndarray:
    """Return the matrix (n, length), float64, that interpolates `length` points at places (n,) along their chain.

    Places lie in [0, length - 1], of a ring in [0, length).
    """
    # Rounded, so that a point on an old one is that one, and not 1e-16 of its neighbour too.
    lower = np.floor(np.round(places, 9)).astype(int)
    share = np.round(places - lower, 9)
    matrix = np.zeros((len(places), length))
    rows = np.arange(len(places))
    matrix[rows, lower % length] += 1.0 - share
    matrix[rows, (lower + 1) % length] += share
    return matrix


@functools.cache
def interpolation(length: int, size: int, cyclic: bool = False) -> np.ndarray:
    """Return the matrix (size, length), float64, that takes `length` points along a chain to `size` points."""
    matrix = interpolation_at(point_positions(length, size, cyclic), length)
    matrix.setflags(write=False)
    return matrix


@functools.cache
def resampling(length: int, size: int, cyclic: bool = False) -> np.ndarray:
    """Return the matrix (size, length), float32, that interpolates and zero-centres the new points.

    Moving a trace changes nothing, and where both sizes are equal it is only centred. Down takes Up back exactly where
    the old points are among the new ones: for an open chain where ``size - 1`` is a multiple of ``length - 1``, for a
    ring where `size` is one of `length`.
    """
    matrix = interpolation(length, size, cyclic)
    centred = (matrix - matrix.mean(axis=0)).astype(np.float32)
    centred.setflags(write=False)
    return centred


def canonical_axes(trace: np.ndarray, cyclic: bool = False) -> np.ndarray:
    """Return the axes of a trace: the rotation (3, 3) for which ``trace @ axes`` lies in the standard orientation.

    The first axis is that along which the coarse shape is longest, pointing from the start of the chain to its end;
    the second the next longest, pointing to where the ends are; the third makes them right-handed. A generator needs
    no orientation, and one that has seen all shapes in the same has less to learn. `trace` are (n, 3) points along a
    chain, at any scale.
    """
    size = max(MIN_POINTS, -(-len(trace) // COARSEST))
    points = resampling(len(trace), min(size, len(trace)), cyclic).astype(float) @ trace
    _, axes = np.linalg.eigh(points.T @ points)
    first, second = axes[:, 2], axes[:, 1]
    along = np.linspace(-1.0, 1.0, len(points))
    first = first * (1.0 if along @ points @ first >= 0 else -1.0)
    second = second * (1.0 if np.square(along) @ points @ second >= 0 else -1.0)
    return np.stack([first, second, np.cross(first, second)], axis=1)
