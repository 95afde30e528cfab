"""ESM-2 against the independent implementation in transformers, at full size. Skipped where torch is not installed.

(tests/esm/test_model.py does the same everywhere, with numbers made by transformers beforehand.)
"""

import importlib.util
import json
import shutil

import mlx.core as mx
import numpy as np
import pytest
from esm_helpers import SEQUENCES, TINY, TINY_CONFIG, random_tensors, write_checkpoint
from esm_transformers import fresh, load, outputs, tokenize

from betafold_mlx.errors import BetafoldError
from betafold_mlx.esm.checkpoint import read_checkpoint
from betafold_mlx.esm.config import SIZES, EsmConfig
from betafold_mlx.esm.convert import convert
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
    encoded = model.encode(tokens, return_hidden=True)
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


def test_a_bin_file_of_weights_is_read(tmp_path, theirs):
    import torch

    model, expected = theirs
    model.save_pretrained(tmp_path / "hub")
    (tmp_path / "hub" / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "hub" / "pytorch_model.bin")
    checkpoint = read_checkpoint(tmp_path / "hub")
    assert [file.name for file in checkpoint.files] == ["pytorch_model.bin"]
    converted = convert(checkpoint, tmp_path / "mlx", "random")
    tied = next(row for row in converted.rows if row.source == "lm_head.decoder.weight")
    assert tied.target is None and "tied" in tied.note
    assert_parity(converted.esm.model, expected, tolerance=1e-5)


class Opened:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_a_bin_file_that_holds_more_than_weights_is_refused(tmp_path):
    import torch

    folder = shutil.copytree(TINY, tmp_path / "hub")
    (folder / "model.safetensors").unlink()
    path, mark = folder / "pytorch_model.bin", tmp_path / "opened"
    for content, message in (
        ({"lm_head.bias": Opened(mark)}, "not a whole PyTorch file of weights alone"),
        ([torch.zeros(3)], "something else than named tensors"),
        ({"lm_head.bias": 3}, "something else than named tensors"),
    ):
        torch.save(content, path)
        with pytest.raises(BetafoldError, match=message):
            read_checkpoint(folder)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BetafoldError, match="not a whole PyTorch file"):
        read_checkpoint(folder)
    assert not mark.exists()


def test_a_sharded_bin_in_half_precision(tmp_path):
    import torch

    tensors = {name: torch.tensor(array) for name, array in random_tensors(TINY_CONFIG, 4).items()}
    tensors = {n: each.bfloat16() if each.is_floating_point() else each for n, each in tensors.items()}
    folder = shutil.copytree(TINY, tmp_path / "hub")
    (folder / "model.safetensors").unlink()
    where = {name: f"pytorch_model-0000{1 + k % 2}-of-00002.bin" for k, name in enumerate(tensors)}
    for shard in set(where.values()):
        torch.save({n: each for n, each in tensors.items() if where[n] == shard}, folder / shard)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": where}))
    esm = convert(read_checkpoint(folder), tmp_path / "mlx", "random").esm
    np.testing.assert_array_equal(esm.model.language_head.bias, tensors["lm_head.bias"].float().numpy())


def test_the_tokenizer_agrees():
    ids, _ = tokenize(SEQUENCES)
    np.testing.assert_array_equal(encode(SEQUENCES, length=ids.shape[1]), ids.numpy())
    for token in TOKENS[3:]:
        assert encode([token], length=3).tolist() == tokenize([token])[0].tolist()
