"""ESM-2 against numbers made with transformers (a small network) and the float64 reference (the full 8M)."""

import dataclasses
import math

import mlx.core as mx
import numpy as np
import pytest
from esm_helpers import SEQUENCES, TINY, TINY_CONFIG, random_tensors, source_tensor, write_checkpoint
from mlx.utils import tree_flatten

from betafold_mlx.esm import model as model_module
from betafold_mlx.esm.convert import convert
from betafold_mlx.esm.hub import read_checkpoint
from betafold_mlx.esm.model import Esm2
from betafold_mlx.esm.reference import reference_forward
from betafold_mlx.esm.sizes import SIZES, EsmConfig
from betafold_mlx.esm.tokenizer import EOS, MASK, PAD, encode, tokenize
from betafold_mlx.model import functions

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def expected():
    """Return what transformers computed (tests/data/esm_reference.py)."""
    return {name: np.array(array) for name, array in mx.load(str(TINY / "expected.safetensors")).items()}


def tiny(folder):
    return convert(read_checkpoint(TINY), folder, "tiny").esm.model


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return tiny(tmp_path_factory.mktemp("esm") / "tiny")


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """Return the full 8M network with random weights, and these by their names on the hub."""
    config = EsmConfig(*SIZES["8M"])
    tensors = random_tensors(config, seed=8)
    folder = tmp_path_factory.mktemp("esm")
    source = read_checkpoint(write_checkpoint(folder / "hub", config, tensors))
    return convert(source, folder / "mlx", "random").esm.model, tensors


def deviations(model, expected):
    """Return the largest deviation from transformers at real tokens, by output."""
    tokens = expected["tokens"]
    real = tokens != PAD
    inner = (real & (tokens != EOS))[:, 1:-1]
    pairs = inner[:, :, None] & inner[:, None, :]
    encoded = model.encode(mx.array(tokens))
    hidden = np.array(mx.stack(encoded.hidden))
    assert hidden.shape == expected["hidden"].shape
    return {
        "hidden": np.abs(hidden - expected["hidden"])[:, real].max(),
        "states": np.abs(np.array(encoded.states) - expected["states"])[real].max(),
        "logits": np.abs(np.array(model(mx.array(tokens))) - expected["logits"])[real].max(),
        "contacts": np.abs(np.array(model.contacts(mx.array(tokens))) - expected["contacts"])[pairs].max(),
    }


def test_a_small_network_agrees_with_transformers_everywhere(small, expected):
    for name, deviation in deviations(small, expected).items():
        assert deviation <= TOLERANCE, name
    assert (
        expected["contacts"].max() > 0.9 and np.abs(expected["hidden"]).max() > 3
    )  # numbers that say something


def test_the_native_operations_agree_too(monkeypatch, small, expected):
    for module in (functions, model_module):
        monkeypatch.setattr(module, "natively", lambda: True)  # as on a GPU
    for name, deviation in deviations(small, expected).items():
        assert deviation <= TOLERANCE, name


def tanh_gelu(monkeypatch, model):
    curve = math.sqrt(2 / math.pi)
    monkeypatch.setattr(
        model_module, "gelu", lambda x: 0.5 * x * (1 + mx.tanh(curve * (x + 0.044715 * x**3)))
    )


def own_frequencies(monkeypatch, model):
    model.inv_freq = Esm2(TINY_CONFIG).inv_freq


def no_token_dropout(monkeypatch, model):
    model.config = dataclasses.replace(model.config, token_dropout=False)


def other_epsilon(monkeypatch, model):
    for block in model.blocks:
        block.attention_norm.eps = 1e-3


def swapped_norms(monkeypatch, model):
    block = model.blocks[1]
    block.attention_norm, block.feed_forward_norm = block.feed_forward_norm, block.attention_norm


def swapped_query_and_key(monkeypatch, model):
    attention = model.blocks[0].attention
    query, key, value = mx.split(attention.query_key_value.weight, 3)
    attention.query_key_value.weight = mx.concatenate([key, query, value])


def rotation_by_neighbours(monkeypatch, model):
    turn = mx.fast.rope
    monkeypatch.setattr(mx.fast, "rope", lambda *a, **k: turn(*a, **(k | {"traditional": True})))
    monkeypatch.setattr(model_module, "natively", lambda: True)


def no_rotation(monkeypatch, model):
    model.inv_freq = mx.zeros_like(model.inv_freq)


def no_padding_mask(monkeypatch, model):
    attend = model_module.scaled_dot_product_attention
    monkeypatch.setattr(model_module, "natively", lambda: False)
    monkeypatch.setattr(
        model_module, "scaled_dot_product_attention", lambda q, k, v, mask: attend(q, k, v, mask | True)
    )


@pytest.mark.parametrize(
    "slip",
    [
        tanh_gelu,
        own_frequencies,
        no_token_dropout,
        other_epsilon,
        swapped_norms,
        swapped_query_and_key,
        rotation_by_neighbours,
        no_rotation,
        no_padding_mask,
    ],
)
def test_the_usual_slips_would_show(tmp_path, monkeypatch, expected, slip):
    model = tiny(tmp_path / "tiny")
    slip(monkeypatch, model)
    assert deviations(model, expected)["hidden"] > 3 * TOLERANCE


def test_the_full_8m_network_agrees_with_the_reference_on_a_padded_batch(full):
    model, tensors = full
    tokens = mx.array(encode(SEQUENCES))
    encoded = model.encode(tokens)
    hidden = np.array(mx.stack(encoded.hidden, axis=1))
    assert hidden.shape == (len(SEQUENCES), 7, 56, 320)
    logits, contacts = np.array(model(tokens)), np.array(model.contacts(tokens))
    for row, sequence in enumerate(SEQUENCES):
        ids = tokenize(sequence)
        reference = reference_forward(source_tensor(tensors), model.config, ids)
        length, inner = len(ids), len(ids) - 2
        np.testing.assert_allclose(hidden[row, :, :length], reference.hidden, rtol=0, atol=TOLERANCE)
        np.testing.assert_allclose(
            np.array(encoded.states[row, :length]), reference.states, rtol=0, atol=TOLERANCE
        )
        np.testing.assert_allclose(logits[row, :length], reference.logits, rtol=0, atol=TOLERANCE)
        np.testing.assert_allclose(contacts[row, :inner, :inner], reference.contacts, rtol=0, atol=TOLERANCE)


def test_both_ways_of_a_processor_and_of_a_gpu_agree(full, monkeypatch):
    model, _ = full
    tokens = mx.array(encode(SEQUENCES))
    real = np.array(tokens) != PAD
    states = []
    for natively in (False, True):
        monkeypatch.setattr(model_module, "natively", lambda choice=natively: choice)
        monkeypatch.setattr(functions, "natively", lambda choice=natively: choice)
        states.append(np.array(model.embed(tokens))[real])
    np.testing.assert_allclose(*states, rtol=0, atol=3e-5)


def test_joined_maps_give_what_the_three_give():
    mx.random.seed(3)
    model, tokens = Esm2(TINY_CONFIG), mx.array(encode(SEQUENCES))
    before = np.array(model.embed(tokens))
    model.join()
    np.testing.assert_allclose(np.array(model.embed(tokens)), before, rtol=0, atol=1e-5)


def test_a_batch_gives_what_each_sequence_gives_alone(full):
    model, _ = full
    together = np.array(model.embed(mx.array(encode(SEQUENCES))))
    for row, sequence in enumerate(SEQUENCES):
        ids = tokenize(sequence)
        alone = np.array(model.embed(mx.array(ids[None])))[0]
        np.testing.assert_allclose(together[row, : len(ids)], alone, rtol=0, atol=1e-5)


def test_padding_is_never_listened_to(tmp_path):
    model = tiny(tmp_path / "tiny")
    tokens = mx.array(encode(["GIGKFLH", "MKTAYIAKQRQISFVK"]))
    before = np.array(model.embed(tokens))
    model.embedding.weight[PAD] = 1e3
    after = np.array(model.embed(tokens))
    assert (before[0, :9] == after[0, :9]).all() and (before[1, :18] == after[1, :18]).all()


def test_a_row_of_padding_alone_is_harmless(small):
    row = encode(["GIGKFLH"])
    batch = mx.array(np.concatenate([row, np.full_like(row, PAD)]))
    for outputs in (small.embed(batch), small(batch), small.contacts(batch)):
        assert mx.isfinite(outputs).all().item()
    np.testing.assert_allclose(small.embed(batch)[0], small.embed(mx.array(row))[0], atol=1e-5)


@pytest.mark.parametrize("sequence", ["GIGKFLH", "GI<mask>KF<mask><mask>", "<mask>"])
def test_embeddings_are_scaled_for_the_share_of_masks(small, sequence):
    ids = tokenize(sequence)
    (first, *_) = small.encode(mx.array(encode([sequence]))).hidden
    masked = ids == MASK
    rows = np.array(small.embedding.weight)[ids] * 0.88 / (1 - masked.sum() / len(ids))
    rows[masked] = 0
    np.testing.assert_allclose(np.array(first)[0, : len(ids)], rows, atol=1e-6)


def test_without_token_dropout_the_mask_is_a_token_like_others(tmp_path):
    model = tiny(tmp_path / "tiny")
    model.config = dataclasses.replace(model.config, token_dropout=False)
    (first, *_) = model.encode(mx.array(encode(["A<mask>"]))).hidden
    np.testing.assert_array_equal(first[0, :4], model.embedding.weight[mx.array(tokenize("A<mask>"))])


def test_the_fused_attention_equals_the_one_that_keeps_its_maps(small):
    tokens = mx.array(encode(SEQUENCES))
    plain, kept = small.encode(tokens), small.encode(tokens, return_attention=True)
    real = np.array(tokens) != PAD
    np.testing.assert_allclose(np.array(kept.states)[real], np.array(plain.states)[real], atol=1e-5)
    assert plain.attention == [] and len(kept.attention) == 2
    for attention in kept.attention:
        assert attention.shape == (len(SEQUENCES), 3, 56, 56)
        np.testing.assert_allclose(attention.sum(axis=-1), 1, atol=1e-5)
        for row, count in enumerate(real.sum(axis=1)):
            assert (np.array(attention)[row, :, :, count:] == 0).all()


def test_contacts_are_symmetric_and_zero_outside_of_the_residues(small):
    contacts = np.array(small.contacts(mx.array(encode(["GIGKFLHSAKKFG", "MKT"]))))
    assert contacts.shape == (2, 14, 14)
    np.testing.assert_allclose(contacts, contacts.swapaxes(1, 2), atol=1e-6)
    assert (contacts[1, 3:] == 0).all() and (contacts[1, :3, :3] > 0).all()
    assert (contacts[0, 13] == 0).all() and (contacts[0, :13, :13] > 0).all() and (contacts < 1).all()


def test_nothing_waits_for_a_result(small):
    """While a graph is traced, taking a value to the host is an error: so this shows that nobody does."""
    tokens = mx.array(encode(["GIGKFLH", "MKTAYIAKQRQISFVK"]))
    for function in (small.embed, small, small.contacts):
        mx.compile(function)(tokens)
    with pytest.raises(ValueError, match="eval"):
        mx.compile(lambda tokens: small.embed(tokens) if (tokens == PAD).any() else tokens)(tokens)


def test_a_loaded_model_is_frozen(small):
    assert tree_flatten(small.trainable_parameters()) == []
    assert len(tree_flatten(small.parameters())) == 12 * 2 + 11
