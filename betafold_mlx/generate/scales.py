"""A C-alpha trace at several scales: fewer points along the chain for its coarse shape.

Down and Up of PAR (protein autoregressive modelling) are linear interpolation along the sequence. An open chain keeps
its ends: its points stand evenly from the first residue to the last. A ring has no ends: its points stand evenly
around it from the first residue on, and interpolation goes across the closing bond.
"""

from __future__ import annotations

import functools

import mlx.core as mx
import numpy as np

SHORTEST, LONGEST = 8, 32
"""Residues of a generated chain."""

FEWEST_POINTS = 3
"""A coarse shape has at least a bend."""

MOST_SCALES = 3

COARSEST = 2 ** (MOST_SCALES - 1)
"""Residues a point at the coarsest scale."""


def scale_sizes(length: int, *, scales: int = MOST_SCALES) -> tuple[int, ...]:
    """Return how many points a chain has at each scale, coarse to fine.

    Parameters
    ----------
    length : int
        Residues, at least `FEWEST_POINTS`.
    scales : int
        The finest so many of L/4, L/2 and L, rounded up.

    Returns
    -------
    tuple of int
        The last is `length`.
    """
    halvings = range(scales - 1, -1, -1)
    return tuple(max(FEWEST_POINTS, -(-length // 2**halving)) for halving in halvings)


def point_positions(length: int, size: int, cyclic: bool = False) -> np.ndarray:
    """Return where the points of a scale stand along the chain: (size,) float64, in residues from 0."""
    if cyclic:
        return np.arange(size) * (length / size)
    return np.arange(size) * ((length - 1) / max(size - 1, 1))


@functools.cache
def interpolation(length: int, size: int, cyclic: bool = False) -> np.ndarray:
    """Return the matrix (size, length), float64, that takes `length` points along a chain to `size` points."""
    place = point_positions(length, size, cyclic)
    # Rounded, so that a point on an old one is that one, and not 1e-16 of its neighbour too.
    lower = np.floor(np.round(place, 9)).astype(int)
    share = np.round(place - lower, 9)
    matrix = np.zeros((size, length))
    rows = np.arange(size)
    matrix[rows, lower] += 1.0 - share
    matrix[rows, (lower + 1) % length] += share
    matrix.setflags(write=False)
    return matrix


@functools.cache
def resampling(length: int, size: int, cyclic: bool = False) -> np.ndarray:
    """Return the matrix (size, length), float32, that interpolates and zero-centres the new points.

    Moving a trace changes nothing, and where both sizes are equal it is only centred.
    """
    matrix = interpolation(length, size, cyclic)
    centred = (matrix - matrix.mean(axis=0)).astype(np.float32)
    centred.setflags(write=False)
    return centred


def resampled(trace: mx.array, size: int, cyclic: bool = False) -> mx.array:
    """Return a trace at another scale: Down where that has fewer points, Up where it has more.

    Down takes Up back exactly where the old points are among the new ones: for an open chain where ``size - 1`` is a
    multiple of ``n - 1``, for a ring where `size` is one of n.

    Parameters
    ----------
    trace : mx.array
        (..., n, 3) points along a chain, n >= 2.
    size : int
        Points of the other scale, at least 2.
    cyclic : bool
        Whether the chain is a ring.

    Returns
    -------
    mx.array
        (..., size, 3), zero-centred; of `size` n the trace itself, centred.

    Raises
    ------
    ValueError
        Where one of the two has fewer than two points.
    """
    if trace.shape[-2] < 2 or size < 2:
        raise ValueError(f"{trace.shape[-2]} points cannot be made {size}")
    return mx.array(resampling(trace.shape[-2], size, cyclic)) @ trace


def canonical_axes(trace: np.ndarray, cyclic: bool = False) -> np.ndarray:
    """Return the axes of a trace: the rotation (3, 3) for which ``trace @ axes`` lies in the standard orientation.

    The first axis is that along which the coarse shape is longest, pointing from the chain's start to its end; the
    second the next longest, pointing to where the ends are; the third makes them right-handed. A generator needs no
    orientation, and one that has seen all shapes in the same has less to learn.

    Parameters
    ----------
    trace : numpy.ndarray
        (n, 3) points along a chain, at any scale.
    cyclic : bool
        Whether it is a ring.
    """
    size = max(FEWEST_POINTS, -(-len(trace) // COARSEST))
    points = resampling(len(trace), min(size, len(trace)), cyclic).astype(float) @ trace
    _, axes = np.linalg.eigh(points.T @ points)
    first, second = axes[:, 2], axes[:, 1]
    along = np.linspace(-1.0, 1.0, len(points))
    first = first * (1.0 if along @ points @ first >= 0 else -1.0)
    second = second * (1.0 if np.square(along) @ points @ second >= 0 else -1.0)
    return np.stack([first, second, np.cross(first, second)], axis=1)
