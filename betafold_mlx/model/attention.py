"""Self-attention, written out.

Every residue asks a question (its *query*), every residue offers a label (its *key*) and a message (its *value*).
The weight with which residue i listens to residue j is the softmax over j of how well query i fits key j; what i
receives is the mean of the messages under these weights. Several *heads* do this side by side in slices of the
width, so that one can watch the helix neighbour i+4 while another watches a bonded cysteine.
"""

from __future__ import annotations

import math

import mlx.core as mx
import mlx.nn as nn

from betafold_mlx.model.functions import softmax


def scaled_dot_product_attention(
    queries: mx.array,
    keys: mx.array,
    values: mx.array,
    mask: mx.array,
    bias: mx.array | None = None,
) -> tuple[mx.array, mx.array]:
    """Attend, and return the attention weights too: (B, H, L, d), and (B, H, L, L) whose rows sum to one.

    softmax(Q K^T / sqrt(d) + bias) V, Vaswani et al. 2017, eq. 1. Dividing by sqrt(d) keeps the variance of the
    scores at one whatever the head width d, so that the softmax is neither flat nor saturated at the start.

    Queries, keys and values are (B, H, L, d). Padding, False in the mask (B, L), is never listened to. A row may be
    all padding: it then attends evenly to everything, and its result is for the caller to ignore (no NaN). The bias
    is (B, H, L, L) or broadcastable, added to the scores.
    """
    scores = (queries * (1.0 / math.sqrt(queries.shape[-1]))) @ keys.swapaxes(-1, -2)  # (B, H, L, L)
    if bias is not None:
        scores = scores + bias
    # The lowest finite number, not -inf: a row without any real residue stays finite. The smaller of two numbers, not a
    # choice between them: on a CPU `where` is twenty times slower.
    limit = mx.where(mask, mx.inf, mx.finfo(scores.dtype).min)  # (B, L)
    weights = softmax(mx.minimum(scores, limit[:, None, None, :]))
    return weights @ values, weights


class MultiHeadAttention(nn.Module):
    """Multi-head self-attention with an optional pair bias; each head works on ``width / heads`` numbers."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    def __call__(
        self, x: mx.array, mask: mx.array, bias: mx.array | None = None
    ) -> tuple[mx.array, mx.array]:
        """Return the mixed states (B, L, D) and the attention maps (B, H, L, L); `bias` is shaped as these."""
        attended, weights = scaled_dot_product_attention(*self.split(x), mask, bias)
        return self.output(attended.swapaxes(1, 2).reshape(x.shape)), weights

    def split(self, x: mx.array) -> tuple[mx.array, mx.array, mx.array]:
        """Return queries, keys and values of states (B, L, D) by heads: (B, H, L, D / H) each."""
        shape = (*x.shape[:2], self.heads, -1)
        query, key, value = (
            layer(x).reshape(shape).swapaxes(1, 2) for layer in (self.query, self.key, self.value)
        )
        return query, key, value


def sinusoidal_positions(length: int, width: int) -> mx.array:
    """Return the sine and cosine positions of Vaswani et al. 2017, section 3.5: (length, width), width even.

    Sines stand at even, cosines at odd places; wavelengths run from 2 pi to 10000 * 2 pi.
    """
    rates = mx.exp(mx.arange(0, width, 2) * (-math.log(10000.0) / width))  # (width / 2,)
    angles = mx.arange(length)[:, None] * rates[None, :]
    return mx.stack([mx.sin(angles), mx.cos(angles)], axis=-1).reshape(length, width)


def relative_positions(lengths: mx.array, cyclic: mx.array, size: int) -> mx.array:
    """Return signed sequence separations i - j, (B, L, L) int32; around a ring, the shorter way.

    Of peptides with `lengths` (B,), `cyclic` (B,) where they are closed head to tail, padded to L = `size`. For a
    ring of n residues the values lie in [-n/2, n/2) (the wrapped offset of AfCycDesign, Rettie et al. 2023). Entries
    of padding are meaningless and must be masked by the caller.
    """
    place = mx.arange(size)
    offset = mx.broadcast_to(place[:, None] - place[None, :], (lengths.shape[0], size, size))
    n = mx.maximum(lengths, 1)[:, None, None]
    half = n // 2
    return mx.where(cyclic[:, None, None], (offset + half) % n - half, offset)


class PairBias(nn.Module):
    """What each pair of residues gets for its relative position and a stated disulfide: d numbers.

    `width` is d: attention heads, or channels of a pair. Separations are clipped to +- (`max_length` - 1). With
    `zero` it starts with zeros: as a bias, from plain attention.
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
