"""The Transformer against a float64 numpy oracle, and its symmetries."""

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from betafold_mlx.model.attention import PairBias, relative_positions, sinusoidal_positions
from betafold_mlx.model.transformer import Transformer, TransformerBlock, dropout, split_key


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def oracle_layer_norm(x, p, name):
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]


def oracle_linear(x, p, name):
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def oracle_block(x, mask, bias, p, heads):
    """One peptide (L, D), residue by residue and head by head, in float64."""
    length, width = x.shape
    d = width // heads
    normed = oracle_layer_norm(x, p, "attention_norm")
    q, k, v = (oracle_linear(normed, p, f"attention.{name}") for name in ("query", "key", "value"))
    mixed, maps = np.zeros_like(x), np.zeros((heads, length, length))
    for h in range(heads):
        part = slice(h * d, (h + 1) * d)
        for i in range(length):
            scores = np.array([q[i, part] @ k[j, part] / np.sqrt(d) + bias[h, i, j] for j in range(length)])
            weights = np.zeros(length)
            weights[mask] = softmax(scores[mask])
            maps[h, i] = weights
            mixed[i, part] = weights @ v[:, part]
    x = x + oracle_linear(mixed, p, "attention.output")
    hidden = np.maximum(
        oracle_linear(oracle_layer_norm(x, p, "feed_forward_norm"), p, "feed_forward.expand"), 0
    )
    return x + oracle_linear(hidden, p, "feed_forward.contract"), maps


def parameters(module):
    return {name: np.array(array, dtype=np.float64) for name, array in tree_flatten(module.parameters())}


@pytest.fixture
def states():
    mx.random.seed(3)
    x = mx.random.normal((2, 7, 24))
    mask = mx.array([[True] * 7, [True] * 4 + [False] * 3])
    bias = mx.random.normal((2, 4, 7, 7))
    return x, mask, bias


def test_block_equals_the_float64_oracle(states):
    x, mask, bias = states
    block = TransformerBlock(24, 4, 48, 0.1)
    got, maps = block(x, mask, bias)
    p = parameters(block)
    for row in range(2):
        real = np.array(mask[row])
        want, want_maps = oracle_block(
            np.array(x[row], dtype=np.float64), real, np.array(bias[row], dtype=np.float64), p, heads=4
        )
        np.testing.assert_allclose(np.array(got[row])[real], want[real], atol=2e-6)
        np.testing.assert_allclose(np.array(maps[row])[:, real], want_maps[:, real], atol=1e-6)


def test_a_row_of_padding_alone_stays_finite_in_value_and_gradient(states):
    x, _, bias = states
    block = TransformerBlock(24, 4, 48, 0.0)
    nothing = mx.zeros((2, 7), dtype=mx.bool_)
    gradient = mx.grad(lambda x: block(x, nothing, bias)[0].sum())(x)
    assert mx.isfinite(gradient).all().item() and mx.isfinite(block(x, nothing, bias)[0]).all().item()


def test_what_stands_in_the_padding_changes_nothing(states):
    x, mask, bias = states
    stack = Transformer(24, 2, 4, 48, 0.1)
    other = mx.where(mask[..., None], x, 1e3)
    first, _ = stack(x, mask, bias)
    second, _ = stack(other, mask, bias)
    np.testing.assert_allclose(np.array(first)[1, :4], np.array(second)[1, :4], atol=1e-6)


def test_dropout_keeps_the_mean_and_follows_its_key():
    x = mx.ones((400, 500))
    key = mx.random.key(1)
    dropped = dropout(x, 0.1, key)
    zero = float((dropped == 0).mean())
    assert abs(zero - 0.1) < 0.005  # 200,000 draws: standard deviation 0.0007
    assert abs(float(dropped.mean()) - 1) < 0.005
    assert mx.array_equal(dropped, dropout(x, 0.1, key)).item()
    assert not mx.array_equal(dropped, dropout(x, 0.1, mx.random.key(2))).item()
    assert dropout(x, 0.1, None) is x


def test_an_example_with_its_own_key_loses_the_same_in_any_company():
    keys = mx.random.split(mx.random.key(3), 4)
    x = mx.ones((4, 30, 16))
    dropped = dropout(x, 0.25, keys)
    for row in range(4):
        assert mx.array_equal(dropped[row], dropout(x[row], 0.25, keys[row])).item()
    assert mx.array_equal(dropped[1::2], dropout(x[1::2], 0.25, keys[1::2])).item()
    assert len({bytes(np.array(row)) for row in dropped}) == 4
    alone = [mx.random.split(key, 3) for key in keys]
    for place, several in enumerate(split_key(keys, 3)):
        assert mx.array_equal(several, mx.stack([own[place] for own in alone])).item()
    assert split_key(None, 2) == [None, None]


def test_sinusoidal_positions_follow_the_formula():
    got = np.array(sinusoidal_positions(32, 20))
    want = np.zeros((32, 20))
    for place in range(32):
        for k in range(0, 20, 2):
            want[place, k] = np.sin(place / 10000 ** (k / 20))
            want[place, k + 1] = np.cos(place / 10000 ** (k / 20))
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_relative_positions_wrap_around_rings_only():
    relative = np.array(relative_positions(mx.array([6, 6, 5]), mx.array([False, True, True]), 6))
    for i in range(6):
        for j in range(6):
            assert relative[0, i, j] == i - j
            assert (relative[1, i, j] - (i - j)) % 6 == 0 and abs(relative[1, i, j]) <= 3
    assert relative[2, 0, 4] == 1 and relative[2, 4, 0] == -1  # neighbours through the closing bond


def test_relative_positions_of_a_ring_do_not_depend_on_where_it_starts():
    relative = np.array(relative_positions(mx.array([7]), mx.array([True]), 7))[0]
    np.testing.assert_array_equal(relative, np.roll(relative, (2, 2), axis=(0, 1)))


def test_pair_bias_adds_the_bond_where_it_is_stated():
    pair_bias = PairBias(4, 8)
    assert (
        float(mx.abs(pair_bias(mx.array([[[0, -1], [1, 0]]]), mx.zeros((1, 2, 2), dtype=mx.bool_))).max())
        == 0
    )
    pair_bias.separation.weight = mx.random.normal(pair_bias.separation.weight.shape)
    pair_bias.disulfide = mx.array([1.0, 2.0, 3.0, 4.0])
    relative = mx.array([[[0, -30], [30, 0]]])  # beyond the reach: clipped
    bonded = mx.array([[[False, True], [True, False]]])
    bias = np.array(pair_bias(relative, bonded))
    table = np.array(pair_bias.separation.weight)
    np.testing.assert_allclose(bias[0, :, 0, 1], table[0] + [1, 2, 3, 4], rtol=1e-6)
    np.testing.assert_allclose(bias[0, :, 1, 0], table[14] + [1, 2, 3, 4], rtol=1e-6)
    np.testing.assert_allclose(bias[0, :, 0, 0], table[7], rtol=1e-6)
