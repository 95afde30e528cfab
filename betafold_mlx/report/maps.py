"""Images: distances and attention of pairs of residues, and the regions of the Ramachandran plot."""

from __future__ import annotations

import math

import numpy as np

from betafold_mlx.report.image import LEVELS, levels, png_address, ramp
from betafold_mlx.report.view import PredictionView

_CA = 1

MASSES = (0.95, 0.8, 0.5)
"""Shares of the network's distribution that the shaded regions hold, the outermost first."""

_SHADES = np.array([(110, 125, 150, alpha) for alpha in (0, 50, 105, 165)], dtype=np.uint8)


def distance_matrix(view: PredictionView, rank: int) -> np.ndarray:
    """Return the CA distances (L, L) of a model, Angstrom."""
    ca = view.coordinates[rank, :, _CA]
    return np.linalg.norm(ca[:, None] - ca, axis=-1)


def scale_end(view: PredictionView) -> float:
    """Return the distance at the end of the colours, Angstrom: no distance of any model lies beyond it."""
    largest = max(float(distance_matrix(view, rank).max()) for rank in view.ranks)
    if view.prediction.details is not None:
        largest = max(largest, float(np.nanmax(view.prediction.details.distance)))
    return 5.0 * math.ceil(largest / 5.0)


def distance_image(view: PredictionView, rank: int) -> str:
    """Return the distance map of a model: predicted above the diagonal, as it is in the model below; near is bright."""
    matrix = distance_matrix(view, rank)
    if view.prediction.details is not None:
        predicted = view.prediction.details.distance
        matrix = np.where(np.triu(np.isfinite(predicted)), np.triu(predicted), matrix)
    return png_address(levels(1.0 - matrix / scale_end(view)), ramp())


def attention_images(view: PredictionView) -> list[list[str]]:
    """Return the attention map of each layer and head; the root of a weight brings out what is weak."""
    if view.prediction.details is None:
        return []
    maps = view.prediction.details.attention
    return [[png_address(levels(np.sqrt(weights)), ramp()) for weights in heads] for heads in maps]


def colour_bar() -> str:
    """Return the colours of the maps from dark to bright, as an image of one row."""
    return png_address(np.arange(LEVELS, dtype=np.uint8)[None], ramp())


def regions_image(density: np.ndarray) -> str:
    """Return the regions of a density (cells, cells) over phi and psi as an image: phi to the right, psi upwards."""
    return png_address(regions_of(density).T[::-1], _SHADES)


def regions_of(density: np.ndarray) -> np.ndarray:
    """Return in how many of the regions of `MASSES` each cell lies: (cells, cells), 0 to 3.

    A region is the smallest set of cells that holds its share of the whole.
    """
    flat = np.sort(density.astype(np.float64).ravel())[::-1]
    held = np.cumsum(flat) / flat.sum()
    thresholds = [flat[min(int(np.searchsorted(held, mass)), len(flat) - 1)] for mass in MASSES]
    return np.sum([density >= threshold for threshold in thresholds], axis=0).astype(np.uint8)
