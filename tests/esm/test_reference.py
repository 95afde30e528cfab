"""The float64 reference against transformers: what judges the conversions is judged itself."""

import mlx.core as mx
import numpy as np
import pytest
from esm_helpers import TINY, TINY_CONFIG, source_tensor

from betafold_mlx.esm.reference import reference_forward
from betafold_mlx.esm.tokenizer import PAD


@pytest.fixture(scope="module")
def expected():
    return {name: np.array(array) for name, array in mx.load(str(TINY / "expected.safetensors")).items()}


@pytest.fixture(scope="module")
def tensors():
    return {name: np.array(array) for name, array in mx.load(str(TINY / "model.safetensors")).items()}


@pytest.mark.parametrize("row", range(6))
def test_it_agrees_with_transformers(expected, tensors, row):
    tokens = expected["tokens"][row]
    tokens = tokens[tokens != PAD]
    length, inner = len(tokens), len(tokens) - 2
    reference = reference_forward(source_tensor(tensors), TINY_CONFIG, tokens)
    np.testing.assert_allclose(np.stack(reference.hidden), expected["hidden"][:, row, :length], atol=2e-5)
    np.testing.assert_allclose(reference.states, expected["states"][row, :length], atol=2e-5)
    np.testing.assert_allclose(reference.logits, expected["logits"][row, :length], atol=2e-5)
    np.testing.assert_allclose(reference.contacts, expected["contacts"][row, :inner, :inner], atol=1e-5)


def test_each_tensor_counts(expected, tensors):
    """Every tensor but the ones that are dropped changes the result: none is read in vain, or not at all."""
    tokens = expected["tokens"][0]

    def run(changed):
        result = reference_forward(source_tensor(changed), TINY_CONFIG, tokens)
        return np.concatenate([result.logits.ravel(), result.contacts.ravel()])

    before = run(tensors)
    silent = set()
    for name, array in tensors.items():
        change = np.random.default_rng(0).standard_normal(array.shape).astype(np.float32)
        if np.abs(run(tensors | {name: array + 0.5 * change}) - before).max() < 1e-6:
            silent.add(name)
    assert silent == {
        "esm.embeddings.position_ids",
        "esm.embeddings.position_embeddings.weight",
        "esm.encoder.layer.1.attention.self.rotary_embeddings.inv_freq",  # the first layer's serves all
    }
