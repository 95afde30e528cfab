"""The generator's network: an autoregressive Transformer over scales, and a flow-matching decoder that they share.

PAR, protein autoregressive modelling: the Transformer reads ``[bos, Up(x1), Up(x2), ...]``, where x1, x2, ... is a
C-alpha trace from coarse to fine, and answers each point of each scale with a vector z. Attention is causal from scale
to scale and goes both ways inside one, so that z of a scale knows the coarser scales alone. The decoder makes the
points of a scale of noise and their z.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from betafold_mlx.generate.config import GeneratorConfig
from betafold_mlx.generate.layout import AROUND, PLACE_FEATURES, REACH, STATES, Layout
from betafold_mlx.generate.surroundings import Surroundings, from_frames, to_frames
from betafold_mlx.model.attention import MultiHeadAttention, scaled_dot_product_attention
from betafold_mlx.model.transformer import Block, FeedForward, relu

NEVER = -1e30
"""Added to a score, nobody listens; far from infinite, so that nothing becomes NaN."""

CONTEXT_UNIT = 5.0
"""Angstrom. Coordinates that the Transformer reads are divided by it, to be about one."""

FIRST_NOISE = (9.5, 4.0, 1.7)
"""Standard deviation of the noise that the first scale is made of, Angstrom, by axis: that of coarse traces of the
training data in the standard orientation."""

LATER_NOISE = (0.9, 1.3)
"""The same of later scales, from the finest: that of what they add to the straight lines between the coarser points."""

TIME_FEATURES = 32


def noise_scale(scale: int, scales: int) -> np.ndarray:
    """Return the standard deviation of the noise of a scale (0 = coarsest), (3,) float32 Angstrom."""
    return np.array(FIRST_NOISE if scale == 0 else [LATER_NOISE[scales - 1 - scale]] * 3, np.float32)


class Past(NamedTuple):
    """Keys and values of the finished scales in one block, (B, H, T, d) each."""

    keys: mx.array
    values: mx.array


class CausalBlock(Block):
    """A block whose points also listen to those of finished scales."""

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
            Of the points before, in this block.
        """
        attention = self.attention
        normed = self.attention_norm(x)
        queries, keys, values = (
            _split(layer(normed), attention.heads)
            for layer in (attention.query, attention.key, attention.value)
        )
        if past is not None:
            keys = mx.concatenate([past.keys, keys], axis=2)
            values = mx.concatenate([past.values, values], axis=2)
        attended, _ = scaled_dot_product_attention(queries, keys, values, mask, bias)
        x = x + attention.output(attended.swapaxes(1, 2).reshape(x.shape))
        return x + self.feed_forward(self.feed_forward_norm(x)), Past(keys, values)


def _split(states: mx.array, heads: int) -> mx.array:
    """(B, S, D) -> (B, H, S, D / H)."""
    batch, size, _ = states.shape
    return states.reshape(batch, size, heads, -1).swapaxes(1, 2)


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
        self.separation = _separation_bias(config.scales**2, config.heads)
        self.blocks = [CausalBlock(width, config.heads, config.ffn_width) for _ in range(config.layers)]
        self.norm = nn.LayerNorm(width)

    def read(self, scale: int, seen: Surroundings, layout: Layout) -> mx.array:
        """Return the first states of a scale's points, (B, S_k, D).

        Parameters
        ----------
        scale : int
            Which one, from 0.
        seen : Surroundings
            What the points see of the coarser scale.
        layout : Layout
            Of the batch.
        """
        start = self.begin
        if scale > 0:
            start = self.trace(mx.concatenate([seen.origin, seen.ahead], axis=-1) / CONTEXT_UNIT)
        return (
            start
            + self.place(layout.places[scale])
            + self.states(layout.states[scale])
            + self.scale.weight[scale]
        )

    def bias(self, layout: Layout) -> mx.array:
        """Return what is added to the scores of all pairs, (B, H, T, T): no point listens to a finer scale."""
        scale = _scale_of(layout)
        pair = (scale[:, None] * self._scales + scale[None, :]) * (2 * REACH + 1)
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


class AdaptiveBlock(nn.Module):
    """A block whose normalisation is told what to make of its input: adaLN-Zero (Peebles & Xie 2023, section 3.2)."""

    def __init__(self, width: int, heads: int, ffn_width: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, affine=False)
        self.attention = MultiHeadAttention(width, heads)
        self.feed_forward_norm = nn.LayerNorm(width, affine=False)
        self.feed_forward = FeedForward(width, ffn_width)
        self.modulation = _zero_linear(width, 6 * width)

    def __call__(self, x: mx.array, condition: mx.array, mask: mx.array, bias: mx.array) -> mx.array:
        """Return the new states (B, S, D) of points under conditions (B, S, D)."""
        shift, scale, gate, shift_2, scale_2, gate_2 = mx.split(self.modulation(condition), 6, axis=-1)
        mixed, _ = self.attention(self.attention_norm(x) * (1.0 + scale) + shift, mask, bias)
        x = x + gate * mixed
        return x + gate_2 * self.feed_forward(self.feed_forward_norm(x) * (1.0 + scale_2) + shift_2)


class Decoder(nn.Module):
    """The flow: where each point of a scale is heading, from noise to structure.

    What flows is what a scale adds to the coarser one, x - Up(x_coarser), in units of its noise; of the first scale x
    itself. Both it and the noise have a variance of about one, so that the best linear guess of the velocity is known:
    v = (2 t - 1) / (t^2 + (1 - t)^2) x_t, with an error of variance 1 / (t^2 + (1 - t)^2). The network adds what it
    knows better, in units of that error (as the preconditioning of Karras et al. 2022).
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        width = config.width
        self._scales = config.scales
        self.points = nn.Linear(3 * (1 + AROUND), width)
        self.coarser = nn.Linear(3 * (1 + AROUND), width, bias=False)
        self.before = nn.Linear(3, width, bias=False)
        self.context = nn.Linear(width, width)
        self.time = nn.Linear(2 * TIME_FEATURES, width, bias=False)
        self.separation = _separation_bias(config.scales, config.heads)
        self.blocks = [
            AdaptiveBlock(width, config.heads, config.ffn_width) for _ in range(config.decoder_layers)
        ]
        self.norm = nn.LayerNorm(width, affine=False)
        self.modulation = _zero_linear(width, 2 * width)
        self.velocity = _zero_linear(width, 3)

    def bias(self, scale: int, layout: Layout) -> mx.array:
        """Return what is added to the scores of a scale's pairs of points, (B, H, S_k, S_k)."""
        first = sum(layout.sizes[:scale])
        own = slice(first, first + layout.sizes[scale])
        index = layout.separations[:, own, own] + scale * (2 * REACH + 1)
        return self.separation(index).transpose(0, 3, 1, 2)

    def __call__(
        self,
        x: mx.array,
        time: mx.array,
        z: mx.array,
        seen: Surroundings,
        before: mx.array,
        scale: int,
        layout: Layout,
        bias: mx.array,
    ) -> mx.array:
        """Return the velocity of the points.

        Parameters
        ----------
        x : mx.array
            (B, S, 3) what flows, at that time, in units of the scale's noise.
        time : mx.array
            (B,) or (1,), 0 for noise to 1 for structure.
        z : mx.array
            (B, S, D) the Transformer's answer.
        seen : Surroundings
            What the points see of the coarser scale.
        before : mx.array
            (B, S, 3) an earlier estimate of what x flows to, zero where there is none (self-conditioning).
        scale : int
            Which one, from 0.
        layout : Layout
            Of the batch.
        bias : mx.array
            (B, H, S, S), from `bias`.

        Returns
        -------
        mx.array
            (B, S, 3), zero-centred; zero at padding.
        """
        time = time[:, None, None]
        variance = mx.square(time) + mx.square(1.0 - time)
        condition = relu(self.context(z) + self.time(_time_features(time)))
        mask, unit = layout.masks[scale], mx.array(noise_scale(scale, self._scales))
        batch, size, _ = x.shape
        own = to_frames(seen.frames, x) * mx.rsqrt(variance)
        # Where the neighbours are at this time: distances and angles of the chain as they stand.
        points = seen.origin + x * unit
        index = layout.neighbours[scale].reshape(batch, -1, 1)
        beside = mx.take_along_axis(points, index, axis=1).reshape(batch, size, AROUND, 3)
        offsets = to_frames(seen.frames[:, :, None], beside - points[:, :, None])
        offsets = offsets.reshape(batch, size, -1) / CONTEXT_UNIT
        around = mx.concatenate([seen.origin, seen.ahead], axis=-1) / CONTEXT_UNIT
        states = self.points(mx.concatenate([own, offsets], axis=-1))
        states = states + self.coarser(around) + self.before(to_frames(seen.frames, before))
        for block in self.blocks:
            states = block(states, condition, mask, bias)
        shift, gain = mx.split(self.modulation(condition), 2, axis=-1)
        correction = from_frames(seen.frames, self.velocity(self.norm(states) * (1.0 + gain) + shift))
        return centred((2.0 * time - 1.0) / variance * x + mx.rsqrt(variance) * correction, mask)


class BackboneGenerator(nn.Module):
    """The whole network.

    Parameters
    ----------
    config : GeneratorConfig
        Its sizes.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self._config = config
        self.context = Context(config)
        self.decoder = Decoder(config)

    @property
    def config(self) -> GeneratorConfig:
        """Sizes of the network."""
        return self._config

    def __call__(
        self, seen: Sequence[Surroundings], layout: Layout, bias: mx.array | None = None
    ) -> list[mx.array]:
        """Return z of all scales at once, as in training.

        Parameters
        ----------
        seen : sequence of Surroundings
            What the points of each scale see of the coarser one.
        layout : Layout
            Of the batch.
        bias : mx.array, optional
            `Context.bias` of it, where that is known already.

        Returns
        -------
        list of mx.array
            (B, S_k, D) of each scale.
        """
        bias = self.context.bias(layout) if bias is None else bias
        states = [self.context.read(scale, own, layout) for scale, own in enumerate(seen)]
        mask = mx.concatenate(list(layout.masks), axis=1)
        z, _ = self.context.extend(mx.concatenate(states, axis=1), mask, bias)
        ends = [sum(layout.sizes[: scale + 1]) for scale in range(len(layout.sizes) - 1)]
        return list(mx.split(z, ends, axis=1))


def centred(points: mx.array, mask: mx.array) -> mx.array:
    """Return points (B, S, 3) with their mean subtracted, zero at padding (B, S)."""
    real = mask[..., None].astype(points.dtype)
    mean = (points * real).sum(axis=1, keepdims=True) / mx.maximum(real.sum(axis=1, keepdims=True), 1.0)
    return (points - mean) * real


def _scale_of(layout: Layout) -> mx.array:
    """Return the scale of each point of all scales, (T,) int32."""
    return mx.concatenate([mx.full((size,), scale, mx.int32) for scale, size in enumerate(layout.sizes)])


def _time_features(time: mx.array) -> mx.array:
    """(..., 1) in [0, 1] -> (..., 2 `TIME_FEATURES`) sines and cosines."""
    rates = mx.exp(
        mx.linspace(0.0, 5.0, TIME_FEATURES)
    )  # periods from six times the whole flow to a 24th of it
    angles = time * rates
    return mx.concatenate([mx.sin(angles), mx.cos(angles)], axis=-1)


def _separation_bias(kinds: int, heads: int) -> nn.Embedding:
    """Return a number for each head, separation along the chain, and kind; zero, to start from plain attention."""
    table = nn.Embedding(kinds * (2 * REACH + 1), heads)
    table.weight = mx.zeros_like(table.weight)
    return table


def _zero_linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    layer.weight, layer.bias = mx.zeros_like(layer.weight), mx.zeros_like(layer.bias)
    return layer
