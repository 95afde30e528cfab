"""ESM-2 against the independent implementation in transformers, at full size. Skipped where torch is not installed.

(tests/esm/test_model.py does the same everywhere, with numbers made by transformers beforehand.)
"""

import importlib.util

import mlx.core as mx
import numpy as np
import pytest
from esm_helpers import SEQUENCES, random_tensors, write_checkpoint
from esm_transformers import fresh, load, outputs, tokenize

from betafold_mlx.esm.convert import convert
from betafold_mlx.esm.hub import read_checkpoint
from betafold_mlx.esm.sizes import SIZES, EsmConfig
from betafold_mlx.esm.tokenizer import EOS, PAD, TOKENS, encode

pytestmark = [
    pytest.mark.skipif(
        not all(importlib.util.find_spec(name) for name in ("torch", "transformers")),
        reason="needs torch and transformers (pip install torch transformers)",
    ),
    pytest.mark.filterwarnings("ignore"),  # theirs, of many kinds and changing from version to version
]


def assert_parity(model, expected, tolerance=1e-4):
    """Compare every hidden state, the logits and the contacts of a padded batch at its real tokens."""
    tokens = mx.array(expected["tokens"])
    real = expected["tokens"] != PAD
    inner = (real & (expected["tokens"] != EOS))[:, 1:-1]
    pairs = inner[:, :, None] & inner[:, None, :]
    encoded = model.encode(tokens)
    assert len(encoded.hidden) == len(expected["hidden"]) == model.config.layers + 1
    for ours, theirs in zip(encoded.hidden, expected["hidden"], strict=True):
        np.testing.assert_allclose(np.array(ours)[real], theirs[real], rtol=0, atol=tolerance)
    np.testing.assert_allclose(
        np.array(encoded.states)[real], expected["states"][real], rtol=0, atol=tolerance
    )
    np.testing.assert_allclose(
        np.array(model(tokens))[real], expected["logits"][real], rtol=0, atol=tolerance
    )
    np.testing.assert_allclose(
        np.array(model.contacts(tokens))[pairs], expected["contacts"][pairs], rtol=0, atol=tolerance
    )


# All sequences on the 8M; on the 35M, which takes its time, lengths 1, 23, 32 and 52 with masks.
@pytest.mark.parametrize(
    ("size", "sequences"), [("8M", SEQUENCES), ("35M", [SEQUENCES[k] for k in (0, 1, 5, 7)])]
)
def test_a_full_network_agrees_everywhere(tmp_path, size, sequences):
    config = EsmConfig(*SIZES[size])
    folder = write_checkpoint(tmp_path / "hub", config, random_tensors(config, seed=35))
    model = convert(read_checkpoint(folder), tmp_path / "mlx", "random").esm.model
    expected = outputs(load(folder), sequences)
    assert (
        np.abs(expected["hidden"]).max() > 3 and np.ptp(expected["contacts"]) > 0.7
    )  # numbers that say something
    assert_parity(model, expected)


@pytest.fixture(scope="module")
def theirs():
    """Return the full 8M network as transformers initialises it, and what it computes."""
    model = fresh(EsmConfig(*SIZES["8M"]), seed=0)
    return model, outputs(model, SEQUENCES[:4])


@pytest.mark.parametrize("shard_size", ["5GB", "8MB"])
def test_what_save_pretrained_writes_is_read(tmp_path, theirs, shard_size):
    model, expected = theirs
    model.save_pretrained(tmp_path / "hub", max_shard_size=shard_size)
    assert len(list((tmp_path / "hub").glob("*.safetensors"))) == (1 if shard_size == "5GB" else 5)
    converted = convert(read_checkpoint(tmp_path / "hub"), tmp_path / "mlx", "random")
    assert converted.esm.check == "different"
    assert_parity(converted.esm.model, expected, tolerance=1e-5)


def test_the_tokenizer_agrees():
    ids, _ = tokenize(SEQUENCES)
    np.testing.assert_array_equal(encode(SEQUENCES)[:, : ids.shape[1]], ids.numpy())
    for token in TOKENS[3:]:
        assert encode([token])[:, :3].tolist() == tokenize([token])[0].tolist()
