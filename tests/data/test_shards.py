"""One file of embeddings: read back as written, or refused."""

import mlx.core as mx
import numpy as np
import pytest
from esm_helpers import EMBEDDER, WIDTH, toy_embed
from hypothesis import given, settings
from hypothesis import strategies as st

from betafold_mlx.data.shards import Shard, write_shard
from betafold_mlx.errors import BetafoldError

SEQUENCES = ["GIGKFLHSAKKF", "ACDEFGHIKL", "W" * 30]


@pytest.fixture
def path(tmp_path):
    write_shard(tmp_path / "x.safetensors", SEQUENCES, toy_embed(SEQUENCES), EMBEDDER.sha256)
    return tmp_path / "x.safetensors"


def open_shard(path, sequences=SEQUENCES, width=WIDTH, embedder=EMBEDDER.sha256):
    return Shard(path, sequences, width, embedder)


def test_what_is_read_is_what_was_written(path):
    for rows in ([0, 1, 2], [2, 0], [1, 1], []):
        for row, embedding in zip(rows, open_shard(path).read(rows), strict=True):
            assert embedding.dtype == np.float16
            np.testing.assert_array_equal(embedding, toy_embed([SEQUENCES[row]])[0])


def test_it_is_plain_safetensors(path):
    """An independent reader finds the same numbers and notes."""
    arrays, metadata = mx.load(str(path), return_metadata=True)
    assert {name: array.dtype for name, array in arrays.items()} == {
        "features": mx.float16,
        "offsets": mx.int64,
    }
    offsets = arrays["offsets"].tolist()
    assert offsets == [0, 12, 22, 52]
    for row, expected in enumerate(toy_embed(SEQUENCES)):
        np.testing.assert_array_equal(np.array(arrays["features"][offsets[row] : offsets[row + 1]]), expected)
    assert EMBEDDER.sha256 in metadata["betafold-embeddings"]


@settings(max_examples=150, derandomize=True, deadline=None)
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
def test_no_damage_gives_other_numbers(tmp_path_factory, where, bit, cut):
    """A flipped bit or a lost end is noticed, unless it is one that says nothing (white space, a note)."""
    path = tmp_path_factory.mktemp("shard") / "x.safetensors"
    write_shard(path, SEQUENCES, toy_embed(SEQUENCES), EMBEDDER.sha256)
    content = bytearray(path.read_bytes())
    place = int(where * len(content))
    if cut:
        content = content[:place]
    else:
        content[place] ^= 1 << bit
    path.write_bytes(content)
    header = 8 + int.from_bytes(content[:8], "little")
    try:
        embeddings = open_shard(path).read([0, 1, 2])
    except BetafoldError as error:
        assert "x.safetensors" in str(error)
        return
    assert not cut and place < header
    for embedding, expected in zip(embeddings, toy_embed(SEQUENCES), strict=True):
        np.testing.assert_array_equal(embedding, expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embedder": "f" * 64}, "holds the embeddings of another embedder"),
        ({"sequences": SEQUENCES[::-1]}, "holds the embeddings of other sequences"),
        ({"width": WIDTH * 2}, "does not hold the arrays"),
    ],
)
def test_the_shard_of_another_cache(path, changes, message):
    with pytest.raises(BetafoldError, match=message):
        open_shard(path, **changes)


def test_missing_and_foreign_files(path, tmp_path):
    with pytest.raises(BetafoldError, match="is not there"):
        open_shard(tmp_path / "nowhere.safetensors")
    with pytest.raises(BetafoldError, match="cannot read"):
        open_shard(tmp_path)
    mx.save_safetensors(str(path), {"features": mx.zeros((2, 2))}, {"format": "mlx"})
    with pytest.raises(BetafoldError, match="not a whole shard"):
        open_shard(path)


def test_a_file_that_shrinks_or_goes_while_it_is_in_use(path):
    shard = open_shard(path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(BetafoldError, match="changed while it was in use"):
        shard.read([2])
    path.unlink()
    with pytest.raises(BetafoldError, match="changed while it was in use"):
        shard.read([0])
