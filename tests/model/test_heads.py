"""The distogram head and its bins."""

import mlx.core as mx
import numpy as np
import pytest

from betafold_mlx.model.attention import relative_positions
from betafold_mlx.model.heads import (
    BINS,
    CENTRES,
    EDGES,
    FEATURES,
    Calibration,
    DistogramHead,
    distance_bins,
    expected_distances,
)
from betafold_mlx.train.calibrate import fit_logistic


def test_bins_are_those_of_numpy():
    d = np.concatenate([np.random.default_rng(0).uniform(0, 60, 1000), EDGES]).astype(np.float32)
    np.testing.assert_array_equal(np.array(distance_bins(mx.array(d))), np.digitize(d, EDGES))
    np.testing.assert_array_equal(np.digitize(CENTRES, EDGES), np.arange(BINS))


def test_expected_distance_of_a_sure_bin_is_its_centre():
    logits = mx.array(np.where(np.eye(BINS), 0.0, -1e4).astype(np.float32))
    np.testing.assert_allclose(np.array(expected_distances(logits)), CENTRES, rtol=1e-6)
    flat = float(expected_distances(mx.zeros((BINS,))))
    assert flat == pytest.approx(CENTRES.mean(), rel=1e-5)


def made(max_length=32):
    mx.random.seed(1)
    head = DistogramHead(16, max_length, product=8, hidden=12)
    head.disulfide = mx.random.normal((12,))
    return head


@pytest.mark.parametrize("max_length", [32, 4])
def test_the_head_is_the_perceptron_that_it_says(max_length):
    head, reach = made(max_length), max_length - 1  # separations beyond the reach count as the reach
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
            value = (
                p["Wp"] @ narrow
                + p["Wf"] @ x[i]
                + p["bf"]
                + p["Ws"] @ x[j]
                + p["sep"][np.clip(i - j, -reach, reach) + reach]
            )
            hidden[i, j] = np.maximum(value + bonded[0, i, j] * p["ss"], 0)
    want = (hidden + hidden.swapaxes(0, 1)) / 2 @ p["Wl"].T + p["bl"]
    np.testing.assert_allclose(got, want, atol=1e-5)
    np.testing.assert_allclose(got, got.swapaxes(0, 1), atol=1e-6)


def test_a_ring_looks_the_same_from_every_start():
    """With states that turn with the ring, so does the distogram: separation goes the shorter way around."""
    head, rng = made(), np.random.default_rng(0)
    states = rng.normal(size=(1, 7, 16)).astype(np.float32)
    relative = relative_positions(mx.array([7]), mx.array([True]), 7)
    none = mx.zeros((1, 7, 7), dtype=mx.bool_)
    first = np.array(head(mx.array(states), relative, none))[0]
    turned = np.array(head(mx.array(np.roll(states, -3, axis=1)), relative, none))[0]
    np.testing.assert_allclose(turned, np.roll(first, (-3, -3), axis=(0, 1)), atol=1e-5)


def test_it_begins_as_the_expected_lddt():
    share = np.array([0.1, 0.5, 0.9])
    features = np.zeros((3, len(FEATURES)))
    features[:, FEATURES.index("expected_lddt")] = np.log(share / (1 - share))
    np.testing.assert_allclose(np.array(Calibration()(mx.array(features))), 100 * share, rtol=1e-5)


def test_it_is_not_trained_with_the_network():
    assert Calibration().trainable_parameters() == {}


def test_the_fit_recovers_a_known_regression():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20000, 3)) * [1, 5, 0.1] + [0, 3, -1]
    weight, bias = np.array([0.7, -0.2, 3.0]), 0.4
    reached = 1 / (1 + np.exp(-(x @ weight + bias)))
    noisy = rng.beta(5 * reached, 5 * (1 - reached))  # mean as given, spread about it
    got, offset = fit_logistic(x, noisy, np.ones(len(x)), ridge=1e-9)
    np.testing.assert_allclose(got, weight, atol=0.03, rtol=0.05)
    assert offset == pytest.approx(bias, abs=0.15)


def test_the_fit_is_where_the_gradient_vanishes_and_weights_count():
    rng = np.random.default_rng(1)
    x, reached, weights = rng.normal(size=(500, 2)), rng.uniform(size=500), rng.uniform(size=500)
    got, bias = fit_logistic(x, reached, weights, ridge=0.0)
    error = 1 / (1 + np.exp(-(x @ got + bias))) - reached
    assert np.abs((weights * error) @ x).max() < 1e-6 and abs((weights * error).sum()) < 1e-6
    twice = fit_logistic(
        np.concatenate([x, x]), np.tile(reached, 2), np.concatenate([weights, 0 * weights]), 0.0
    )
    np.testing.assert_allclose(twice[0], got, rtol=1e-5)
