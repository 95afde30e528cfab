"""Small indexed PNG images, as data URIs (PNG, W3C Recommendation, third edition 2025)."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np

LEVELS = 64
"""Colours of a ramp: more cannot be told apart, and each costs three bytes an image."""

_VIRIDIS = ("#440154", "#472D7B", "#3B528B", "#2C728E", "#21918C", "#28AE80", "#5EC962", "#ADDC30", "#FDE725")
"""Every eighth part of Viridis (S. van der Walt and N. Smith 2015): lightness alone tells its colours apart."""


def png_address(index: np.ndarray, palette: np.ndarray) -> str:
    """Return an image as a ``data:`` address.

    Parameters
    ----------
    index : numpy.ndarray
        (rows, columns) uint8, which colour each pixel has.
    palette : numpy.ndarray
        (colours, 4) uint8: red, green, blue, alpha.
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
