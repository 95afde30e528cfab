"""Sampling C-alpha traces coarse to fine.

The first scale follows a stochastic path from noise to a shape (an SDE with a lower temperature, gamma), each later one
a short straight path (an ODE) given the coarser trace. A requested coarse shape or motif replaces the estimate of the
model, without further training.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.device import side_by_side
from betafold_mlx.generate.chain_layout import Layout, Surroundings, make_layout, surroundings
from betafold_mlx.generate.flow import sde_step
from betafold_mlx.generate.generator_config import SamplingConfig
from betafold_mlx.generate.network import BackboneGenerator, Past
from betafold_mlx.generate.scales import (
    canonical_axes,
    centred,
    noise_scale,
    point_positions,
    resampling,
    scale_sizes,
)
from betafold_mlx.geometry.superpose import superpose
from betafold_mlx.model.inputs import padded_length

SAMPLES_TOGETHER = 16
"""Samples made at a time. Always so many, and sample i always at place i modulo this, with copies in the places that
are left over: a BLAS multiplies matrices in blocks of rows, and the last digits of a row depend on its place and on
how many there are. So a sample has the same bits whatever else is sampled with it."""
LATER_NOISE_SHARE = 0.7
"""Share of its noise that a later scale starts from. With a full share detail is as various as in the training data,
and more traces have a fault; the divergence of their C-alpha distances hardly changes. Chosen by samples beside
training windows."""


class SampleSpec(NamedTuple):
    """One trace to sample."""

    length: int  # residues, `MIN_LENGTH` to `MAX_LENGTH`
    number: int  # from 0: the same number, seed and length give the same noise
    cyclic: bool = False
    # (m, 3) points along the chain, Angstrom. Interpolated to the scales of m points or fewer, and in any case to the
    # first one, they replace what would be sampled there. Not for a generator of one scale.
    shape: np.ndarray | None = None
    # 0-based first residue, and (m, 3) C-alphas, Angstrom, that are kept exactly, up to a motion of the whole.
    motif: tuple[int, np.ndarray] | None = None
    secondary: str | None = None  # requested, a letter a residue: H, E or C; ``-`` where nothing is


def sample_traces(
    model: BackboneGenerator, specs: Sequence[SampleSpec], seed: int, config: SamplingConfig
) -> list[np.ndarray]:
    """Sample C-alpha traces: (L, 3) float32 of each spec, Angstrom, zero-centred; in the orientation of its shape.

    A sample depends on the seed, from 0, and its own spec, not on what else is sampled.
    """
    batches = _sample_batches(specs)
    mx.eval(model.parameters())  # threads read them

    def sample(batch: dict[int, int]) -> np.ndarray:
        filled = [specs[batch.get(place, min(batch.values()))] for place in range(SAMPLES_TOGETHER)]
        return _sample_batch(model, filled, seed, config)

    found: dict[int, np.ndarray] = {}
    for batch, traces in zip(batches, side_by_side(sample, batches), strict=True):
        for place, row in batch.items():
            found[row] = _oriented(traces[place, : specs[row].length], specs[row])
    return [found[row] for row in range(len(specs))]


def _sample_batches(specs: Sequence[SampleSpec]) -> list[dict[int, int]]:
    """Group specs of one padded length: for each batch the indices in `specs` by their places in the batch."""
    batches: dict[tuple[int, int], dict[int, int]] = {}
    taken: Counter[tuple[int, int]] = Counter()
    for row, spec in enumerate(specs):
        padded, place = padded_length(spec.length), spec.number % SAMPLES_TOGETHER
        batches.setdefault((padded, taken[padded, place]), {})[place] = row
        taken[padded, place] += 1
    return list(batches.values())


def _sample_batch(
    model: BackboneGenerator, specs: list[SampleSpec], seed: int, config: SamplingConfig
) -> np.ndarray:
    """Sample chains of one padded length L: (`SAMPLES_TOGETHER`, L, 3) Angstrom."""
    scales = model.config.scales
    lengths, cyclic, secondary = zip(*((s.length, s.cyclic, s.secondary) for s in specs), strict=True)
    layout = make_layout(lengths, cyclic, padded_length(lengths[0]), scales, secondary)
    bias = model.context.bias(layout)
    past: list[Past] | None = None
    trace: mx.array | None = None
    for scale in range(scales):
        begin, end = sum(layout.sizes[:scale]), sum(layout.sizes[: scale + 1])
        mask = mx.concatenate(list(layout.masks[: scale + 1]), axis=1)
        seen = surroundings(scale, trace, layout)
        states = model.context.read(scale, seen, layout)
        z, past = model.context.extend(states, mask, bias[:, :, begin:end, :end], past)
        sampled = _sample_scale(model, scale, z, seen, layout, specs, seed, config)
        trace = _with_shapes(sampled, scale, specs, scales)
    return np.array(trace)


def _sample_scale(
    model: BackboneGenerator,
    scale: int,
    z: mx.array,
    seen: Surroundings,
    layout: Layout,
    specs: list[SampleSpec],
    seed: int,
    config: SamplingConfig,
) -> mx.array:
    """Sample the points of a scale, (B, S_k, 3) Angstrom."""
    scales, mask = model.config.scales, layout.masks[scale]
    unit = mx.array(noise_scale(scale, scales))
    steps = config.steps if scale == 0 else config.ode_steps
    noise = _scale_noise(specs, seed, scale, mask, 1 + steps if scale == 0 else 1)
    points, inside = _motif_points(specs, scale, scales, mask.shape[1])
    motif, where = mx.array(points), mx.array(inside)
    rows = where.any(axis=1)[:, None, None]
    bias = model.decoder.bias(scale, layout)
    x = centred(noise[0], mask) * (1.0 if scale == 0 else LATER_NOISE_SHARE)
    before = mx.zeros_like(x)
    for step in range(steps):
        time, following = step / steps, (step + 1) / steps
        velocity = model.decoder(x, mx.array([time]), z, seen, before, scale, layout, bias)
        before = x + (1.0 - time) * velocity
        if inside.any():
            shape = seen.origin + before * unit
            placed = mx.where(where[..., None], superpose(motif, shape, where), shape)
            before = mx.where(rows, centred(placed - seen.origin, mask) / unit, before)
            velocity = mx.where(rows, (before - x) / (1.0 - time), velocity)
        if following == 1.0:
            x = before
        elif scale == 0:
            x = sde_step(x, velocity, time, following - time, config.gamma, centred(noise[1 + step], mask))
        else:
            x = x + (following - time) * velocity
        mx.async_eval(x, before)
    return seen.origin + x * unit


def _scale_noise(
    specs: list[SampleSpec], seed: int, scale: int, mask: mx.array, draws: int
) -> list[mx.array]:
    """Return normal numbers (B, S_k, 3), `draws` times, each row from a generator of its own."""
    drawn = np.zeros((draws, *mask.shape, 3), np.float32)
    counts = np.array(mask.sum(axis=1)).tolist()
    for row, (spec, size) in enumerate(zip(specs, counts, strict=True)):
        rng = np.random.default_rng([seed, spec.number, scale])
        drawn[:, row, :size] = rng.standard_normal((draws, size, 3), dtype=np.float32)
    return [mx.array(each) for each in drawn]


def _with_shapes(trace: mx.array, scale: int, specs: list[SampleSpec], scales: int) -> mx.array:
    """Replace sampled points of a scale by requested shapes, (B, S_k, 3)."""
    given = np.zeros(trace.shape, np.float32)
    rows = np.zeros(len(specs), bool)
    for row, spec in enumerate(specs):
        size = scale_sizes(spec.length, scales=scales)[scale]
        if spec.shape is None or scale == scales - 1 or not (scale == 0 or size <= len(spec.shape)):
            continue
        shape = spec.shape.astype(float)
        given[row, :size] = resampling(len(shape), size, spec.cyclic) @ shape @ _shape_axes(spec)
        rows[row] = True
    return mx.where(mx.array(rows)[:, None, None], mx.array(given), trace) if rows.any() else trace


def _motif_points(
    specs: Sequence[SampleSpec], scale: int, scales: int, room: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the motifs at a scale: points (B, S_k, 3), Angstrom, and (B, S_k) bool, True where there is one."""
    points = np.zeros((len(specs), room, 3), np.float32)
    inside = np.zeros((len(specs), room), bool)
    for row, spec in enumerate(specs):
        if spec.motif is None:
            continue
        start, motif = spec.motif
        size = scale_sizes(spec.length, scales=scales)[scale]
        place = np.round(point_positions(spec.length, size, spec.cyclic) - start, 9)
        chosen = np.flatnonzero((place >= 0) & (place <= len(motif) - 1))
        columns = [
            np.interp(place[chosen], np.arange(len(motif)), column) for column in motif.T.astype(float)
        ]
        points[row, chosen] = np.stack(columns, axis=1)
        inside[row, chosen] = True
    return points, inside


def _oriented(trace: np.ndarray, spec: SampleSpec) -> np.ndarray:
    """Turn a trace (L, 3) from the standard orientation to that of the requested shape."""
    return trace if spec.shape is None else (trace @ _shape_axes(spec).T).astype(np.float32)


def _shape_axes(spec: SampleSpec) -> np.ndarray:
    assert spec.shape is not None
    return canonical_axes(spec.shape.astype(float), spec.cyclic)
