"""Triangle updates: all forms against loops over triangles, padding, gradients, tiles."""

import mlx.core as mx
import numpy as np
import oracles as oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx.utils import tree_flatten, tree_map

from betafold_mlx.model import triangle
from betafold_mlx.model.triangle import (
    FORMS,
    PairTransition,
    TriangleAttention,
    TriangleMultiplication,
    gated_attention,
    normalise,
)

WIDTH, HEADS, PADDED = 12, 3, 7
LENGTHS = (7, 4, 1)

UPDATES = {
    "outgoing": lambda: TriangleMultiplication(WIDTH, 5, incoming=False),
    "incoming": lambda: TriangleMultiplication(WIDTH, 5, incoming=True),
    **{
        f"{form} {node}": lambda form=form, node=node: TriangleAttention(
            WIDTH, HEADS, form, ending=node == "ending"
        )
        for form in FORMS
        for node in ("starting", "ending")
    },
}


def made(name, seed=3):
    """Return an update with all weights away from where they start (zero, for many)."""
    mx.random.seed(seed)
    update = UPDATES[name]()
    update.update(tree_map(lambda a: a + 0.5 * mx.random.normal(a.shape), update.parameters()))
    return update


def weights(update):
    return {
        n.removesuffix(".weight").removesuffix(".bias"): np.array(a, np.float64)
        for n, a in tree_flatten(update.parameters())
    }


def expected(name, z, given_weights):
    """(n, n, d) float64 -> what the oracle adds."""
    first, _, node = name.partition(" ")
    if not node:
        return oracle.multiplication(z, given_weights, first == "incoming")
    return oracle.attention(z, given_weights, HEADS, first, node == "ending")


def batch(seed=0):
    """Return pairs (B, d, n, n) with large numbers at padding, and the mask (B, n)."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(len(LENGTHS), WIDTH, PADDED, PADDED)).astype(np.float32)
    mask = (np.arange(PADDED)[None] < np.array(LENGTHS)[:, None]).astype(np.float32)
    real = mask[:, None, :, None] * mask[:, None, None, :]
    return mx.array(np.where(real > 0, z, 50 * z)), mx.array(mask)


@pytest.mark.parametrize("name", UPDATES)
def test_each_update_is_the_sum_over_triangles(name):
    update = made(name)
    z, mask = batch()
    got = np.array(update(z, mask))
    assert np.isfinite(got).all()
    for row, n in enumerate(LENGTHS):
        own = np.array(z, np.float64)[row, :, :n, :n].transpose(1, 2, 0)
        want = expected(name, own, weights(update))
        assert np.abs(want).max() > 0.1
        np.testing.assert_allclose(got[row, :, :n, :n].transpose(1, 2, 0), want, atol=1e-4)


@pytest.mark.parametrize("name", UPDATES)
def test_gradients_are_the_slopes_of_the_oracle(name):
    """Central differences of the float64 oracle along random directions, of all weights and the pairs at once."""
    update = made(name)
    z, mask = batch()
    row, n = 1, LENGTHS[1]
    rng = np.random.default_rng(5)
    cotangent = rng.normal(size=(n, n, WIDTH))
    padded = np.zeros((len(LENGTHS), WIDTH, PADDED, PADDED), np.float32)
    padded[row, :, :n, :n] = cotangent.transpose(2, 0, 1)

    def loss(parameters, pairs):
        update.update(parameters)
        return (update(pairs, mask) * mx.array(padded)).sum()

    slopes, pair_slopes = mx.grad(loss, argnums=(0, 1))(update.parameters(), z)
    for _, slope in tree_flatten((slopes, pair_slopes)):
        assert mx.isfinite(slope).all().item()
    outside = np.array(pair_slopes)
    outside[row, :, :n, :n] = 0
    assert not outside.any()  # nothing of another peptide, nothing of padding

    own = np.array(z, np.float64)[row, :, :n, :n].transpose(1, 2, 0)
    slope = np.array(pair_slopes, np.float64)[row, :, :n, :n].transpose(1, 2, 0)
    given_weights = weights(update)
    flat = {
        key.removesuffix(".weight").removesuffix(".bias"): np.array(a, np.float64)
        for key, a in tree_flatten(slopes)
    }
    for _ in range(3):
        step = {key: rng.normal(size=a.shape) for key, a in given_weights.items()}
        z_step = rng.normal(size=own.shape)

        def along(size, step=step, z_step=z_step):
            moved = {key: a + size * step[key] for key, a in given_weights.items()}
            return (expected(name, own + size * z_step, moved) * cotangent).sum()

        numeric = (along(1e-6) - along(-1e-6)) / 2e-6
        exact = (slope * z_step).sum() + sum((flat[key] * step[key]).sum() for key in step)
        scale = np.sqrt((slope**2).sum() + sum((a**2).sum() for a in flat.values()))
        assert exact == pytest.approx(numeric, abs=2e-3 * scale)
        assert abs(numeric) > 0.02 * scale  # there is something to compare


@pytest.mark.parametrize("name", UPDATES)
def test_nothing_but_padding_gives_finite_numbers_and_gradients(name):
    update = made(name)
    z, mask = mx.zeros((2, WIDTH, 5, 5)), mx.zeros((2, 5))

    def loss(parameters, pairs):
        update.update(parameters)
        return mx.square(update(pairs, mask)).sum()

    value, slopes = mx.value_and_grad(loss, argnums=(0, 1))(update.parameters(), z)
    for _, array in tree_flatten((value, slopes)):
        assert mx.isfinite(array).all().item()


@pytest.mark.parametrize("name", UPDATES)
def test_updates_start_as_nothing_and_learn(name):
    update = UPDATES[name]()
    z, mask = batch()
    assert not np.array(update(z, mask)).any()
    slope = mx.grad(lambda p: (update.update(p) or update)(z, mask).sum())(update.parameters())
    assert float(mx.abs(slope["output"]["weight"]).max()) > 0


def heads(seed, batch_size=2, number=2, n=6, width=4, lengths=(6, 3)):
    """Return q, k, v (B, h, n, c, n), bias (B, h, n, n) and mask (B, n)."""
    rng = np.random.default_rng(seed)
    q, k, v = (mx.array(rng.normal(size=(batch_size, number, n, width, n)).astype(np.float32)) for _ in "qkv")
    bias = mx.array(rng.normal(size=(batch_size, number, n, n)).astype(np.float32))
    mask = mx.array((np.arange(n)[None] < np.array(lengths)[:, None]).astype(np.float32))
    return q, k, v, bias, mask


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(1, 7), seed=st.integers(0, 1000))
def test_gated_attention_in_tiles_of_rows_is_the_same(rows, seed):
    q, k, v, bias, mask = heads(seed)

    def loss(rows, *arrays):
        return mx.square(gated_attention(*arrays, mask, rows=rows)).sum()

    whole, tiled = (
        mx.value_and_grad(lambda *a, rows=size: loss(rows, *a), argnums=(0, 1, 2, 3))(q, k, v, bias)
        for size in (6, rows)
    )
    assert whole[0].item() == pytest.approx(tiled[0].item(), rel=1e-5)
    for one, other in zip(whole[1], tiled[1], strict=True):
        np.testing.assert_allclose(np.array(one), np.array(other), rtol=1e-4, atol=1e-4)


def test_long_rows_are_tiled_by_themselves(monkeypatch):
    """No more weights at a time than V has numbers: c rows of n x n."""
    sizes = []
    original = triangle._gated_rows

    def watched(q, *rest):
        sizes.append(q.shape[2])
        return original(q, *rest)

    monkeypatch.setattr(triangle, "_gated_rows", watched)
    gated_attention(*heads(0, n=6, width=4))
    assert sizes == [4, 2]


@pytest.mark.skipif(mx.default_device().type != mx.DeviceType.cpu, reason="a GPU keeps its memory otherwise")
def test_tiles_hold_less_than_all_rows_at_once():
    q, k, v, bias, mask = heads(0, batch_size=1, number=1, n=96, width=4, lengths=(96,))

    def peak(rows):
        def loss(*arrays):
            return gated_attention(*arrays, mask, rows=rows).sum()

        taken = []
        for function in (loss, mx.grad(loss, argnums=(0, 1, 2, 3))):
            mx.eval(q, k, v, bias, mask)
            before = mx.get_active_memory()
            mx.reset_peak_memory()
            mx.eval(function(q, k, v, bias))
            taken.append(mx.get_peak_memory() - before)
        return taken

    for tiled, whole in zip(peak(4), peak(96), strict=True):
        assert tiled < 0.5 * whole


def test_the_transition_is_the_perceptron_that_it_says():
    mx.random.seed(1)
    update = PairTransition(WIDTH, 2 * WIDTH)
    z, _ = batch()
    assert not np.array(update(z)).any()
    update.contract.weight = mx.random.normal(update.contract.weight.shape)
    want = oracle.transition(np.array(z, np.float64).transpose(0, 2, 3, 1), weights(update))
    np.testing.assert_allclose(np.array(update(z)).transpose(0, 2, 3, 1), want, atol=1e-4)


def test_layer_norm_and_its_gradient_are_those_of_mlx():
    z, _ = batch()
    cotangent = mx.random.normal(z.shape, key=mx.random.key(0))

    def plain(z):
        return mx.fast.layer_norm(z.transpose(0, 2, 3, 1), None, None, 1e-5).transpose(0, 3, 1, 2)

    ours, theirs = (mx.vjp(function, [z], [cotangent]) for function in (normalise, plain))
    np.testing.assert_allclose(np.array(ours[0][0]), np.array(theirs[0][0]), atol=1e-5)
    np.testing.assert_allclose(np.array(ours[1][0]), np.array(theirs[1][0]), atol=1e-4)
    flat = mx.grad(lambda z: normalise(z).sum())(mx.full(z.shape, 3.0))  # no variance at all
    assert mx.isfinite(flat).all().item()


@pytest.mark.parametrize("name", UPDATES)
def test_in_bfloat16_the_same_to_its_precision(name):
    update = made(name)
    z, mask = batch()
    full = np.array(update(z, mask))
    half = update(z.astype(mx.bfloat16), mask.astype(mx.bfloat16))
    assert half.dtype == mx.bfloat16
    for row, n in enumerate(LENGTHS):
        one, other = full[row, :, :n, :n], np.array(half.astype(mx.float32))[row, :, :n, :n]
        # 8 bits of mantissa; an error of one step in many is far more than rounding.
        assert np.abs(one - other).mean() < 0.03 * np.abs(one).mean() + 0.01
