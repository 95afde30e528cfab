"""Flow matching: the loss, and the paths that are sampled along."""

import dataclasses

import mlx.core as mx
import numpy as np
import pytest
from generate_fakes import TINY, shaken
from mlx.utils import tree_flatten, tree_map

from betafold_mlx.generate.chain_layout import Layout, make_layout
from betafold_mlx.generate.flow import (
    DISTANCE_WEIGHT,
    LATE,
    TIME_POWER,
    _first_errors,
    distance_error,
    flow_loss,
    sde_step,
)
from betafold_mlx.generate.generator_config import FlowConfig
from betafold_mlx.generate.network import BackboneGenerator
from betafold_mlx.generate.scales import noise_scale

PLAIN = FlowConfig(
    noisy_context=False,
    scheduled_sampling=False,
    self_conditioning=False,
    local_distances=False,
    further_draws=False,
)


def gaussian_traces(count, lengths, seed=0):
    """Traces whose every scale adds to the coarser one what the noise is like."""
    rng = np.random.default_rng(seed)
    layout = make_layout(lengths, [False] * count, 16, 3)
    traces, trace = [], None
    for scale, mask in enumerate(layout.masks):
        real = np.array(mask)[..., None]
        added = rng.normal(size=(*real.shape[:2], 3)) * noise_scale(scale, 3) * real
        added -= real * added.sum(axis=1, keepdims=True) / real.sum(axis=1, keepdims=True)
        trace = added if trace is None else np.array(layout.ups[scale - 1]) @ trace + added
        traces.append(mx.array(trace.astype(np.float32)))
    return traces, layout


def keys(count, seed=0):
    return mx.random.split(mx.random.key(seed), count)


def test_the_loss_of_the_best_linear_guess():
    mx.random.seed(0)
    traces, layout = gaussian_traces(2000, [16] * 2000)
    _, parts = flow_loss(BackboneGenerator(TINY), traces, layout, keys(2000), PLAIN)
    time = (np.arange(10_000) + 0.5) / 10_000
    density = time ** (1 / TIME_POWER - 1) / TIME_POWER
    expected = (density / (time**2 + (1 - time) ** 2)).mean()
    for scale, size in enumerate((4, 8, 16)):
        # n centred points have the variance of n - 1.
        assert parts[f"scale_{scale + 1}"].item() == pytest.approx(expected * (size - 1) / size, rel=0.03)


def test_the_loss_is_the_mean_of_the_scales_and_of_the_examples():
    model = shaken(TINY)
    traces, layout = gaussian_traces(3, [16, 9, 12])
    config, own = FlowConfig(), keys(3)
    loss, parts = flow_loss(model, traces, layout, own, config)
    distance = parts.pop("distance").item()
    flow = np.mean([part.item() for part in parts.values()])
    assert distance > 0 and loss.item() == pytest.approx(flow + DISTANCE_WEIGHT * distance, rel=1e-5)
    singles = []
    for row in range(3):
        part, rest = gaussian_traces(1, [[16, 9, 12][row]])
        part = [trace[row : row + 1] for trace in traces]
        singles.append(flow_loss(model, part, rest, own[row : row + 1], config)[0].item())
    assert loss.item() == pytest.approx(np.mean(singles), rel=1e-4)


def test_further_draws_of_the_first_scale_are_independent():
    mx.random.seed(0)
    model = BackboneGenerator(TINY)  # the best linear guess, of which the mean is known
    traces, layout = gaussian_traces(1, [16])
    count = 3000
    many = Layout(*tree_map(lambda array: mx.repeat(array, count, axis=0), tuple(layout)))
    z, trace = mx.zeros((count, 4, 32)), mx.repeat(traces[0], count, axis=0)
    spread = {}
    for draws in (1, 3):
        errors = _first_errors(model, trace, z, many, keys(count), draws, self_conditioning=False)
        assert errors.shape == (count, 4)
        of_chains = np.array(errors).mean(axis=1)
        spread[draws] = of_chains.mean(), of_chains.var()
    assert spread[3][0] == pytest.approx(spread[1][0], rel=0.05)
    assert spread[3][1] == pytest.approx(spread[1][1] / 3, rel=0.2)


def losses(config, count=24):
    """(count, 3) loss of each example and scale."""
    model = shaken(TINY)
    traces, layout = gaussian_traces(1, [16])
    found = []
    for key in keys(count):
        _, parts = flow_loss(model, traces, layout, key[None], config)
        found.append([part.item() for part in parts.values()])
    return np.array(found)


def test_what_the_switches_change():
    plain = losses(PLAIN)
    noisy = losses(dataclasses.replace(PLAIN, noisy_context=True))
    assert np.array_equal(noisy[:, 0], plain[:, 0])  # the first scale reads nothing
    assert (noisy[:, 1:] != plain[:, 1:]).all()
    own = losses(dataclasses.replace(PLAIN, scheduled_sampling=True))
    assert np.array_equal(own[:, 0], plain[:, 0])
    changed = (own[:, 1:] != plain[:, 1:]).any(axis=1)
    assert 6 <= changed.sum() <= 18  # half of the examples
    told = losses(dataclasses.replace(PLAIN, self_conditioning=True))
    changed = (told != plain).any(axis=1)
    assert 6 <= changed.sum() <= 18
    assert (told != plain)[changed].all()
    further = losses(dataclasses.replace(PLAIN, further_draws=True))
    assert np.array_equal(further[:, 1:], plain[:, 1:]) and (further[:, 0] != plain[:, 0]).all()
    both = losses(dataclasses.replace(PLAIN, further_draws=True, self_conditioning=True))
    assert (both != further)[:, 0].sum() > 18  # each draw is told by its own chance


def test_estimates_are_not_trained_through():
    """With its own estimate as context, a model of one scale less of gradient: that of the second pass alone."""
    model = shaken(TINY)
    traces, layout = gaussian_traces(8, [16] * 8)

    def gradient(own):
        def loss(parameters):
            model.update(parameters)
            return flow_loss(model, traces, layout, own, dataclasses.replace(PLAIN, scheduled_sampling=True))[
                1
            ]["scale_3"]

        weights = model.parameters()
        found = mx.grad(loss)(weights)
        model.update(weights)
        return dict(tree_flatten(found))

    found = gradient(keys(8))
    # The third scale's loss reaches the first scale's context through attention alone, and its bias table of the first
    # scale's decoder not at all: only estimates would lead there.
    table = np.array(found["decoder.separation.weight"]).reshape(3, -1)
    assert np.abs(table[2]).max() > 0 and not table[:2].any()


@pytest.mark.parametrize("cyclic", [False, True])
def test_the_error_of_distances_against_loops(cyclic):
    rng = np.random.default_rng(5)
    lengths = [16, 8, 11]
    layout = make_layout(lengths, [cyclic] * 3, 16, 3)
    found, true = (rng.normal(0, 4, (3, 16, 3)).astype(np.float32) for _ in range(2))
    expected = []
    for row, length in enumerate(lengths):
        pairs = set()
        for first in range(length):
            for apart in (1, 2, 3):
                if cyclic:
                    pairs.add((first, (first + apart) % length, apart))
                elif first + apart < length:
                    pairs.add((first, first + apart, apart))
        errors = [
            (np.linalg.norm(found[row, i] - found[row, j]) - np.linalg.norm(true[row, i] - true[row, j])) ** 2
            for i, j, _ in pairs
        ]
        expected.append(np.mean(errors))
    given = distance_error(mx.array(found), mx.array(true), layout)
    assert np.allclose(np.array(given), expected, rtol=1e-5)


def test_distances_are_learned_where_estimates_are_late():
    model = shaken(TINY)
    traces, layout = gaussian_traces(1, [16])
    for key in keys(12):
        _, parts = flow_loss(model, traces, layout, key[None], FlowConfig())
        _, plain = flow_loss(
            model, traces, layout, key[None], dataclasses.replace(FlowConfig(), local_distances=False)
        )
        assert parts["scale_3"].item() == plain["scale_3"].item() and "distance" not in plain
        split = mx.random.split(key, 8)
        time = mx.random.uniform(shape=(8,), key=split[0])[2].item() ** TIME_POWER
        assert (parts["distance"].item() > 0) == (time > LATE)


# Paths


def exact_velocity(x, time, spread):
    """That of data with a normal distribution of this standard deviation."""
    return (time * spread**2 - (1 - time)) / (time**2 * spread**2 + (1 - time) ** 2) * x


@pytest.mark.parametrize("spread", [0.5, 2.0])
@pytest.mark.parametrize("gamma", [1.0, 0.0])
def test_the_sde_ends_in_the_distribution_of_the_data(spread, gamma):
    rng = np.random.default_rng(0)
    x = mx.array(rng.normal(size=(1, 8000, 1)).astype(np.float32))
    steps = 200
    for step in range(steps):
        noise = mx.array(rng.normal(size=x.shape).astype(np.float32))
        x = sde_step(x, exact_velocity(x, step / steps, spread), step / steps, 1 / steps, gamma, noise)
    reached = float(np.array(x).std())
    if gamma == 1.0:
        assert reached == pytest.approx(spread, rel=0.06)
    else:
        assert reached < 0.2 * spread  # without noise the score pulls to the mode


def test_lower_temperatures_spread_less():
    reached = []
    for gamma in (0.2, 0.4, 0.7, 1.0):
        rng = np.random.default_rng(0)
        x = mx.array(rng.normal(size=(1, 4000, 1)).astype(np.float32))
        for step in range(100):
            noise = mx.array(rng.normal(size=x.shape).astype(np.float32))
            x = sde_step(x, exact_velocity(x, step / 100, 1.0), step / 100, 0.01, gamma, noise)
        reached.append(np.array(x).std())
    assert reached == sorted(reached) and reached[0] < 0.6 * reached[-1]


@pytest.mark.parametrize("steps", [1, 2, 5, 20])
def test_few_steps_do_not_overshoot(steps):
    x = mx.ones((1, 1, 1)) * 3.0
    for step in range(steps):
        x = sde_step(x, exact_velocity(x, step / steps, 1.0), step / steps, 1 / steps, 0.0, mx.zeros_like(x))
        assert abs(x.item()) <= 3.0 + 1e-5
