"""The logistic regression behind the confidence."""

import mlx.core as mx
import numpy as np
import pytest

from betafold_mlx.model.calibration import FEATURES, Calibration, fit_logistic


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
