"""From distances to a trace, and from the trace to torsions: starts that have the fold which the distances ask for.

A descent over torsions from a drawn start loses its way: told all native distances it ends 2 to 3 Angstrom off (`lab
limits`). In space the distances are reached directly: multidimensional scaling places the C-alphas, and torsions are
fitted to either hand of that trace (`betafold_mlx.fold.fitting`). Distances do not know the hand; the torsion
distributions do.
"""

from __future__ import annotations

import math

import mlx.core as mx
import numpy as np

from betafold_mlx.fold.fitting import TARGET_WIDTH, Fit, FitTargets
from betafold_mlx.fold.minimise import draw_starts
from betafold_mlx.fold.restraints import Restraints, take

CA_STEP = 3.8
"""Angstrom between neighbouring C-alphas across a trans bond."""

ROUNDS = 60
"""Of the scaling."""

FREEDOM, OMEGA_FREEDOM = math.radians(60.0), math.radians(6.0)
"""How readily phi and psi, and omega, turn from the network's most likely torsions."""


def trace_fit(restraints: Restraints, seed: int) -> Fit:
    """Return the fit of 2 B chains to the traces that the distances of B peptides ask for, and their mirror images."""
    traces = place_trace(*trace_distances(restraints))  # (B, L, 3)
    rows = np.repeat(np.arange(len(traces)), 2)
    both = np.stack([traces, traces * [-1.0, 1.0, 1.0]], axis=1).reshape(-1, *traces.shape[1:])
    own = take(restraints, rows)
    start = np.array(draw_starts(restraints, rows, np.zeros(len(rows), dtype=int), seed))
    freedom = np.full(start.shape, FREEDOM)
    freedom[..., 2] = OMEGA_FREEDOM
    return Fit(start, freedom, FitTargets(both, np.array(own.bonds.mask), TARGET_WIDTH), own.bonds)


def likelier_hand(fitted: np.ndarray, restraints: Restraints) -> mx.array:
    """Return of the torsions (2 B, L, 3) fitted to both hands of a trace those that are likelier: (B, L, 3) radians."""
    batch = len(fitted) // 2
    angles = mx.array(fitted.astype(np.float32))
    own = take(restraints, np.repeat(np.arange(batch), 2))
    density = own.mixture.log_density(angles[..., :2], own.defined)
    likely = np.array((density * own.bonds.mask).sum(axis=1)).reshape(batch, 2)
    return angles[mx.array(2 * np.arange(batch) + likely.argmax(axis=1))]


def trace_distances(restraints: Restraints) -> tuple[np.ndarray, np.ndarray]:
    """Return the distances (B, L, L) that a trace is to have, Angstrom, and their weights; both symmetric."""
    distance = np.array(restraints.distance, dtype=np.float64)
    weight = np.array(restraints.tightness, dtype=np.float64)
    mask, last = np.array(restraints.bonds.mask), np.array(restraints.bonds.last)
    step = np.zeros(mask.shape + mask.shape[-1:], dtype=bool)
    place = np.arange(mask.shape[1] - 1)
    step[:, place, place + 1] = mask[:, :-1] & mask[:, 1:]
    step[:, 0][np.arange(len(mask)), last] |= np.array(restraints.bonds.cyclic)
    strongest = np.maximum(weight.max(axis=(1, 2)), 1e-6)[:, None, None]
    weight = np.where(step, strongest, np.triu(weight, 1))
    distance = np.where(step, CA_STEP, np.triu(distance, 1))
    return distance + distance.swapaxes(1, 2), weight + weight.swapaxes(1, 2)


def place_trace(distance: np.ndarray, weight: np.ndarray, rounds: int = ROUNDS) -> np.ndarray:
    """Place points whose distances are near those asked for, by SMACOF.

    Each round moves the points to the minimum of a quadratic function that lies above the weighted squared errors and
    touches them (J. de Leeuw, 1977; I. Borg and P. Groenen, Modern Multidimensional Scaling, 2005, ch. 8). It starts
    from classical scaling (W. S. Torgerson, Psychometrika 17, 401 (1952)).

    Parameters
    ----------
    distance, weight : numpy.ndarray
        (B, n, n), symmetric. Points without any weight do not count, and stay at the origin.
    rounds : int
        Steps, at most: it is a fixed number.

    Returns
    -------
    numpy.ndarray
        (B, n, 3), of either hand.
    """
    real = weight.sum(axis=-1) > 0
    pairs = real[:, :, None] & real[:, None]
    number = np.maximum(real.sum(axis=1), 1)[:, None, None]
    square = np.where(pairs, np.square(distance), 0.0)
    of_point = square.sum(axis=2, keepdims=True) / number
    of_all = square.sum(axis=(1, 2), keepdims=True) / np.square(number)
    products = np.where(pairs, -0.5 * (square - of_point - of_point.swapaxes(1, 2) + of_all), 0.0)
    values, vectors = np.linalg.eigh(products)
    points = vectors[..., -3:] * np.sqrt(np.maximum(values[:, None, -3:], 1e-6))
    inverse = np.linalg.pinv(_laplacian(weight), hermitian=True)
    for _ in range(rounds):
        apart = np.linalg.norm(points[:, :, None] - points[:, None], axis=-1)
        points = inverse @ (_laplacian(weight * distance / np.maximum(apart, 1e-6)) @ points)
    return points * real[..., None]


def _laplacian(weight: np.ndarray) -> np.ndarray:
    """Return the matrix whose quadratic form is the weighted sum of squared differences."""
    return np.eye(weight.shape[-1]) * weight.sum(axis=-1, keepdims=True) - weight
