"""The flow-matching decoder that all scales share: from noise and the output of the Transformer to points."""

from __future__ import annotations

import math

import mlx.core as mx
import mlx.nn as nn

from betafold_mlx.generate.chain_layout import (
    AROUND,
    CONTEXT_UNIT,
    MAX_SEPARATION,
    Layout,
    Surroundings,
    from_frames,
    to_frames,
)
from betafold_mlx.generate.generator_config import GeneratorConfig
from betafold_mlx.generate.scales import centred, noise_scale
from betafold_mlx.model.attention import MultiHeadAttention
from betafold_mlx.model.transformer import FeedForward, relu

TIME_FEATURES = 32
WAVELENGTHS = (2.0, 4.0, 8.0, 16.0)
"""Angstrom, of the sines and cosines that encode a distance between neighbours: from hundredths of a bond to the
distance of two points of the coarsest scale."""
DISTANCE_FEATURES = 1 + 2 * len(WAVELENGTHS)
NEAR = 0.1  # Angstrom. Two points nearer than about this have no direction to one another
PULL_UNIT = 2.0
"""Angstrom. Unit of the movements towards neighbours: in it the output of the network is about one."""


class AdaptiveBlock(nn.Module):
    """A block with adaptive layer normalisation: adaLN-Zero (Peebles & Xie 2023, section 3.2)."""

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
    knows better, in units of that error (as the preconditioning of Karras et al. 2022): a vector in the point's frame,
    and numbers along the ways to its neighbours, as in E(n)-equivariant networks (Satorras et al. 2021, equation 4).
    Its neighbours' distances are shown to it as they are, so that it need not learn for each direction anew what a
    bond is.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        width = config.width
        self._scales = config.scales
        self.points = nn.Linear(3 * (1 + AROUND), width)
        self.distances = nn.Linear(AROUND * DISTANCE_FEATURES, width, bias=False)
        self.coarser = nn.Linear(3 * (1 + AROUND), width, bias=False)
        self.before = nn.Linear(3, width, bias=False)
        self.context = nn.Linear(width, width)
        self.time = nn.Linear(2 * TIME_FEATURES, width, bias=False)
        self.separation = separation_bias(config.scales, config.heads)
        self.blocks = [
            AdaptiveBlock(width, config.heads, config.ffn_width) for _ in range(config.decoder_layers)
        ]
        self.norm = nn.LayerNorm(width, affine=False)
        self.modulation = _zero_linear(width, 2 * width)
        self.velocity = _zero_linear(width, 3)
        self.pull = _zero_linear(width, AROUND)

    def bias(self, scale: int, layout: Layout) -> mx.array:
        """Return what is added to the scores of a scale's pairs of points, (B, H, S_k, S_k)."""
        first = sum(layout.sizes[:scale])
        own = slice(first, first + layout.sizes[scale])
        index = layout.separations[:, own, own] + scale * (2 * MAX_SEPARATION + 1)
        return self.separation(index).transpose(0, 3, 1, 2)

    def __call__(
        self,
        x: mx.array,  # (B, S, 3) what flows, in units of the scale's noise
        time: mx.array,  # (B,) or (1,), 0 for noise to 1 for structure
        z: mx.array,  # (B, S, D) the Transformer's answer
        seen: Surroundings,
        before: mx.array,  # (B, S, 3) earlier estimate of what x flows to, or zero (self-conditioning)
        scale: int,
        layout: Layout,
        bias: mx.array,  # (B, H, S, S), from `bias`
    ) -> mx.array:
        """Return the velocity of the points, (B, S, 3), zero-centred; zero at padding."""
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
        ways = to_frames(seen.frames[:, :, None], beside - points[:, :, None])
        apart = mx.sqrt(mx.square(ways).sum(axis=-1) + NEAR**2)
        offsets = ways.reshape(batch, size, -1) / CONTEXT_UNIT
        around = mx.concatenate([seen.origin, seen.ahead], axis=-1) / CONTEXT_UNIT
        states = self.points(mx.concatenate([own, offsets], axis=-1))
        states = states + self.distances(_distance_features(apart).reshape(batch, size, -1))
        states = states + self.coarser(around) + self.before(to_frames(seen.frames, before))
        for block in self.blocks:
            states = block(states, condition, mask, bias)
        shift, gain = mx.split(self.modulation(condition), 2, axis=-1)
        states = self.norm(states) * (1.0 + gain) + shift
        pull = ((self.pull(states) / apart)[..., None] * ways).sum(axis=-2)
        correction = from_frames(seen.frames, self.velocity(states))
        correction = correction + from_frames(seen.frames, pull) * (PULL_UNIT / unit)
        return centred((2.0 * time - 1.0) / variance * x + mx.rsqrt(variance) * correction, mask)


def _time_features(time: mx.array) -> mx.array:
    """(..., 1) in [0, 1] -> (..., 2 `TIME_FEATURES`) sines and cosines."""
    # Periods from six times the whole flow to a 24th of it.
    rates = mx.exp(mx.linspace(0.0, 5.0, TIME_FEATURES))
    angles = time * rates
    return mx.concatenate([mx.sin(angles), mx.cos(angles)], axis=-1)


def _distance_features(apart: mx.array) -> mx.array:
    """(...,) Angstrom -> (..., `DISTANCE_FEATURES`)."""
    apart = apart[..., None]
    angles = apart * mx.array([2.0 * math.pi / length for length in WAVELENGTHS])
    return mx.concatenate([apart / CONTEXT_UNIT, mx.sin(angles), mx.cos(angles)], axis=-1)


def _zero_linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    layer.weight, layer.bias = mx.zeros_like(layer.weight), mx.zeros_like(layer.bias)
    return layer


def separation_bias(kinds: int, heads: int) -> nn.Embedding:
    """Return a number for each head, separation along the chain, and kind; zero, to start from plain attention."""
    table = nn.Embedding(kinds * (2 * MAX_SEPARATION + 1), heads)
    table.weight = mx.zeros_like(table.weight)
    return table
