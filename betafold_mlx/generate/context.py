"""The autoregressive Transformer over scales, causal from coarse to fine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import mlx.core as mx
import mlx.nn as nn

from betafold_mlx.generate.chain_layout import AROUND, MAX_SEPARATION, PLACE_FEATURES, STATES, Layout
from betafold_mlx.generate.settings import GeneratorConfig
from betafold_mlx.generate.surroundings import CONTEXT_UNIT, Surroundings
from betafold_mlx.model.attention import scaled_dot_product_attention
from betafold_mlx.model.transformer import TransformerBlock

NEVER = -1e30
"""Added to an attention score it masks the pair; far from infinite, so that nothing becomes NaN."""


class Past(NamedTuple):
    """Keys and values of the finished scales in one block, (B, H, T, d) each."""

    keys: mx.array
    values: mx.array


class CausalBlock(TransformerBlock):
    """A block whose points also attend to those of finished scales."""

    def __init__(self, width: int, heads: int, ffn_width: int) -> None:
        super().__init__(width, heads, ffn_width, dropout_rate=0.0)

    def extend(self, x: mx.array, mask: mx.array, bias: mx.array, past: Past | None) -> tuple[mx.array, Past]:
        """Return the new states of some points, and the keys and values of these and all before.

        Parameters
        ----------
        x : mx.array
            (B, S, D) states.
        mask : mx.array
            (B, T) bool of all points so far, these last.
        bias : mx.array
            (B, H, S, T).
        past : Past or None
            Keys and values of the points before, in this block.
        """
        attention = self.attention
        queries, keys, values = attention.split(self.attention_norm(x))
        if past is not None:
            keys = mx.concatenate([past.keys, keys], axis=2)
            values = mx.concatenate([past.values, values], axis=2)
        attended, _ = scaled_dot_product_attention(queries, keys, values, mask, bias)
        x = x + attention.output(attended.swapaxes(1, 2).reshape(x.shape))
        return x + self.feed_forward(self.feed_forward_norm(x)), Past(keys, values)


class Context(nn.Module):
    """The autoregressive Transformer."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        width = config.width
        self._scales = config.scales
        self.begin = mx.zeros((width,))
        self.trace = nn.Linear(3 * (1 + AROUND), width, bias=False)
        self.place = nn.Linear(PLACE_FEATURES, width)
        self.states = nn.Linear(len(STATES), width, bias=False)
        self.scale = nn.Embedding(config.scales, width)
        self.separation = separation_bias(config.scales**2, config.heads)
        self.blocks = [CausalBlock(width, config.heads, config.ffn_width) for _ in range(config.layers)]
        self.norm = nn.LayerNorm(width)

    def read(self, scale: int, seen: Surroundings, layout: Layout) -> mx.array:
        """Return the first states of a scale's points, (B, S_k, D), from what they see of the coarser one."""
        start = self.begin
        if scale > 0:
            start = self.trace(mx.concatenate([seen.origin, seen.ahead], axis=-1) / CONTEXT_UNIT)
        start = start + self.place(layout.places[scale]) + self.states(layout.states[scale])
        return start + self.scale.weight[scale]

    def bias(self, layout: Layout) -> mx.array:
        """Return what is added to the scores of all pairs, (B, H, T, T): no point attends to a finer scale."""
        scale = mx.concatenate([mx.full((size,), k, mx.int32) for k, size in enumerate(layout.sizes)])  # (T,)
        pair = (scale[:, None] * self._scales + scale[None, :]) * (2 * MAX_SEPARATION + 1)
        learned = self.separation(layout.separations + pair).transpose(0, 3, 1, 2)
        return learned + (scale[:, None] < scale[None, :]) * NEVER

    def extend(
        self, x: mx.array, mask: mx.array, bias: mx.array, past: Sequence[Past] | None = None
    ) -> tuple[mx.array, list[Past]]:
        """Run points through the blocks, behind those of finished scales; return z (B, S, D) and the new past."""
        held = []
        for number, block in enumerate(self.blocks):
            x, own = block.extend(x, mask, bias, past[number] if past else None)
            held.append(own)
        return self.norm(x), held


def separation_bias(kinds: int, heads: int) -> nn.Embedding:
    """Return a number for each head, separation along the chain, and kind; zero, to start from plain attention."""
    table = nn.Embedding(kinds * (2 * MAX_SEPARATION + 1), heads)
    table.weight = mx.zeros_like(table.weight)
    return table
