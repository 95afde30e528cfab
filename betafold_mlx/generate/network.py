"""The network of the generator, and its model directory.

PAR, protein autoregressive modelling: an autoregressive Transformer reads ``[bos, Up(x1), Up(x2), ...]``, where x1,
x2, ... is a C-alpha trace from coarse to fine, and gives each point of each scale a vector z. Attention is causal from
scale to scale and goes both ways inside one, so that z of a scale depends on the coarser scales alone. A flow-matching
decoder, which all scales share, makes the points of a scale from noise and their z.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from betafold_mlx.generate.chain_layout import (
    AROUND,
    CONTEXT_UNIT,
    MAX_SEPARATION,
    PLACE_FEATURES,
    STATES,
    Layout,
    Surroundings,
)
from betafold_mlx.generate.decoder import Decoder, separation_bias
from betafold_mlx.generate.generator_config import GeneratorConfig
from betafold_mlx.model.attention import scaled_dot_product_attention
from betafold_mlx.model.directory import LoadedNetwork, load_directory, save_directory
from betafold_mlx.model.transformer import TransformerBlock

KIND = ("betafold-par", 2)  # ``model_type`` and ``schema_version`` in ``config.json``
NEVER = -1e30  # added to an attention score it masks the pair; far from infinite, so that nothing becomes NaN
Past = tuple[mx.array, mx.array]  # keys and values of the finished scales in one block, (B, H, T, d) each


class CausalBlock(TransformerBlock):
    """A block whose points also attend to those of finished scales."""

    def extend(self, x: mx.array, mask: mx.array, bias: mx.array, past: Past | None) -> tuple[mx.array, Past]:
        """Return the new states (B, S, D) of some points, and the keys and values of these and all before.

        The mask (B, T) and the bias (B, H, S, T) are those of all points so far, these last.
        """
        attention = self.attention
        queries, keys, values = attention.split(self.attention_norm(x))
        if past is not None:
            keys = mx.concatenate([past[0], keys], axis=2)
            values = mx.concatenate([past[1], values], axis=2)
        attended, _ = scaled_dot_product_attention(queries, keys, values, mask, bias)
        x = x + attention.output(attended.swapaxes(1, 2).reshape(x.shape))
        return x + self.feed_forward(self.feed_forward_norm(x)), (keys, values)


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
        self.blocks = [CausalBlock(width, config.heads, config.ffn_width, 0.0) for _ in range(config.layers)]
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


class BackboneGenerator(nn.Module):
    """The whole network."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.context = Context(config)
        self.decoder = Decoder(config)

    def __call__(
        self, seen: Sequence[Surroundings], layout: Layout, bias: mx.array | None = None
    ) -> list[mx.array]:
        """Return z (B, S_k, D) of all scales at once, as in training.

        `bias` is `Context.bias` of the layout, where it is known already.
        """
        bias = self.context.bias(layout) if bias is None else bias
        states = [self.context.read(scale, own, layout) for scale, own in enumerate(seen)]
        mask = mx.concatenate(list(layout.masks), axis=1)
        z, _ = self.context.extend(mx.concatenate(states, axis=1), mask, bias)
        ends = [sum(layout.sizes[: scale + 1]) for scale in range(len(layout.sizes) - 1)]
        return list(mx.split(z, ends, axis=1))


Generator = LoadedNetwork[BackboneGenerator]  # a generator and where it came from


def load_generator(directory: Path) -> Generator:
    """Load the model directory of a generator; raises as `betafold_mlx.model.directory.load_directory` does."""
    what = "a generator of backbones: train one with `betafold-mlx train-generator`"

    def build(values: dict[str, Any]) -> BackboneGenerator:
        return BackboneGenerator(GeneratorConfig.from_dict(values))

    return load_directory(directory, KIND, build, what)


def save_generator(directory: Path, model: BackboneGenerator, card: str, training: dict[str, Any]) -> None:
    """Write the model directory of a generator, its weights as float16: see `save_directory`."""
    save_directory(Path(directory), model, KIND, dataclasses.asdict(model.config), card, training, mx.float16)
