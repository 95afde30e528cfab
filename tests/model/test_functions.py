"""GELU, sigmoid and softmax of cheap operations, against float64."""

import math

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from betafold_mlx.model import functions
from betafold_mlx.model.functions import (
    cross_entropy,
    exp_of_negative,
    gelu,
    natively,
    reciprocal_root,
    sigmoid,
    softmax,
)


@pytest.fixture(autouse=True)
def cheap_operations(monkeypatch):
    """Test those everywhere, on a GPU and on macOS too."""
    monkeypatch.setattr(functions, "natively", lambda: False)


def phi(x):
    """Return the normal distribution function in float64."""
    return np.vectorize(lambda value: 0.5 * math.erfc(-value / math.sqrt(2)))(x)


def relative(got, exact):
    return np.abs(np.array(got) / exact - 1).max()


def test_exp_is_better_than_the_native_one():
    x = np.linspace(-87.3, 0, 300_001, dtype=np.float32)
    assert relative(exp_of_negative(mx.array(x)), np.exp(x.astype(np.float64))) < 2e-7


def test_exp_ends_in_zero_and_begins_with_one():
    x = mx.array([-mx.inf, mx.finfo(mx.float32).min, -1e4, -88.0, 0.0, -0.0])
    assert exp_of_negative(x).tolist() == [0, 0, 0, 0, 1, 1]


def test_a_reciprocal_root_from_squared_rounding_errors_to_squared_lengths():
    x = np.geomspace(1e-6, 1e6, 300_001).astype(np.float32)
    assert relative(reciprocal_root(mx.array(x)), 1 / np.sqrt(x.astype(np.float64))) < 5e-6


def test_gelu():
    x = np.linspace(-9, 9, 90_001, dtype=np.float32)
    exact = x.astype(np.float64)
    error = np.abs(np.array(gelu(mx.array(x))) - exact * phi(exact))
    assert error.max() < 8e-7
    far = mx.array([-1e30, -50.0, 0.0, 50.0, 1e30])
    assert gelu(far).tolist() == [0, 0, 0, 50, mx.array(1e30).item()]


def test_gradient_of_gelu():
    x = np.linspace(-9, 9, 18_001, dtype=np.float32)
    exact = x.astype(np.float64)
    density = np.exp(-exact * exact / 2) / math.sqrt(2 * math.pi)
    weight = np.cos(exact).astype(np.float32)
    gradient = mx.grad(lambda values: (mx.array(weight) * gelu(values)).sum())(mx.array(x))
    assert np.abs(np.array(gradient) - weight * (phi(exact) + exact * density)).max() < 3e-6


def test_sigmoid_and_its_gradient():
    x = np.linspace(-300, 300, 600_001, dtype=np.float32)
    exact = 1 / (1 + np.exp(-x.astype(np.float64)))
    weight = np.cos(x)
    gradient = mx.grad(lambda values: (mx.array(weight) * sigmoid(values)).sum())(mx.array(x))
    assert np.abs(np.array(sigmoid(mx.array(x))) - exact).max() < 2e-6
    assert np.abs(np.array(gradient) - weight * exact * (1 - exact)).max() < 2e-6
    far = mx.array([-mx.inf, -1e30, -1e4, 0.0, 1e4, 1e30, mx.inf])
    assert sigmoid(far).tolist() == [0, 0, 0, 0.5, 1, 1, 1]
    assert mx.isfinite(mx.grad(lambda values: sigmoid(values).sum())(far)).all().item()
    assert sigmoid(mx.array([0.0], dtype=mx.bfloat16)).dtype == mx.bfloat16


@given(
    st.integers(1, 40),
    st.floats(0, 60),
    st.floats(-1e4, 1e4),
    st.integers(0, 2**31 - 1),
)
def test_softmax(size, spread, shift, seed):
    scores = (shift + spread * np.random.default_rng(seed).standard_normal((3, size))).astype(np.float32)
    below = scores.astype(np.float64) - scores.max(axis=-1, keepdims=True)
    exact = np.exp(below)
    exact /= exact.sum(axis=-1, keepdims=True)
    got = np.array(softmax(mx.array(scores)))
    assert np.abs(got - exact).max() < 3e-6 and (got[below < -36] == 0).all()
    assert np.abs(got - exact)[exact < 1e-7].max(initial=0) < 5e-9


def test_softmax_of_a_masked_row():
    lowest = mx.finfo(mx.float32).min
    weights = softmax(mx.array([[lowest] * 4, [lowest, 3.0, lowest, lowest]]))
    assert weights.tolist() == [[0.25] * 4, [0, 1, 0, 0]]


def test_gradient_of_softmax():
    rng = np.random.default_rng(0)
    scores, weight = rng.standard_normal((2, 5, 7)).astype(np.float32)
    p = np.exp(scores.astype(np.float64))
    p /= p.sum(axis=-1, keepdims=True)
    exact = p * (weight - (p * weight).sum(axis=-1, keepdims=True))
    gradient = mx.grad(lambda values: (mx.array(weight) * softmax(values)).sum())(mx.array(scores))
    np.testing.assert_allclose(np.array(gradient), exact, rtol=0, atol=1e-6)


@pytest.mark.parametrize("spread", [0.0, 1.0, 30.0, 300.0])
def test_cross_entropy_and_its_gradient(spread):
    rng = np.random.default_rng(4)
    logits = (spread * rng.standard_normal((5, 7, 46))).astype(np.float32)
    chosen = rng.integers(0, 46, (5, 7))
    weights = rng.standard_normal((5, 7)).astype(np.float32)
    exact = logits.astype(np.float64)
    shifted = exact - exact.max(axis=-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    entropy = -np.take_along_axis(log_p, chosen[..., None], axis=-1)[..., 0]
    got = cross_entropy(mx.array(logits), mx.array(chosen))
    np.testing.assert_allclose(np.array(got), entropy, rtol=1e-6, atol=1e-6)

    slope = mx.grad(lambda x: (mx.array(weights) * cross_entropy(x, mx.array(chosen))).sum())(
        mx.array(logits)
    )
    own = np.arange(46) == chosen[..., None]
    np.testing.assert_allclose(
        np.array(slope), (np.exp(log_p) - own) * weights[..., None], atol=2e-6 * (1 + spread)
    )


def test_native_cross_entropy_is_the_same(monkeypatch):
    rng = np.random.default_rng(5)
    logits, chosen = (
        mx.array(rng.standard_normal((9, 12)).astype(np.float32)),
        mx.array(rng.integers(0, 12, 9)),
    )
    cheap = np.array(cross_entropy(logits, chosen))
    monkeypatch.setattr(functions, "natively", lambda: True)
    np.testing.assert_allclose(np.array(cross_entropy(logits, chosen)), cheap, atol=1e-6)


def test_native_operations_are_for_gpus_and_macos(monkeypatch):
    monkeypatch.setattr(functions.sys, "platform", "linux")
    with mx.stream(mx.cpu):
        assert not natively()
    monkeypatch.setattr(functions.sys, "platform", "darwin")
    assert natively()
    monkeypatch.setattr(functions.sys, "platform", "linux")
    monkeypatch.setattr(mx, "default_device", lambda: mx.Device(mx.gpu, 0))
    assert natively()
