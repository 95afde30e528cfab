"""The generator's decoder: what it reads, what it answers, and an oracle in float64."""

import math

import mlx.core as mx
import numpy as np
import pytest
from generate_fakes import LAYOUT, TINY, shaken
from mlx.utils import tree_flatten

from betafold_mlx.generate.chain_layout import MAX_SEPARATION, OFFSETS, surroundings
from betafold_mlx.generate.decoder import NEAR, PULL_UNIT, TIME_FEATURES, WAVELENGTHS
from betafold_mlx.generate.network import BackboneGenerator
from betafold_mlx.generate.scales import centred, noise_scale


@pytest.fixture(scope="module")
def model():
    return shaken(TINY)


def decoded(model, scale=2, x=None, time=0.3, z=None, coarser=None, before=None):
    rng = np.random.default_rng(5)
    size = LAYOUT.sizes[scale]
    shapes = {"x": (3, size, 3), "z": (3, size, 32), "coarser": (3, 8, 3), "before": (3, size, 3)}
    given = {"x": x, "z": z, "coarser": coarser, "before": before}
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    arrays |= {name: value for name, value in given.items() if value is not None}
    x, z, coarser, before = (mx.array(array) for array in arrays.values())
    seen = surroundings(scale, 4.0 * coarser, LAYOUT)
    bias = model.decoder.bias(scale, LAYOUT)
    time = mx.full((3,), time) if isinstance(time, float) else mx.array(time)
    return np.array(model.decoder(x, time, z, seen, before, scale, LAYOUT, bias))


def test_a_new_decoder_is_the_best_linear_guess():
    mx.random.seed(1)
    new = BackboneGenerator(TINY)
    rng = np.random.default_rng(0)
    x = np.array(centred(mx.array(rng.normal(size=(3, 16, 3)).astype(np.float32)), LAYOUT.masks[2]))
    for time in (0.0, 0.25, 0.9):
        # Cov(v, x_t) / Var(x_t), of structure and noise both of variance one.
        slope = (time - (1 - time)) / (time**2 + (1 - time) ** 2)
        np.testing.assert_allclose(decoded(new, x=x, time=time), slope * x, atol=1e-5)


def test_velocities_are_centred_and_padding_stays(model):
    velocity = decoded(model)
    mask = np.array(LAYOUT.masks[2])
    assert not velocity[~mask].any()
    np.testing.assert_allclose(velocity.sum(axis=1), 0, atol=1e-4)


def test_one_time_for_all_is_the_same(model):
    np.testing.assert_allclose(decoded(model, time=[0.3]), decoded(model, time=[0.3] * 3), atol=1e-4)


# An oracle


def neighbours(row, scale):
    """Two points to either side of each point, itself where there is none."""
    size = int(np.array(LAYOUT.masks[scale])[row].sum())
    cyclic = row == 2
    return [
        [(i + k) % size if cyclic else (i + k if 0 <= i + k < size else i) for k in OFFSETS]
        for i in range(size)
    ]


def oracle(model, row, scale, x, time, z, seen, before):
    """The velocity of one chain's points, (S, 3), in float64 NumPy, a point at a time where points have neighbours."""
    w = {
        name.removeprefix("decoder."): np.array(value, np.float64)
        for name, value in tree_flatten(model.parameters())
    }

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0.0)

    def norm(x):
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)

    beside = neighbours(row, scale)
    size = len(beside)
    x, z, before, origin, frames, ahead = (
        np.array(array, np.float64)[row, :size]
        for array in (x, z, before, seen.origin, seen.frames, seen.ahead)
    )
    unit = noise_scale(scale, 3).astype(np.float64)
    variance = time**2 + (1 - time) ** 2
    angles = time * np.exp(np.linspace(0, 5, TIME_FEATURES))
    condition = np.maximum(
        linear(z, "context") + linear(np.concatenate([np.sin(angles), np.cos(angles)]), "time"), 0
    )
    points = origin + x * unit
    ways = np.zeros((size, 4, 3))
    distances = np.zeros((size, 4))
    states = []
    for i in range(size):
        ways[i] = [frames[i].T @ (points[j] - points[i]) for j in beside[i]]
        distances[i] = np.sqrt((ways[i] ** 2).sum(axis=1) + NEAR**2)
        waves = [
            [d / 5.0]
            + [math.sin(2 * math.pi * d / length) for length in WAVELENGTHS]
            + [math.cos(2 * math.pi * d / length) for length in WAVELENGTHS]
            for d in distances[i]
        ]
        own = frames[i].T @ x[i] / math.sqrt(variance)
        states.append(
            linear(np.concatenate([own, ways[i].ravel() / 5.0]), "points")
            + linear(np.concatenate(waves), "distances")
            + linear(np.concatenate([origin[i], ahead[i]]) / 5.0, "coarser")
            + linear(frames[i].T @ before[i], "before")
        )
    states = np.array(states)
    begin = sum(LAYOUT.sizes[:scale])
    separations = np.array(LAYOUT.separations)[row, begin : begin + size, begin : begin + size]
    bias = w["separation.weight"][separations + scale * (2 * MAX_SEPARATION + 1)].transpose(2, 0, 1)
    heads, wide = TINY.heads, TINY.width // TINY.heads
    for number in range(TINY.decoder_layers):
        name = f"blocks.{number}"
        shift, gain, gate, shift_2, gain_2, gate_2 = np.split(
            linear(condition, f"{name}.modulation"), 6, axis=-1
        )
        told = norm(states) * (1 + gain) + shift
        q, k, v = (
            linear(told, f"{name}.attention.{part}").reshape(size, heads, wide).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        weights = np.exp(q @ k.transpose(0, 2, 1) / math.sqrt(wide) + bias)
        weights /= weights.sum(-1, keepdims=True)
        mixed = (weights @ v).transpose(1, 0, 2).reshape(size, -1)
        states = states + gate * linear(mixed, f"{name}.attention.output")
        told = norm(states) * (1 + gain_2) + shift_2
        hidden = np.maximum(linear(told, f"{name}.feed_forward.expand"), 0)
        states = states + gate_2 * linear(hidden, f"{name}.feed_forward.contract")
    shift, gain = np.split(linear(condition, "modulation"), 2, axis=-1)
    states = norm(states) * (1 + gain) + shift
    correction = np.einsum("sij,sj->si", frames, linear(states, "velocity"))
    for i, pulls in enumerate(linear(states, "pull")):
        for pull, way, distance in zip(pulls, ways[i], distances[i], strict=True):
            correction[i] += pull * frames[i] @ way / distance * PULL_UNIT / unit
    velocity = (2 * time - 1) / variance * x + correction / math.sqrt(variance)
    return velocity - velocity.mean(axis=0)


@pytest.mark.parametrize("row", [0, 1, 2])
@pytest.mark.parametrize("scale", [0, 2])
def test_an_oracle_in_float64(model, row, scale):
    rng = np.random.default_rng(row)
    size = LAYOUT.sizes[scale]
    x, before = (mx.array(rng.normal(size=(3, size, 3)).astype(np.float32)) for _ in range(2))
    z = mx.array(rng.normal(size=(3, size, 32)).astype(np.float32))
    coarser = None if scale == 0 else mx.array(4 * rng.normal(size=(3, 8, 3)).astype(np.float32))
    seen = surroundings(scale, coarser, LAYOUT)
    bias = model.decoder.bias(scale, LAYOUT)
    found = np.array(model.decoder(x, mx.array([0.7]), z, seen, before, scale, LAYOUT, bias))[row]
    expected = oracle(model, row, scale, x, 0.7, z, seen, before)
    np.testing.assert_allclose(found[: len(expected)], expected, atol=2e-3)
