"""The noise that each scale is made of."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

FIRST_NOISE = (9.5, 4.0, 1.7)
"""Standard deviation of the noise that the first scale is made of, Angstrom, by axis: that of coarse traces of the
training data in the standard orientation."""

LATER_NOISE = (0.9, 1.3)
"""The same of later scales, from the finest: that of what they add to the straight lines between the coarser points."""


def noise_scale(scale: int, scales: int) -> np.ndarray:
    """Return the standard deviation of the noise of a scale (0 = coarsest), (3,) float32 Angstrom."""
    return np.array(FIRST_NOISE if scale == 0 else [LATER_NOISE[scales - 1 - scale]] * 3, np.float32)


def centred(points: mx.array, mask: mx.array) -> mx.array:
    """Return points (B, S, 3) with their mean subtracted, zero at padding (B, S)."""
    real = mask[..., None].astype(points.dtype)
    mean = (points * real).sum(axis=1, keepdims=True) / mx.maximum(real.sum(axis=1, keepdims=True), 1.0)
    return (points - mean) * real
