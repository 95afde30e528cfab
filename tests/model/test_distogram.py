"""The distogram head and its bins."""

import mlx.core as mx
import numpy as np
import pytest

from betafold_mlx.model.distogram import (
    BINS,
    CENTRES,
    EDGES,
    DistogramHead,
    distance_bins,
    expected_distances,
)
from betafold_mlx.model.positions import relative_positions


def test_bins_are_those_of_numpy():
    d = np.concatenate([np.random.default_rng(0).uniform(0, 60, 1000), EDGES]).astype(np.float32)
    np.testing.assert_array_equal(np.array(distance_bins(mx.array(d))), np.digitize(d, EDGES))
    np.testing.assert_array_equal(np.digitize(CENTRES, EDGES), np.arange(BINS))


def test_expected_distance_of_a_sure_bin_is_its_centre():
    logits = mx.array(np.where(np.eye(BINS), 0.0, -1e4).astype(np.float32))
    np.testing.assert_allclose(np.array(expected_distances(logits)), CENTRES, rtol=1e-6)
    flat = float(expected_distances(mx.zeros((BINS,))))
    assert flat == pytest.approx(CENTRES.mean(), rel=1e-5)


@pytest.fixture
def head():
    mx.random.seed(1)
    made = DistogramHead(16, 32, product=8, hidden=12)
    made.disulfide = mx.random.normal((12,))
    return made


def test_the_head_is_the_perceptron_that_it_says(head):
    rng = np.random.default_rng(0)
    states = rng.normal(size=(1, 6, 16)).astype(np.float32)
    bonded = np.zeros((1, 6, 6), dtype=bool)
    bonded[0, 1, 4] = bonded[0, 4, 1] = True
    relative = relative_positions(mx.array([6]), mx.array([False]), 6)
    got = np.array(head(mx.array(states), relative, mx.array(bonded)))[0]

    p = {n: np.array(a, dtype=np.float64) for n, a in (
        ("Wf", head.first.weight), ("bf", head.first.bias), ("Ws", head.second.weight), ("Wn", head.narrow.weight),
        ("bn", head.narrow.bias), ("Wp", head.product.weight), ("sep", head.separation.weight),
        ("ss", head.disulfide), ("Wl", head.logits.weight), ("bl", head.logits.bias),
    )}  # fmt: skip
    x = states[0].astype(np.float64)
    hidden = np.zeros((6, 6, 12))
    for i in range(6):
        for j in range(6):
            narrow = (p["Wn"] @ x[i] + p["bn"]) * (p["Wn"] @ x[j] + p["bn"])
            value = p["Wp"] @ narrow + p["Wf"] @ x[i] + p["bf"] + p["Ws"] @ x[j] + p["sep"][i - j + 31]
            hidden[i, j] = np.maximum(value + bonded[0, i, j] * p["ss"], 0)
    want = (hidden + hidden.swapaxes(0, 1)) / 2 @ p["Wl"].T + p["bl"]
    np.testing.assert_allclose(got, want, atol=1e-5)
    np.testing.assert_allclose(got, got.swapaxes(0, 1), atol=1e-6)


def test_a_ring_looks_the_same_from_every_start(head):
    """With states that turn with the ring, so does the distogram: separation goes the shorter way around."""
    rng = np.random.default_rng(0)
    states = rng.normal(size=(1, 7, 16)).astype(np.float32)
    relative = relative_positions(mx.array([7]), mx.array([True]), 7)
    none = mx.zeros((1, 7, 7), dtype=mx.bool_)
    first = np.array(head(mx.array(states), relative, none))[0]
    turned = np.array(head(mx.array(np.roll(states, -3, axis=1)), relative, none))[0]
    np.testing.assert_allclose(turned, np.roll(first, (-3, -3), axis=(0, 1)), atol=1e-5)
