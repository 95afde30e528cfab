"""Caches of embeddings as the features of batches."""

import json

import numpy as np
import pytest
from esm_helpers import EMBEDDER, FINGERPRINT, WIDTH, fill_toy, toy_embedding
from synthetic import make_dataset

from betafold_mlx.data.cache import EmbeddingCache, check_index, read_index
from betafold_mlx.data.plan import make_plan
from betafold_mlx.errors import BetafoldError
from betafold_mlx.model.config import EmbedderConfig


@pytest.fixture(scope="module")
def dataset():
    return make_dataset(chains=4, peptides=4)


@pytest.fixture
def cache(tmp_path, dataset):
    return fill_toy(tmp_path / "cache", dataset).cache


def test_features_are_the_embeddings_padded(cache, dataset):
    sequences = make_plan(dataset, 100).sequences
    rng = np.random.default_rng(0)
    for _ in range(10):
        chosen = [sequences[n] for n in rng.integers(0, len(sequences), size=9)]  # over shards, with repeats
        features = cache(chosen, 32)
        assert features.shape == (9, 32, WIDTH) and str(features.dtype) == "mlx.core.float32"
        for row, sequence in zip(np.array(features), chosen, strict=True):
            np.testing.assert_array_equal(row[: len(sequence)], toy_embedding(sequence))
            assert not row[len(sequence) :].any()


def test_every_sequence_of_the_plan_is_there(cache, dataset):
    sequences = make_plan(dataset, 100).sequences
    features = np.array(cache(sequences, 32))
    for row, sequence in zip(features, sequences, strict=True):
        np.testing.assert_array_equal(row[: len(sequence)], toy_embedding(sequence))


def test_a_sequence_that_was_not_embedded(cache):
    with pytest.raises(BetafoldError, match=r"cache .*cache holds no embedding of WWWWWWWWWW"):
        cache(["WWWWWWWWWW"], 16)


def test_the_index_says_what_it_is(cache, dataset):
    document = json.loads((cache.directory / "index.json").read_text())
    plan = make_plan(dataset, 100)
    assert document["embedder"]["sha256"] == EMBEDDER.sha256
    assert document["embedder"]["label"] == "toy (toy, NOT the published ESM-2 weights)"
    assert document["embedder"]["published"] is False
    assert (document["windows"], document["seed"], document["plan_sha256"]) == (100, 0, plan.sha256)
    assert document["sequences"] == len(plan.sequences)
    assert document["residues"] == sum(map(len, plan.sequences))
    assert document["shards"] == -(-len(plan.sequences) // 16) == len(list(cache.directory.glob("shard-*")))
    assert cache.bytes == sum(path.stat().st_size for path in cache.directory.glob("shard-*"))
    assert cache.bytes > 2 * WIDTH * document["residues"]


def test_opening_checks_everything(cache, dataset):
    assert EmbeddingCache.open(cache.directory, dataset, FINGERPRINT).index == cache.index
    with pytest.raises(BetafoldError, match="made for another data set: choose another folder"):
        EmbeddingCache.open(cache.directory, dataset, "c" * 64)
    path = cache.directory / "shard-00002.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        BetafoldError, match=r"shard-00002\.safetensors is damaged.* `betafold-mlx embed` makes"
    ):
        EmbeddingCache.open(cache.directory, dataset, FINGERPRINT)
    path.unlink()
    with pytest.raises(BetafoldError, match=r"shard-00002\.safetensors is not there"):
        EmbeddingCache.open(cache.directory, dataset, FINGERPRINT)


def test_a_plan_that_cannot_be_reproduced(cache, dataset):
    change(cache, plan_sha256="0" * 64)
    with pytest.raises(BetafoldError, match="another version of betafold-mlx or NumPy"):
        EmbeddingCache.open(cache.directory, dataset, FINGERPRINT)


def change(cache, **values):
    path = cache.directory / "index.json"
    document = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in document.items() if value is not ...}))


@pytest.mark.parametrize(
    "values",
    [
        {"format": "betafold-dataset"},
        {"format": ...},
        {"windows": "many"},
        {"windows": -1},
        {"seed": 1.5},
        {"shard_size": 0},
        {"shards": 1},
        {"sequences": ...},
        {"colour": "red"},
        {"dataset_sha256": None},
        {"embedder": None},
        {"embedder": {"kind": "esm2", "width": 4}},
        {"embedder": {"kind": "residue"}},
        {"embedder": {"kind": "esm2", "width": 10**9, "sha256": "0" * 64}},
    ],
)
def test_a_damaged_index(cache, values):
    change(cache, **values)
    with pytest.raises(BetafoldError, match=r"index\.json is not a whole index of embeddings: delete it"):
        read_index(cache.directory)


def test_other_damage_of_an_index(cache, tmp_path):
    path = cache.directory / "index.json"
    for content in (b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000):
        path.write_bytes(content)
        with pytest.raises(BetafoldError, match="not a whole index"):
            read_index(cache.directory)
    path.write_text('{"format": "betafold-embeddings", "schema_version": 2}')
    with pytest.raises(BetafoldError, match="has schema 2, this version reads 1"):
        read_index(cache.directory)
    for nowhere in (tmp_path / "nowhere", path):
        with pytest.raises(BetafoldError, match="there is no cache of embeddings at"):
            read_index(nowhere)


def test_another_embedder_is_named(cache):
    other = EmbedderConfig(
        "esm2", WIDTH, "8M", "f" * 64, "other/name (8M, the published ESM-2 weights)", True
    )
    with pytest.raises(BetafoldError) as error:
        check_index(cache.directory, cache.index, other, None, None)
    for part in (
        "toy (toy, NOT the published",
        "eeeeeeeeeeee",
        "other/name (8M",
        "ffffffffffff",
        "another folder",
    ):
        assert part in str(error.value)
    check_index(cache.directory, cache.index, EMBEDDER, 100, 0)
    for windows, seed, message in ((200, None, "windows 100, not 200"), (100, 1, "seed 0, not 1")):
        with pytest.raises(BetafoldError, match=message):
            check_index(cache.directory, cache.index, EMBEDDER, windows, seed)
