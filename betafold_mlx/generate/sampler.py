"""Sampling C-alpha traces coarse to fine.

The first scale follows a stochastic path from noise to a shape (an SDE with a lower temperature, gamma), each later one
a short straight path (an ODE) under what is there already. A coarse shape or a motif that is asked for takes the place
of the model's own estimate, without further training.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from betafold_mlx.errors import BetafoldError
from betafold_mlx.generate.context import Past
from betafold_mlx.generate.flow import sde_step
from betafold_mlx.generate.layout import Layout, make_layout
from betafold_mlx.generate.network import BackboneGenerator
from betafold_mlx.generate.noise import centred, noise_scale
from betafold_mlx.generate.requests import Motif, Request, check, motif_points, oriented
from betafold_mlx.generate.scales import canonical_axes, resampling, scale_sizes
from betafold_mlx.generate.surroundings import Surroundings, surroundings
from betafold_mlx.geometry.superpose import superpose
from betafold_mlx.model.inputs import padded_length
from betafold_mlx.parallel import side_by_side

TOGETHER = 16
"""Samples made at a time. Always so many, and sample i always at place i modulo this, with copies in the places that
are left over: a BLAS multiplies matrices in blocks of rows, and the last digits of a row depend on its place and on
how many there are. So a sample has the same bits in any company."""


NOISE_SHARE = 0.7
"""Share of its noise that a later scale starts from. With a full share detail is as various as in the training data,
and more traces have a fault; the divergence of their C-alpha distances hardly changes. Chosen by samples beside
training windows."""


@dataclass(frozen=True)
class SamplingConfig:
    """How to sample.

    Attributes
    ----------
    steps : int
        Steps of the SDE on the first scale.
    ode_steps : int
        Steps of the ODE on each later scale.
    gamma : float
        Temperature of the SDE's noise: 1 samples what was learned, less the most usual shapes.
    """

    steps: int = 60
    ode_steps: int = 12
    gamma: float = 0.7

    def __post_init__(self) -> None:
        for name in ("steps", "ode_steps"):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= 10_000:
                raise BetafoldError(
                    f"sampling: {name} must be a whole number from 1 to 10000, not {value!r:.40}"
                )
        if not 0 <= self.gamma <= 10:
            raise BetafoldError(f"sampling: gamma must lie in [0, 10], not {self.gamma!r:.40}")


def sample_traces(
    model: BackboneGenerator,
    lengths: Sequence[int],
    seed: int,
    numbers: Sequence[int],
    config: SamplingConfig,
    coarse: Sequence[np.ndarray | None] | None = None,
    motifs: Sequence[Motif | None] | None = None,
    cyclic: Sequence[bool] | None = None,
    *,
    secondary: Sequence[str | None] | None = None,
) -> list[np.ndarray]:
    """Sample C-alpha traces.

    Sample k depends on the seed, its own number, its length and what is asked of it, and on nothing else that is made.

    Parameters
    ----------
    model : BackboneGenerator
        The network.
    lengths : sequence of int
        Residues of each of n samples, `SHORTEST` to `LONGEST`.
    seed : int
        From 0.
    numbers : sequence of int
        (n,) number of each sample, from 0: the same number, seed and length give the same noise.
    config : SamplingConfig
        Steps and temperature.
    coarse : sequence of (numpy.ndarray or None), optional
        (m, 3) points along the chain, Angstrom. Interpolated to the scales of m points or less, and in any case to the
        first one, they take the place of what would be sampled there.
    motifs : sequence of (Motif or None), optional
        Kept exactly, up to a motion of the whole.
    cyclic : sequence of bool, optional
        Which samples are rings.
    secondary : sequence of (str or None), optional
        Secondary structure asked for: ``H``, ``E`` or ``C`` a residue, ``-`` where nothing is asked.

    Returns
    -------
    list of numpy.ndarray
        (L, 3) float32 of each sample, Angstrom, zero-centred; where a coarse shape was given, turned as that is.

    Raises
    ------
    BetafoldError
        For a length out of range, or a shape, motif or secondary structure that does not fit its chain.
    """
    count = len(lengths)
    requests = [
        Request(*values)
        for values in zip(
            lengths,
            numbers,
            _each(cyclic, count, False),
            _each(coarse, count, None),
            _each(motifs, count, None),
            _each(secondary, count, None),
            strict=True,
        )
    ]
    for request in requests:
        check(request, model.config.scales)
    parts = _parts(requests)
    mx.eval(model.parameters())  # threads read them

    def sample_part(part: dict[int, int]) -> np.ndarray:
        filled = [requests[part.get(place, min(part.values()))] for place in range(TOGETHER)]
        return _sample_together(model, filled, seed, config)

    found: dict[int, np.ndarray] = {}
    for part, traces in zip(parts, side_by_side(sample_part, parts), strict=True):
        found |= {row: traces[place, : lengths[row]] for place, row in part.items()}
    return [oriented(found[row], request) for row, request in enumerate(requests)]


def _each(values: Sequence[Any] | None, count: int, default: Any) -> Sequence[Any]:
    return [default] * count if values is None else values


def _parts(requests: list[Request]) -> list[dict[int, int]]:
    """Return which requests are sampled together: rows of `requests` by their places, of one padded length each."""
    parts: dict[tuple[int, int], dict[int, int]] = {}
    taken: Counter[tuple[int, int]] = Counter()
    for row, request in enumerate(requests):
        padded, place = padded_length(request.length), request.number % TOGETHER
        parts.setdefault((padded, taken[padded, place]), {})[place] = row
        taken[padded, place] += 1
    return list(parts.values())


def _sample_together(
    model: BackboneGenerator, requests: list[Request], seed: int, config: SamplingConfig
) -> np.ndarray:
    """Sample `TOGETHER` chains of one padded length L: (`TOGETHER`, L, 3) Angstrom."""
    scales = model.config.scales
    layout = make_layout(
        [request.length for request in requests],
        [request.cyclic for request in requests],
        padded_length(requests[0].length),
        scales,
        [request.secondary for request in requests],
    )
    bias = model.context.bias(layout)
    past: list[Past] | None = None
    trace: mx.array | None = None
    for scale in range(scales):
        begin, end = sum(layout.sizes[:scale]), sum(layout.sizes[: scale + 1])
        mask = mx.concatenate(list(layout.masks[: scale + 1]), axis=1)
        seen = surroundings(scale, trace, layout)
        states = model.context.read(scale, seen, layout)
        z, past = model.context.extend(states, mask, bias[:, :, begin:end, :end], past)
        sampled = _flow(model, scale, z, seen, layout, requests, seed, config)
        trace = _with_coarse(sampled, scale, requests, scales)
    assert trace is not None
    return np.array(trace)


def _flow(
    model: BackboneGenerator,
    scale: int,
    z: mx.array,
    seen: Surroundings,
    layout: Layout,
    requests: list[Request],
    seed: int,
    config: SamplingConfig,
) -> mx.array:
    """Sample the points of a scale, (B, S_k, 3) Angstrom."""
    mask, unit = layout.masks[scale], mx.array(noise_scale(scale, model.config.scales))
    steps = config.steps if scale == 0 else config.ode_steps
    noise = _noise(requests, seed, scale, mask, 1 + steps if scale == 0 else 1)
    fixed, inside = motif_points(requests, scale, model.config.scales, mask.shape[1])
    asked = bool(inside.any())
    wanted, where = mx.array(fixed), mx.array(inside)
    rows = where.any(axis=1)[:, None, None]
    bias = model.decoder.bias(scale, layout)
    x = centred(noise[0], mask) * (1.0 if scale == 0 else NOISE_SHARE)
    before = mx.zeros_like(x)
    for step in range(steps):
        time, following = step / steps, (step + 1) / steps
        velocity = model.decoder(x, mx.array([time]), z, seen, before, scale, layout, bias)
        before = x + (1.0 - time) * velocity
        if asked:
            shape = seen.origin + before * unit
            placed = mx.where(where[..., None], superpose(wanted, shape, where), shape)
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


def _noise(requests: list[Request], seed: int, scale: int, mask: mx.array, draws: int) -> list[mx.array]:
    """Return normal numbers (B, S_k, 3), `draws` times, each row from a generator of its own."""
    drawn = np.zeros((draws, *mask.shape, 3), np.float32)
    counts = np.array(mask.sum(axis=1)).tolist()
    for row, (request, size) in enumerate(zip(requests, counts, strict=True)):
        rng = np.random.default_rng([seed, request.number, scale])
        drawn[:, row, :size] = rng.standard_normal((draws, size, 3), dtype=np.float32)
    return [mx.array(each) for each in drawn]


def _with_coarse(trace: mx.array, scale: int, requests: list[Request], scales: int) -> mx.array:
    """Put the shapes that are asked for in the place of sampled ones, (B, S_k, 3)."""
    given = np.zeros(trace.shape, np.float32)
    rows = np.zeros(len(requests), bool)
    for row, request in enumerate(requests):
        size = scale_sizes(request.length, scales=scales)[scale]
        if request.coarse is None or scale == scales - 1 or not (scale == 0 or size <= len(request.coarse)):
            continue
        shape = np.asarray(request.coarse, float)
        given[row, :size] = (
            resampling(len(shape), size, request.cyclic) @ shape @ canonical_axes(shape, request.cyclic)
        )
        rows[row] = True
    return mx.where(mx.array(rows)[:, None, None], mx.array(given), trace) if rows.any() else trace
