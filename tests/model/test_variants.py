"""Networks that are wired otherwise: without positions, without relative positions, with the LayerNorm behind."""

import mlx.core as mx
import numpy as np
import pytest
from synthetic import TOY, toy_model

from betafold_mlx.errors import BetafoldError
from betafold_mlx.model.config import ModelConfig
from betafold_mlx.model.inputs import collate
from betafold_mlx.model.transformer import Transformer
from betafold_mlx.peptide.sequence import Peptide

LETTERS = "GIGKFLHSAKKFWDEQ"


def changed(**values):
    return ModelConfig(**{**TOY.to_dict(), "embedder": TOY.embedder, **values})


def said(model, sequence, cyclic=False):
    folded = model(collate([Peptide.of(sequence, cyclic)], 16))
    return np.array(folded.vectors)[0], np.array(folded.distogram)[0]


def seeded(**values):
    mx.random.seed(5)
    model = toy_model(changed(**values))
    weight = model.pair_bias.separation.weight
    model.pair_bias.separation.weight = mx.random.normal(weight.shape)  # it starts at zero
    return model


@pytest.mark.parametrize(
    ("positions", "relative", "blind"),
    [("none", False, True), ("none", True, False), ("learned", False, False), ("sinusoidal", False, False)],
)
def test_without_positions_the_order_of_residues_is_not_seen(positions, relative, blind):
    model = seeded(positions=positions, relative=relative)
    order = np.random.default_rng(0).permutation(16)
    vectors, distogram = said(model, LETTERS)
    shuffled, shuffled_distogram = said(model, "".join(LETTERS[i] for i in order))
    same = np.allclose(shuffled, vectors[order], atol=1e-5)
    same_distances = np.allclose(shuffled_distogram, distogram[order][:, order], atol=1e-5)
    assert same == same_distances == blind


def test_rings_are_seen_through_relative_positions():
    for relative in (True, False):
        model = seeded(relative=relative)
        linear, ring = (said(model, LETTERS, cyclic)[0] for cyclic in (False, True))
        assert np.array_equal(linear, ring) == (not relative)


def test_no_positions_are_learned_ones_of_zero():
    none, learned = seeded(positions="none"), seeded(positions="learned")
    learned.update(none.parameters())
    learned.positions = mx.zeros_like(learned.positions)
    for one, other in zip(said(none, LETTERS), said(learned, LETTERS), strict=True):
        np.testing.assert_array_equal(one, other)


def norm(x, layer):
    centred = x - x.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    return scaled * np.array(layer.weight, np.float64) + np.array(layer.bias, np.float64)


@pytest.mark.parametrize("post", [False, True])
def test_the_place_of_the_norm(post):
    mx.random.seed(1)
    stack = Transformer(16, 2, 2, 32, 0.0, **({"post_norm": True} if post else {}))  # pre by default
    for block in stack.blocks:
        for layer in (block.attention_norm, block.feed_forward_norm):
            layer.weight, layer.bias = mx.random.normal((16,)), mx.random.normal((16,))
    start = mx.random.normal((2, 5, 16))
    mask = mx.ones((2, 5), dtype=mx.bool_)
    x = np.array(start, np.float64)

    def branch(module, states, *rest):
        out = module(mx.array(states.astype(np.float32)), *rest)
        return np.array(out[0] if isinstance(out, tuple) else out, np.float64)

    for block in stack.blocks:
        for layer, module, rest in (
            (block.attention_norm, block.attention, (mask,)),
            (block.feed_forward_norm, block.feed_forward, ()),
        ):
            added = branch(module, x if post else norm(x, layer), *rest)
            x = norm(x + added, layer) if post else x + added
    states, _ = stack(start, mask)
    np.testing.assert_allclose(np.array(states), norm(x, stack.norm), atol=2e-4)


@pytest.mark.parametrize("values", [{"norm": "both"}, {"relative": 1}, {"positions": "rotary"}])
def test_impossible_wiring_is_refused(values):
    with pytest.raises(BetafoldError, match=next(iter(values))):
        changed(**values)


def test_a_config_from_before_is_wired_as_ever():
    old = {name: value for name, value in ModelConfig().to_dict().items() if name not in ("relative", "norm")}
    assert ModelConfig.from_dict(old) == ModelConfig(positions="learned", relative=True, norm="pre")
