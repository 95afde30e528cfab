"""Flow matching: the training loss, and the step of the sampling SDE.

A structure x and noise e are joined by a straight line, x_t = t x + (1 - t) e, along which a point moves with the
velocity x - e. The network learns the mean velocity at x_t, and a path along it leads from noise to structures (Lipman
et al. 2023). What flows at a later scale is what it adds to the coarser one: the same path, seen from a moving origin.
Everything here is in units of the noise of a scale (`betafold_mlx.generate.scales.noise_scale`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
from mlx.utils import tree_map

from betafold_mlx.generate.chain_layout import OFFSETS, Layout, surroundings
from betafold_mlx.generate.generator_config import FlowConfig
from betafold_mlx.generate.network import BackboneGenerator
from betafold_mlx.generate.scales import centred, noise_scale
from betafold_mlx.geometry.metrics import masked_mean

TIME_POWER = 1.0 / 1.9
"""Times are u^(1/1.9) of a uniform u, which is Beta(1.9, 1): more of them where the fine detail is settled."""
LATE = 0.5
"""An estimate from before this time is the mean of many shapes and looks like no sample: not used as context."""
DISTANCE_WEIGHT = 0.2
"""Weight of the loss of distances. With 0.5 its gradient was three times that of the velocity in the first 150 steps of
a run of the default settings, and would lead where the velocity should."""
NEAREST_END = 0.1
"""Errors of distances are divided by the remaining time, as those of the velocity are, by no less than this."""
EARLIEST = 0.05  # the SDE takes 1/t no larger than at this time


def first_draws(scales: int) -> int:
    """Return how many times and noises an example of the coarsest scale is trained at.

    With so many it has as many points as the finest one. All else depends on it, and it reads nothing, so that all
    draws share one output of the Transformer.
    """
    return 2 ** (scales - 1)


def flow_loss(
    model: BackboneGenerator, traces: Sequence[mx.array], layout: Layout, keys: mx.array, config: FlowConfig
) -> tuple[mx.array, dict[str, mx.array]]:
    """Return the loss of a batch, the mean squared error of the velocity and what `FlowConfig` adds, and its parts.

    `traces` (B, S_k, 3) of each scale are in Angstrom, zero-centred, zero at padding; `keys` (B, 2) are random: the
    draws of an example do not depend on the rest of the batch. The loss is the mean over points, scales and examples;
    its parts are ``scale_1`` ... of each scale, and ``distance`` where it is learned.
    """
    scales = len(traces)
    units = [mx.array(noise_scale(scale, scales)) for scale in range(scales)]
    count = 2 + 2 * scales
    chances, further, *rest = mx.split(mx.vmap(lambda key: mx.random.split(key, count))(keys), count, axis=1)
    drawn = mx.vmap(lambda key: mx.random.uniform(shape=(count,), key=key))(chances[:, 0])  # (B, ...)
    times = mx.power(drawn[:, :scales], TIME_POWER)
    noise = [_noise(rest[scale], layout.masks[scale]) for scale in range(scales)]
    biases = [model.decoder.bias(scale, layout) for scale in range(scales)]
    causal = model.context.bias(layout)

    def passed(
        contexts: list[mx.array], known: list[mx.array] | None
    ) -> tuple[list[mx.array], list[mx.array], list[mx.array]]:
        """Return estimates of all scales, Angstrom, the squared errors of their velocities, (B, S_k), and z."""
        read = contexts
        if config.noisy_context:
            blur = [units[k] * _noise(rest[scales + k], layout.masks[k]) for k in range(len(contexts))]
            read = [_blend(drawn[:, scales + k], context, blur[k]) for k, context in enumerate(contexts)]
        z = model([surroundings(k, trace, layout) for k, trace in enumerate((None, *read))], layout, causal)
        estimates, errors = [], []
        for k, (trace, context) in enumerate(zip(traces, (None, *contexts), strict=True)):
            seen, unit = surroundings(k, context, layout), units[k]
            end = (trace - seen.origin) / unit
            before = mx.zeros_like(end) if known is None else told * (known[k] - seen.origin) / unit
            estimate, error = _decoded(
                model, end, noise[k], times[:, k], z[k], seen, before, k, layout, biases[k]
            )
            estimates.append(seen.origin + unit * estimate)
            errors.append(error)
        return estimates, errors, z

    contexts, known = list(traces[:-1]), None
    own = config.scheduled_sampling and scales > 1
    told = (drawn[:, -1] < 0.5)[:, None, None].astype(mx.float32)
    if own or config.self_conditioning:
        estimates = [mx.stop_gradient(estimate) for estimate in passed(contexts, None)[0]]
        if config.self_conditioning:
            known = estimates
        if own:
            theirs = ((drawn[:, -2:-1] < 0.5) & (times > LATE)).astype(mx.float32)
            contexts = [
                _blend(theirs[:, scale], estimates[scale], context) for scale, context in enumerate(contexts)
            ]
    estimates, errors, z = passed(contexts, known)
    more = first_draws(scales) - 1
    if config.further_draws and more:
        others = _first_errors(model, traces[0], z[0], layout, further[:, 0], more, config.self_conditioning)
        errors[0] = (errors[0] + more * others) / (1 + more)
    parts = {
        f"scale_{scale + 1}": masked_mean(error, layout.masks[scale], 1).mean()
        for scale, error in enumerate(errors)
    }
    loss = sum(parts.values(), mx.zeros(())) / scales
    if config.local_distances:
        weights = (times[:, -1] > LATE) / mx.square(mx.maximum(1.0 - times[:, -1], NEAREST_END))
        wrong = distance_error(estimates[-1] / units[-1], traces[-1] / units[-1], layout)
        parts["distance"] = (weights * wrong).mean()
        loss = loss + DISTANCE_WEIGHT * parts["distance"]
    return loss, parts


def _decoded(
    model: BackboneGenerator, end: mx.array, noise: mx.array, time: mx.array, *others: Any
) -> tuple[mx.array, mx.array]:
    """Return an estimate of the end of the path from noise, (B, S, 3), and the squared error of its velocity, (B, S).

    `others` are the further arguments of `Decoder`: z, seen, before, scale, layout, bias.
    """
    x = _blend(time, end, noise)
    velocity = model.decoder(x, time, *others)
    estimate = x + (1.0 - time)[:, None, None] * velocity
    return estimate, mx.square(velocity - (end - noise)).mean(axis=-1)


def _first_errors(
    model: BackboneGenerator,
    trace: mx.array,
    z: mx.array,
    layout: Layout,
    keys: mx.array,
    draws: int,
    self_conditioning: bool,
) -> mx.array:
    """Return the mean squared error of the velocity of the first scale, (B, S_1), over so many times and noises."""
    unit, count = mx.array(noise_scale(0, len(layout.masks))), len(trace)

    def repeated(array: mx.array) -> mx.array:
        return mx.repeat(array, draws, axis=0)

    many = Layout(*tree_map(repeated, tuple(layout)))  # lazy: only what the first scale uses is computed
    seen, bias = surroundings(0, None, many), repeated(model.decoder.bias(0, layout))
    each = mx.vmap(lambda key: mx.random.split(key, 2 * draws))(keys).reshape(count * draws, 2, 2)
    drawn = mx.vmap(lambda key: mx.random.uniform(shape=(2,), key=key))(each[:, 0])
    time, noise = mx.power(drawn[:, 0], TIME_POWER), _noise(each[:, 1:], many.masks[0])
    end, z = repeated(trace) / unit, repeated(z)
    path, before = (model, end, noise, time, z, seen), mx.zeros_like(end)
    if self_conditioning:
        estimate, _ = _decoded(*path, before, 0, many, bias)
        before = (drawn[:, 1] < 0.5)[:, None, None] * mx.stop_gradient(estimate)
    _, errors = _decoded(*path, before, 0, many, bias)
    return errors.reshape(count, draws, -1).mean(axis=1)


def distance_error(found: mx.array, true: mx.array, layout: Layout) -> mx.array:
    """Return the mean squared error of the distances between residues one, two and three apart along the chain.

    They are its bonds and, up to a reflection, the angles and torsions of its C-alphas. A ring has them all around. Of
    traces (B, L, 3) it is the mean over the pairs of a chain, (B,), in their unit squared.
    """
    one, two = (layout.neighbours[-1][..., OFFSETS.index(apart)] for apart in (1, 2))
    own = mx.broadcast_to(mx.arange(one.shape[1]), one.shape)
    others = mx.concatenate([one, two, mx.take_along_axis(two, one, axis=1)], axis=1)  # (B, 3 L)
    # At an open end a point's neighbour is the point itself.
    pairs = mx.concatenate([layout.masks[-1]] * 3, axis=1) & (
        others != mx.concatenate([own, own, one], axis=1)
    )

    def distances(points: mx.array) -> mx.array:
        beside = mx.take_along_axis(points, others[..., None], axis=1)
        return mx.sqrt(mx.square(beside - mx.concatenate([points] * 3, axis=1)).sum(axis=-1) + 1e-6)

    return masked_mean(mx.square(distances(found) - distances(true)), pairs, 1)


def _blend(share: mx.array, points: mx.array, noise: mx.array) -> mx.array:
    share = share[:, None, None]
    return share * points + (1.0 - share) * noise


def _noise(keys: mx.array, mask: mx.array) -> mx.array:
    """Return zero-centred noise (B, S, 3) of keys (B, 1, 2)."""
    size = mask.shape[1]
    return centred(mx.vmap(lambda key: mx.random.normal((size, 3), key=key))(keys[:, 0]), mask)


def sde_step(
    x: mx.array, velocity: mx.array, time: float, step: float, gamma: float, noise: mx.array
) -> mx.array:
    """Return x after a step of the SDE dx = v dt + g s dt + sqrt(2 g gamma) dW, by Euler and Maruyama.

    s = (t v - x) / (1 - t) is the score of x_t. With g = (1 - t) / max(t, `EARLIEST`) it needs no division by 1 - t,
    and the noise dies out towards the structure. Of the temperature gamma, 1 keeps the distribution of x_t, less makes
    it narrower, 0 has no noise; `noise` are normal numbers (B, S, 3).
    """
    early = max(time, step, EARLIEST)  # the step: where g times it is above 1, a path overshoots
    drift = velocity + (time * velocity - x) / early
    spread = (2.0 * gamma * step * (1.0 - time) / early) ** 0.5
    return x + step * drift + spread * noise
