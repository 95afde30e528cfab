"""Reading checkpoint folders in the hub's layout, whole and damaged."""

import json
import pickle
import shutil
import struct
import zipfile

import mlx.core as mx
import numpy as np
import pytest
from esm_helpers import TINY, TINY_CONFIG, random_tensors, write_checkpoint

from betafold_mlx.errors import BetafoldError
from betafold_mlx.esm.checkpoint import read_checkpoint
from betafold_mlx.files import file_sha256

INDEX = "model.safetensors.index.json"


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(TINY, tmp_path / "hub")


@pytest.fixture
def sharded(tmp_path):
    return write_checkpoint(tmp_path / "shards", TINY_CONFIG, random_tensors(TINY_CONFIG, 3), shards=3)


def test_one_file(folder):
    checkpoint = read_checkpoint(folder)
    assert checkpoint.config == TINY_CONFIG and len(checkpoint.arrays) == 46
    (file,) = checkpoint.files
    assert (file.name, file.bytes) == ("model.safetensors", (folder / file.name).stat().st_size)
    assert file.sha256 == checkpoint.sha256 == file_sha256(folder / file.name)


def test_shards_hold_the_same_as_one_file(sharded, tmp_path):
    tensors = random_tensors(TINY_CONFIG, 3)
    several = read_checkpoint(sharded)
    one = read_checkpoint(write_checkpoint(tmp_path / "one", TINY_CONFIG, tensors))
    assert [file.name for file in several.files] == [f"model-{k:05}-of-00003.safetensors" for k in (1, 2, 3)]
    assert set(several.arrays) == set(one.arrays) == set(tensors)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(several.arrays[name], tensor)
        np.testing.assert_array_equal(one.arrays[name], tensor)
    assert several.sha256 not in {one.sha256, *(file.sha256 for file in several.files)}


def test_the_whole_file_goes_before_shards_and_pickles(folder):
    (folder / INDEX).write_text("not even JSON")
    (folder / "pytorch_model.bin").write_bytes(b"nothing")
    assert len(read_checkpoint(folder).arrays) == 46


def test_a_folder_without_a_vocabulary_will_do(folder):
    (folder / "vocab.txt").unlink()
    assert read_checkpoint(folder).config == TINY_CONFIG


class Opened:
    """Leaves a mark where it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_named_safetensors_is_not_opened(folder, protocol):
    mark = folder / "opened"
    (folder / "model.safetensors").write_bytes(pickle.dumps(Opened(mark), protocol))
    with pytest.raises(BetafoldError, match="pickle under a wrong name"):
        read_checkpoint(folder)
    assert not mark.exists()


def test_a_torch_archive_named_safetensors_is_not_opened(folder):
    with zipfile.ZipFile(folder / "model.safetensors", "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps({}))
    with pytest.raises(BetafoldError, match="pickle under a wrong name"):
        read_checkpoint(folder)


def header(content, rest=b""):
    return struct.pack("<Q", len(content)) + content + rest


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00",
        b"\xff" * 64,
        header(b""),
        header(b"[]"),
        header(b"{" * 1000),
        header(b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}', b"\0" * 12),
        header(b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,8]}}', b"\0" * 16),
        header(b'{"a":{"dtype":"F99","shape":[4],"data_offsets":[0,16]}}', b"\0" * 16),
        header(b'{"a":{"shape":[4]}}', b"\0" * 16),
        struct.pack("<Q", 2**62) + b"{}",
    ],
)
def test_what_is_not_safetensors(folder, content):
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(BetafoldError, match="not a whole safetensors file"):
        read_checkpoint(folder)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_a_truncated_file(folder, share):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(BetafoldError, match="not a whole safetensors file"):
        read_checkpoint(folder)


def test_a_git_lfs_pointer(folder):
    (folder / "model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:24c5\nsize 31384292\n"
    )
    with pytest.raises(BetafoldError, match="git lfs pull"):
        read_checkpoint(folder)


def without(name):
    return lambda folder: (folder / name).unlink()


def containing(name, content):
    return lambda folder: (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without("config.json"), "config.json is not there"),
        (without("model.safetensors"), "holds no weights"),
        (containing("config.json", b"{"), "cannot be read as JSON"),
        (containing("config.json", b"\xff\xfe"), "cannot be read as JSON"),
        (containing("config.json", b"[" * 100_000), "cannot be read as JSON"),
        (
            containing("config.json", b'{"model_type": "bert"}'),
            "config.json: this is not an ESM-2 checkpoint",
        ),
        (containing("vocab.txt", b"<cls> <pad> A C D"), "not the vocabulary"),
        (containing("vocab.txt", b"\xff\xfe"), "vocab.txt"),
    ],
)
def test_damaged_folders(folder, damage, message):
    damage(folder)
    with pytest.raises(BetafoldError, match=message):
        read_checkpoint(folder)


def test_no_folder(tmp_path, folder):
    for path in (tmp_path / "nowhere", folder / "config.json"):
        with pytest.raises(BetafoldError, match="there is no folder"):
            read_checkpoint(path)


def test_a_missing_shard(sharded):
    (sharded / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(BetafoldError, match=r"00002-of-00003\.safetensors is not there"):
        read_checkpoint(sharded)


def test_shards_against_their_index(sharded):
    index = json.loads((sharded / INDEX).read_text())
    first, last = "model-00001-of-00003.safetensors", "model-00003-of-00003.safetensors"
    moved = dict(index["weight_map"])
    name = next(name for name, shard in moved.items() if shard == first)
    moved[name] = last
    (sharded / INDEX).write_text(json.dumps({"weight_map": moved}))
    with pytest.raises(BetafoldError, match=f"{first} holds the tensor {name}, against the index"):
        read_checkpoint(sharded)
    (sharded / INDEX).write_text(json.dumps({"weight_map": index["weight_map"] | {"more": first}}))
    with pytest.raises(BetafoldError, match=f"{first} lacks the tensor more, against the index"):
        read_checkpoint(sharded)


@pytest.mark.parametrize(
    "shard", ["../outside.safetensors", "/etc/passwd", "a\\b", "a/b", "", "..", ".", 3, None, "a\0b"]
)
def test_an_index_that_points_out_of_its_folder(sharded, shard):
    (sharded / INDEX).write_text(json.dumps({"weight_map": {"x": shard}}))
    with pytest.raises(BetafoldError, match="no plain file name"):
        read_checkpoint(sharded)


@pytest.mark.parametrize("document", [{}, [], {"weight_map": {}}, {"weight_map": ["a"]}, None])
def test_what_is_no_index(sharded, document):
    (sharded / INDEX).write_text(json.dumps(document))
    with pytest.raises(BetafoldError, match="not the index"):
        read_checkpoint(sharded)


def test_a_bin_file_without_torch(folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)  # as if it were not installed
    mark = folder / "opened"
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Opened(mark)))
    with pytest.raises(BetafoldError, match="only PyTorch reads safely"):
        read_checkpoint(folder)
    assert not mark.exists()


def test_bfloat16_is_read(folder):
    arrays = mx.load(str(folder / "model.safetensors"))
    halved = {n: a.astype(mx.bfloat16) if a.dtype == mx.float32 else a for n, a in arrays.items()}
    mx.save_safetensors(str(folder / "model.safetensors"), halved)
    assert read_checkpoint(folder).arrays["lm_head.bias"].dtype == mx.bfloat16
