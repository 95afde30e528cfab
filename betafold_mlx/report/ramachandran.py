"""The network's own distribution of phi and psi, as regions of the Ramachandran plot."""

from __future__ import annotations

import numpy as np

from betafold_mlx.report.image import png_address

MASSES = (0.95, 0.8, 0.5)
"""Shares of the network's distribution that the shaded regions hold, the outermost first."""

_SHADES = np.array([(110, 125, 150, alpha) for alpha in (0, 50, 105, 165)], dtype=np.uint8)


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
