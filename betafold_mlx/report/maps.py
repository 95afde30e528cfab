"""Images of the report: distances and attention of pairs of residues, regions of the Ramachandran plot.

They are small indexed PNG images as data URIs (PNG, W3C Recommendation, third edition 2025).
"""

from __future__ import annotations

import base64
import math
import struct
import zlib

import numpy as np

from betafold_mlx.report.view import PredictionView

LEVELS = 64
"""Colours of a ramp: more cannot be told apart, and each costs three bytes an image."""

_VIRIDIS = ("#440154", "#472D7B", "#3B528B", "#2C728E", "#21918C", "#28AE80", "#5EC962", "#ADDC30", "#FDE725")
"""Every eighth part of Viridis (S. van der Walt and N. Smith 2015): lightness alone tells its colours apart."""


_CA = 1

MASSES = (0.95, 0.8, 0.5)
"""Shares of the network's distribution that the shaded regions hold, the outermost first."""

_SHADES = np.array([(110, 125, 150, alpha) for alpha in (0, 50, 105, 165)], dtype=np.uint8)


def png_address(index: np.ndarray, palette: np.ndarray) -> str:
    """Return an image as a ``data:`` address.

    `index` (rows, columns) says which colour of the palette (colours, 4), red, green, blue and alpha, a pixel has;
    uint8.
    """
    rows, columns = index.shape
    scanlines = np.concatenate([np.zeros((rows, 1), np.uint8), index.astype(np.uint8)], axis=1)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0)),
        (b"PLTE", palette[:, :3].tobytes()),
        (b"tRNS", palette[:, 3].tobytes() if (palette[:, 3] < 255).any() else b""),
        (b"IDAT", zlib.compress(scanlines.tobytes(), 9)),
        (b"IEND", b""),
    ]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(name, body) for name, body in chunks if body or name == b"IEND"
    )
    return "data:image/png;base64," + base64.b64encode(data).decode()


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def ramp() -> np.ndarray:
    """Return `LEVELS` colours (LEVELS, 4) from dark to bright."""
    anchors = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in _VIRIDIS], dtype=float)
    place = np.linspace(0, len(anchors) - 1, LEVELS)
    colours = [np.interp(place, np.arange(len(anchors)), column) for column in anchors.T]
    return np.round(np.stack([*colours, np.full(LEVELS, 255.0)], axis=1)).astype(np.uint8)


def levels(share: np.ndarray) -> np.ndarray:
    """Return the level of each number from 0 to 1; what lies outside gets the nearest."""
    return np.clip(np.round(share * (LEVELS - 1)), 0, LEVELS - 1).astype(np.uint8)


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
