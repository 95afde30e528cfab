"""The pair trunk: padding, rings, recycling, what comes from it, and its settings."""

import dataclasses
import json
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_map

from betafold_mlx.errors import BetafoldError
from betafold_mlx.model.attention import relative_positions
from betafold_mlx.model.config import SCHEMA_VERSION, TRIANGLES, ModelConfig
from betafold_mlx.model.directory import load_model, save_model
from betafold_mlx.model.folding import FoldingModel
from betafold_mlx.model.inputs import collate
from betafold_mlx.model.pairformer import Pairformer, PairUpdate, ResiduesToPairs
from betafold_mlx.peptide.sequence import Peptide

SMALL = ModelConfig(
    width=32, layers=3, heads=4, ffn_width=64, trunk="pairformer", pair_width=32, pair_blocks=2, recycles=1
)
PEPTIDES = [
    Peptide.of("GIGKFLHSAKKFGKAF"),
    Peptide.of("GRCTKSIPPICF", cyclic=True, disulfides=((3, 11),)),
    Peptide.of("SWTW"),
]
RING = "GRCTKSIPPICFPD"


def made(seed=5, **changes):
    """Return a model in which nothing is zero any more."""
    mx.random.seed(seed)
    model = FoldingModel(dataclasses.replace(SMALL, **changes))
    away = tree_map(lambda a: a + 0.1 * mx.random.normal(a.shape), model.trainable_parameters())
    model.update(away)
    return model


def outputs(folded):
    return {
        "vectors": folded.vectors,
        "plddt_logits": folded.plddt_logits,
        "distogram": folded.distogram,
        "mixture": folded.mixture.log_density(
            mx.zeros((*folded.vectors.shape[:2], 2)), mx.array([[True, True]])
        ),
    }


@pytest.mark.parametrize("form", TRIANGLES)
def test_a_peptide_folds_alone_as_in_a_padded_batch(form):
    model = made(triangle=form)
    together = outputs(model(collate(PEPTIDES, 24)))
    for row, peptide in enumerate(PEPTIDES):
        n = len(peptide)
        alone = outputs(model(collate([peptide], n)))
        for name, array in together.items():
            own = np.array(array)[row, :n]
            own = own[:, :n] if name == "distogram" else own
            np.testing.assert_allclose(own, np.array(alone[name])[0], atol=2e-5, err_msg=name)


def test_one_residue_and_rows_of_padding_have_finite_gradients():
    model = made()
    inputs = collate([Peptide.of("GASKEY")], 8)
    mask = mx.array([[True] + 7 * [False], 8 * [False]])
    pair = [mx.concatenate([array, array]) for array in (inputs.residues, inputs.cyclic, inputs.bonded)]
    inputs = inputs._replace(residues=pair[0], cyclic=pair[1], bonded=pair[2], mask=mask)

    def loss(inputs):
        return sum(mx.square(array).sum() for array in outputs(model(inputs)).values())

    value, gradients = nn.value_and_grad(model, loss)(inputs)
    for name, array in tree_flatten({"value": value, "gradients": gradients}):
        assert mx.isfinite(array).all().item(), name


@pytest.mark.parametrize("form", TRIANGLES)
def test_a_ring_folds_the_same_from_every_start(form):
    model = made(triangle=form, positions="none")
    turned = RING[5:] + RING[:5]
    first, second = (
        outputs(model(collate([Peptide.of(s, cyclic=True, disulfides=d)], 16)))
        for s, d in ((RING, ((3, 11),)), (turned, ((6, 12),)))
    )
    assert (RING[2], RING[10], turned[5], turned[11]) == ("C",) * 4
    order = (np.arange(14) + 5) % 14
    for name in first:
        one, two = (np.array(said[name])[0, :14] for said in (first, second))
        want = one[order][:, order][..., :14, :] if name == "distogram" else one[order]
        if name == "distogram":
            two, want = two[:, :14], one[:, :14][order][:, order]
        np.testing.assert_allclose(two, want, atol=2e-5, err_msg=name)
    chain = outputs(model(collate([Peptide.of(RING, disulfides=((3, 11),))], 16)))
    assert np.abs(np.array(chain["vectors"]) - np.array(first["vectors"])).max() > 1e-3


def test_stated_chemistry_reaches_torsions_and_distances():
    model = made()
    plain, ring, bonded = (
        outputs(model(collate([peptide])))
        for peptide in (Peptide.of(RING), Peptide.of(RING, True), Peptide.of(RING, False, ((3, 11),)))
    )
    for name in ("vectors", "distogram"):
        for other in (ring, bonded):
            assert np.abs(np.array(plain[name]) - np.array(other[name])).max() > 1e-3


def test_the_shape_of_what_it_says_is_that_of_the_transformer():
    folded = made()(collate(PEPTIDES), return_attention=True)
    plain = FoldingModel(dataclasses.replace(SMALL, trunk="transformer"))(
        collate(PEPTIDES), return_attention=True
    )
    for ours, theirs in zip(folded, plain, strict=True):
        if isinstance(ours, mx.array):
            assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
    assert [m.shape for m in folded.attention] == [m.shape for m in plain.attention]
    for weights in folded.attention:
        np.testing.assert_allclose(np.array(weights.sum(axis=-1)), 1.0, atol=1e-5)
        assert float(weights[2, :, :, 4:].max()) == 0  # padding is not listened to
    distogram = np.array(folded.distogram)
    np.testing.assert_allclose(distogram, distogram.swapaxes(1, 2), atol=1e-6)
    assert np.abs(distogram[0, 0, 1] - distogram[0, 0, 9]).max() > 1e-3


def test_distances_come_from_pairs_and_torsions_from_residues():
    """What only the last pairs have changes the distances; the residues have heard of it through the bias."""
    model = made(pair_blocks=1, layers=1, recycles=0)
    inputs = collate(PEPTIDES)
    before = outputs(model(inputs))
    bias = model.pairformer.biases[0]
    bias.weight = bias.weight + mx.random.normal(bias.weight.shape)
    after = outputs(model(inputs))
    assert mx.array_equal(before["distogram"], after["distogram"]).item()
    assert not mx.allclose(before["vectors"], after["vectors"], atol=1e-4).item()


def test_residues_to_pairs_are_both_states_and_their_product():
    mx.random.seed(0)
    layer = ResiduesToPairs(8, 6)
    layer.norm.weight, layer.norm.bias = mx.random.normal((8,)), mx.random.normal((8,))
    states = np.random.default_rng(0).normal(size=(5, 8))
    got = np.array(layer(mx.array(states[None].astype(np.float32))))[0]
    parts = {name: np.array(a, np.float64) for name, a in tree_flatten(layer.parameters())}
    x = (states - states.mean(1, keepdims=True)) / np.sqrt(states.var(1, keepdims=True) + 1e-5)
    x = x * parts["norm.weight"] + parts["norm.bias"]
    y = x @ parts["project.weight"].T + parts["project.bias"]
    for i in range(5):
        for j in range(5):
            product = parts["product.weight"] @ (y[i, 12:18] * y[j, 18:])
            np.testing.assert_allclose(got[:, i, j], product + y[i, :6] + y[j, 6:12], atol=1e-5)


def test_the_blocks_of_residues_are_shared_out_among_those_of_pairs():
    for layers, blocks in ((3, 2), (1, 4), (5, 3), (8, 8)):
        model = made(layers=layers, pair_blocks=blocks, recycles=0)
        folded = model(collate(PEPTIDES), return_attention=True)
        assert len(folded.attention) == layers and len(model.pairformer.pair_updates) == blocks


# Recycling


def trunk(**changes):
    mx.random.seed(2)
    made_trunk = Pairformer(dataclasses.replace(SMALL, **changes))
    made_trunk.update(tree_map(lambda a: a + 0.1 * mx.random.normal(a.shape), made_trunk.parameters()))
    inputs = collate(PEPTIDES)
    states = mx.random.normal((3, 16, 32))
    relative = relative_positions(inputs.mask.sum(axis=1), inputs.cyclic, 16)
    return made_trunk, states, (inputs.mask, relative, inputs.bonded)


def test_recycling_is_the_trunk_on_what_came_out_of_it():
    pairformer, states, rest = trunk(recycles=2)
    given = pairformer.pair_positions(*rest[1:])
    s, z, _ = pairformer._pass(states, given, rest[0], None, False)
    for _ in range(2):
        s_in = states + s @ pairformer.recycled_states.weight.T
        z_in = given + mx.einsum("od,bdij->boij", pairformer.recycled_pairs.weight, z)
        s, z, _ = pairformer._pass(s_in, z_in, rest[0], None, False)
    for passes in range(3):
        got = pairformer(states, *rest, recycles=passes)
        same = np.allclose(np.array(got[0]), np.array(s), atol=1e-4)
        same_pairs = np.allclose(np.array(got[1]), np.array(z), atol=1e-4)
        assert same == same_pairs == (passes == 2)


def test_gradients_flow_through_the_last_pass_alone():
    pairformer, states, rest = trunk()
    parameters = pairformer.parameters()
    before = pairformer(states, *rest, recycles=0)
    mx.eval(before)

    def by_itself(parameters, states):
        pairformer.update(parameters)
        out = pairformer(states, *rest, recycles=1)
        return mx.square(out[0]).sum() + mx.sin(3 * out[1]).sum()

    def on_constants(parameters, states):
        pairformer.update(parameters)
        s, z = (mx.array(np.array(array)) for array in before[:2])
        s = states + pairformer.recycled_states(s)
        z = pairformer.pair_positions(*rest[1:]) + pairformer.recycled_pairs(z)
        out = pairformer._pass(s, z, rest[0], None, False)
        return mx.square(out[0]).sum() + mx.sin(3 * out[1]).sum()

    one, two = (
        tree_flatten(mx.grad(function, argnums=(0, 1))(parameters, states))
        for function in (by_itself, on_constants)
    )
    for (name, ours), (_, theirs) in zip(one, two, strict=True):
        np.testing.assert_allclose(np.array(ours), np.array(theirs), rtol=1e-3, atol=1e-3, err_msg=name)


def test_a_fresh_model_recycles_to_what_it_was():
    """Recycled states and pairs come in through maps that start at zero."""
    mx.random.seed(0)
    model = FoldingModel(SMALL)
    inputs = collate(PEPTIDES)
    once, twice = (model(inputs, recycles=number).distogram for number in (0, 1))
    assert mx.array_equal(once, twice).item()
    changed = made()
    assert not mx.allclose(changed(inputs, recycles=0).distogram, changed(inputs).distogram).item()
    assert mx.array_equal(changed(inputs, recycles=1).distogram, changed(inputs).distogram).item()


# Randomness and learning


def test_dropout_only_with_a_key_and_the_same_in_any_company():
    model = made()
    inputs = collate(PEPTIDES, 16)
    assert mx.array_equal(model(inputs).distogram, model(inputs).distogram).item()
    keys = mx.random.split(mx.random.key(1), len(PEPTIDES))
    together = model(inputs, keys)
    assert not mx.allclose(together.distogram, model(inputs).distogram, atol=1e-3).item()
    for row, peptide in enumerate(PEPTIDES):
        apart = model(collate([peptide], 16), keys[row : row + 1])
        np.testing.assert_allclose(np.array(apart.vectors[0]), np.array(together.vectors[row]), atol=1e-4)
        np.testing.assert_allclose(np.array(apart.distogram[0]), np.array(together.distogram[row]), atol=1e-4)
    one_key = model(inputs, mx.random.key(3)).distogram
    assert mx.array_equal(one_key, model(inputs, mx.random.key(3)).distogram).item()


@pytest.mark.parametrize("form", TRIANGLES)
def test_every_parameter_learns(form):
    model = made(triangle=form)

    def loss(inputs):
        # The pairs are normalised: a plain sum of squares would not see their length.
        return sum((mx.sin(3 * array) * inputs.mask.sum()).sum() for array in outputs(model(inputs)).values())

    _, gradients = nn.value_and_grad(model, loss)(collate(PEPTIDES))
    still = [name for name, g in tree_flatten(gradients) if float(mx.abs(g).max()) == 0]
    assert still == []


def test_pairs_in_bfloat16_say_nearly_the_same_in_float32():
    full, half = made(), made(trunk_dtype="bfloat16")
    inputs = collate(PEPTIDES)
    one, two = outputs(full(inputs)), outputs(half(inputs))
    for name, array in two.items():
        assert array.dtype == mx.float32
        n = len(PEPTIDES[0])
        error = np.abs(np.array(array)[0, :n] - np.array(one[name])[0, :n])
        assert 0 < error.mean() < 0.03 * np.abs(np.array(one[name])[0, :n]).mean() + 0.01, name


@pytest.mark.parametrize(
    ("name", "along"), [("outgoing", 2), ("incoming", 2), ("starting", 2), ("ending", 3)]
)
def test_dropout_takes_a_channel_in_a_whole_column_or_row(name, along):
    mx.random.seed(0)
    update = PairUpdate(dataclasses.replace(SMALL, dropout=0.5))  # all that it adds is zero at the start
    part = getattr(update, name)
    part.output.weight = mx.random.normal(part.output.weight.shape)
    pairs, mask = mx.random.normal((1, 32, 6, 6)), mx.ones((1, 6))
    whole, left = (np.array(update(pairs, mask, key) - pairs) for key in (None, mx.random.key(1)))
    kept = np.abs(left).max(axis=along, keepdims=True) > 0
    assert 0.3 < kept.mean() < 0.7
    np.testing.assert_allclose(left, 2 * kept * whole, atol=1e-5)


def test_the_weights_of_an_update_have_the_shapes_of_saved_models():
    shapes = {name: array.shape for name, array in tree_flatten(PairUpdate(SMALL).parameters())}
    multiplication = {
        "project.weight": (96, 32), "sides_gate.bias": (32,), "gate.bias": (32,), "output.weight": (32, 16)
    }  # fmt: skip
    attention = {"project.weight": (130, 32), "gate.bias": (32,), "output.weight": (32, 32)}
    transition = {"expand.weight": (64, 32), "contract.weight": (32, 64)}
    parts = {
        "outgoing": multiplication, "incoming": multiplication,
        "starting": attention, "ending": attention, "transition": transition,
    }  # fmt: skip
    assert shapes == {f"{part}.{name}": shape for part, own in parts.items() for name, shape in own.items()}


# Settings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trunk": "evoformer"}, "trunk must be .* not 'evoformer'"),
        ({"triangle": "linear"}, "triangle must be one of softmax, additive, gated, not 'linear'"),
        ({"trunk_dtype": "float16"}, "trunk_dtype"),
        ({"pair_width": 31}, "pair_width must be a whole number from 32 to 512"),
        ({"pair_width": 33, "triangle_heads": 1}, "even multiple"),
        ({"pair_blocks": 0}, "pair_blocks must be a whole number from 1 to 8"),
        ({"triangle_heads": 3}, "pair_width 32 is not an even multiple of 3 triangle heads"),
        ({"recycles": 4}, "recycles must be a whole number from 0 to 3"),
    ],
)
def test_an_impossible_setting_is_one_line(tmp_path, change, message):
    save_model(tmp_path / "m", made(), "", {})
    path = tmp_path / "m" / "config.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"network": document["network"] | change}))
    with pytest.raises(BetafoldError, match=message) as error:
        load_model(tmp_path / "m")
    assert "\n" not in str(error.value)


def test_a_saved_model_folds_the_same(tmp_path):
    model = made(triangle="additive", recycles=2)
    save_model(tmp_path / "m", model, "# card\n", {})
    loaded = load_model(tmp_path / "m").model
    assert loaded.config == model.config
    inputs = collate(PEPTIDES)
    assert mx.array_equal(loaded(inputs).coordinates, model(inputs).coordinates).item()


def test_the_config_of_a_transformer_is_as_it_was():
    """Neither do earlier models need new keys, nor do new ones of that kind have any."""
    path = Path(__file__).parents[2] / "weights" / "betafold-mini" / "config.json"
    document = json.loads(path.read_text())
    config = ModelConfig.from_dict(document["network"])
    assert document["schema_version"] == SCHEMA_VERSION == 2
    assert config.trunk == "transformer" and config.to_dict() == document["network"]
    assert "pair_width" in SMALL.to_dict() and ModelConfig.from_dict(SMALL.to_dict()) == SMALL
