"""The generator's network: who listens to whom, the cache, and an oracle in float64."""

import math
from dataclasses import asdict

import mlx.core as mx
import numpy as np
import pytest
from generate_fakes import LAYOUT, TINY, shaken
from mlx.utils import tree_flatten

from betafold_mlx.errors import BetafoldError
from betafold_mlx.generate.chain_layout import MAX_SEPARATION, make_layout, surroundings
from betafold_mlx.generate.generator_config import GeneratorConfig
from betafold_mlx.generate.network import BackboneGenerator
from betafold_mlx.generate.scales import scale_sizes


@pytest.fixture(scope="module")
def model():
    return shaken(TINY)


def contexts(seed=0):
    rng = np.random.default_rng(seed)
    sizes = ([4, 3, 3], [8, 5, 6])
    found = []
    for counts, room in zip(sizes, (4, 8), strict=True):
        trace = np.zeros((3, room, 3), np.float32)
        for row, count in enumerate(counts):
            trace[row, :count] = 4 * rng.normal(size=(count, 3))
        found.append(mx.array(trace))
    return found


def answered(model, given, layout=LAYOUT):
    """z of all scales at once."""
    return model([surroundings(scale, trace, layout) for scale, trace in enumerate((None, *given))], layout)


def real(values, scale):
    return np.array(values)[np.array(LAYOUT.masks[scale])]


# The Transformer


def test_padding_is_not_listened_to(model):
    first, second = contexts()
    answers = answered(model, [first, second])
    room = ~np.array(LAYOUT.masks[1])
    filled = np.array(second)
    filled[room] = 100.0
    again = answered(model, [first, mx.array(filled)])
    for scale in range(3):
        np.testing.assert_array_equal(real(answers[scale], scale), real(again[scale], scale))


def test_the_cache_gives_what_the_whole_gives(model):
    given = contexts()
    whole = answered(model, given)
    bias, past, begin = model.context.bias(LAYOUT), None, 0
    for scale, trace in enumerate((None, *given)):
        end = begin + LAYOUT.sizes[scale]
        mask = mx.concatenate(list(LAYOUT.masks[: scale + 1]), axis=1)
        states = model.context.read(scale, surroundings(scale, trace, LAYOUT), LAYOUT)
        z, past = model.context.extend(states, mask, bias[:, :, begin:end, :end], past)
        assert past[0][0].shape == (3, 4, end, 8)
        np.testing.assert_allclose(real(z, scale), real(whole[scale], scale), atol=2e-5)
        begin = end


def seen_by(trace, scale, row):
    """Origin and surroundings of a scale's points in float64, from where their neighbours stand along the chain."""
    length, cyclic = [(16, False), (9, False), (12, True)][row]
    sizes = scale_sizes(length)
    coarse, size, room = sizes[scale - 1], sizes[scale], LAYOUT.sizes[scale]
    points = np.array(trace, np.float64)[row, :coarse]
    closed = np.concatenate([points] * 5) if cyclic else points
    shift = 2 * coarse if cyclic else 0

    def at(place):
        knots = np.arange(len(closed)) - shift
        return np.stack([np.interp(place, knots, axis) for axis in closed.T], axis=1)

    place = np.arange(size) * (coarse / size if cyclic else (coarse - 1) / (size - 1))
    knots = np.arange(coarse) if cyclic else np.clip(np.arange(coarse), 1, coarse - 2)
    ways, bends = at(knots + 1) - at(knots - 1), at(knots + 1) - 2 * at(knots) + at(knots - 1)
    if cyclic:
        ways, bends = (np.concatenate([x] * 5) for x in (ways, bends))
    direction, bend = (
        np.stack([np.interp(place, np.arange(len(x)) - shift, axis) for axis in x.T], axis=1)
        for x in (ways, bends)
    )
    first = direction / np.linalg.norm(direction, axis=1, keepdims=True)
    second = bend - (bend * first).sum(axis=1, keepdims=True) * first
    second /= np.linalg.norm(second, axis=1, keepdims=True)
    frames = np.stack([first, second, np.cross(first, second)], axis=-1)
    ahead = [np.einsum("sij,si->sj", frames, at(place + k) - at(place)) for k in (-2, -1, 1, 2)]
    origin, around = np.zeros((room, 3)), np.zeros((room, 12))
    origin[:size] = at(place) - at(place).mean(axis=0)
    around[:size] = np.concatenate(ahead, axis=1)
    return origin, around


def oracle(model, given, row):
    """z of all scales of one chain in float64 NumPy, with an explicit mask of who may listen to whom."""
    w = {name: np.array(value, np.float64) for name, value in tree_flatten(model.parameters())}

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0.0)

    def norm(x, name):
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - mean) / np.sqrt(variance + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]

    states, scales, places = [], [], []
    for scale, trace in enumerate((None, *given)):
        if trace is None:
            start = w["context.begin"]
        else:
            start = linear(np.concatenate(seen_by(trace, scale, row), axis=1) / 5.0, "context.trace")
        place = np.array(LAYOUT.places[scale], np.float64)[row]
        asked = np.array(LAYOUT.states[scale], np.float64)[row]
        states.append(
            start
            + linear(place, "context.place")
            + linear(asked, "context.states")
            + w["context.scale.weight"][scale]
        )
        count = len(place)
        scales += [scale] * count
        places += list(np.array(LAYOUT.masks[scale])[row])
    x, scales, there = np.concatenate(states), np.array(scales), np.array(places)
    listens = there[None, :] & (scales[:, None] >= scales[None, :])
    separations = np.array(LAYOUT.separations)[row]
    pair = separations + (3 * scales[:, None] + scales[None, :]) * (2 * MAX_SEPARATION + 1)
    bias = w["context.separation.weight"][pair].transpose(2, 0, 1)
    heads, size = TINY.heads, TINY.width // TINY.heads
    for number in range(TINY.layers):
        name = f"context.blocks.{number}"
        normed = norm(x, f"{name}.attention_norm")
        q, k, v = (
            linear(normed, f"{name}.attention.{part}").reshape(len(x), heads, size).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        scores = q @ k.transpose(0, 2, 1) / math.sqrt(size) + bias
        scores = np.where(listens, scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        mixed = (weights @ v).transpose(1, 0, 2).reshape(len(x), -1)
        x = x + linear(mixed, f"{name}.attention.output")
        hidden = np.maximum(linear(norm(x, f"{name}.feed_forward_norm"), f"{name}.feed_forward.expand"), 0)
        x = x + linear(hidden, f"{name}.feed_forward.contract")
    return norm(x, "context.norm"), there


@pytest.mark.parametrize("row", [0, 1, 2])
def test_an_oracle_in_float64(model, row):
    given = contexts(3)
    expected, there = oracle(model, given, row)
    found = np.concatenate([np.array(z)[row] for z in answered(model, given)])
    np.testing.assert_allclose(found[there], expected[there], atol=3e-3)  # frames lean to somewhere by 1e-3


# What is seen of the coarser scale


def test_local_geometry_turns_with_the_chain(model):
    """What is seen of the coarser scale in a point's own frame is the same however the whole is turned."""
    rng = np.random.default_rng(4)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    rotation = (rotation * np.linalg.det(rotation)).astype(np.float32)
    for scale, trace in enumerate(contexts(), start=1):
        plain, turned = (surroundings(scale, x, LAYOUT) for x in (trace, trace @ mx.array(rotation.T)))
        mask = np.array(LAYOUT.masks[scale])
        frames = np.array(plain.frames)[mask]
        np.testing.assert_allclose(np.linalg.det(frames), 1, atol=1e-4)
        np.testing.assert_allclose(
            frames.swapaxes(1, 2) @ frames, np.broadcast_to(np.eye(3), frames.shape), atol=1e-4
        )
        np.testing.assert_allclose(np.array(turned.ahead)[mask], np.array(plain.ahead)[mask], atol=0.1)
        np.testing.assert_allclose(np.array(turned.frames)[mask], rotation @ frames, atol=0.02)


def test_a_straight_trace_has_frames_too():
    line = mx.broadcast_to(mx.arange(4)[:, None] * mx.array([3.0, 0.0, 0.0]), (3, 4, 3))
    for trace in (line, mx.zeros((3, 4, 3))):
        frames = np.array(surroundings(1, trace, LAYOUT).frames)
        np.testing.assert_allclose(np.linalg.det(frames), 1, atol=1e-3)


# Sizes


def test_the_weights_fit_into_twelve_megabytes():
    model = BackboneGenerator(GeneratorConfig())
    numbers = sum(array.size for _, array in tree_flatten(model.parameters()))
    assert 4e6 < numbers < 5.9e6  # float16: two bytes each


@pytest.mark.parametrize("scales", [1, 2])
def test_fewer_scales(scales):
    config = GeneratorConfig(**(asdict(TINY) | {"scales": scales}))
    layout = make_layout([16], [False], 16, scales)
    z = answered(shaken(config), [mx.zeros((1, 8, 3))] * (scales - 1), layout)
    assert [answer.shape[1] for answer in z] == [8, 16][2 - scales :]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scales": 4}, "scales must be a whole number from 1 to 3"),
        ({"width": 36, "heads": 8}, "multiple of 8 heads"),
        ({"layers": 0}, "layers"),
        ({"depth": 3}, "unknown key 'depth'"),
    ],
)
def test_impossible_sizes(values, message):
    with pytest.raises(BetafoldError, match=message):
        GeneratorConfig.from_dict(values)
