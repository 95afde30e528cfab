"""Positions of residues: absolute ones, and relative ones that know rings and disulfides.

Attention by itself sees a bag of residues. Absolute positions are added to the states; relative positions and
disulfide bonds bias the attention scores, one learned number for each head.
"""

from __future__ import annotations

import math

import mlx.core as mx
import mlx.nn as nn


def sinusoidal_positions(length: int, width: int) -> mx.array:
    """Return the sine and cosine positions of Vaswani et al. 2017, section 3.5: (length, width), width even.

    Sines stand at even, cosines at odd places; wavelengths run from 2 pi to 10000 * 2 pi.
    """
    rates = mx.exp(mx.arange(0, width, 2) * (-math.log(10000.0) / width))  # (width / 2,)
    angles = mx.arange(length)[:, None] * rates[None, :]
    return mx.stack([mx.sin(angles), mx.cos(angles)], axis=-1).reshape(length, width)


def relative_positions(lengths: mx.array, cyclic: mx.array, size: int) -> mx.array:
    """Return signed sequence separations i - j; around a ring, the shorter way.

    Parameters
    ----------
    lengths : mx.array
        (B,) int, residues of each peptide.
    cyclic : mx.array
        (B,) bool, closed head to tail.
    size : int
        Padded length L.

    Returns
    -------
    mx.array
        (B, L, L) int32. For a ring of n residues the values lie in [-n/2, n/2) (the wrapped offset of AfCycDesign,
        Rettie et al. 2023). Entries of padding are meaningless and must be masked by the caller.
    """
    place = mx.arange(size)
    offset = mx.broadcast_to(place[:, None] - place[None, :], (lengths.shape[0], size, size))
    n = mx.maximum(lengths, 1)[:, None, None]
    half = n // 2
    return mx.where(cyclic[:, None, None], (offset + half) % n - half, offset)


class PairBias(nn.Module):
    """What each pair of residues gets for its relative position and a stated disulfide: d numbers.

    Parameters
    ----------
    width : int
        d: attention heads, or channels of a pair.
    max_length : int
        Separations are clipped to +- (max_length - 1).
    zero : bool
        Start with zeros: as a bias, from plain attention.
    """

    def __init__(self, width: int, max_length: int, zero: bool = True) -> None:
        super().__init__()
        self._reach = max_length - 1
        self.separation = nn.Embedding(2 * max_length - 1, width)
        if zero:
            self.separation.weight = mx.zeros_like(self.separation.weight)
        self.disulfide = mx.zeros((width,))

    def __call__(self, relative: mx.array, bonded: mx.array) -> mx.array:
        """(B, L, L) int of `relative_positions` and (B, L, L) bool -> (B, d, L, L)."""
        index = mx.clip(relative, -self._reach, self._reach) + self._reach
        bias = self.separation(index) + bonded[..., None] * self.disulfide  # (B, L, L, d)
        return bias.transpose(0, 3, 1, 2)
