"""Caches of embeddings as the features of batches."""

import json

import numpy as np
import pytest
from esm_helpers import EMBEDDER, WIDTH, fill_toy, toy_embedding
from synthetic import make_dataset

from betafold_mlx.data.cache import check_index, read_index
from betafold_mlx.data.plan import planned_sequences, sequences_sha256
from betafold_mlx.errors import BetafoldError
from betafold_mlx.model.config import EmbedderConfig
from betafold_mlx.model.inputs import PADDED_LENGTHS

LONGEST = PADDED_LENGTHS[-1]


@pytest.fixture(scope="module")
def dataset():
    return make_dataset(chains=4, peptides=4)


@pytest.fixture
def cache(tmp_path, dataset):
    return fill_toy(tmp_path / "cache", dataset).cache


def test_features_are_the_embeddings_padded(cache, dataset):
    sequences = planned_sequences(dataset, 100)
    rng = np.random.default_rng(0)
    repeats = [sequences[n] for n in rng.integers(0, len(sequences), size=9)]  # over shards
    for chosen in (repeats, sequences):
        features = cache(chosen, LONGEST)
        assert features.shape == (len(chosen), LONGEST, WIDTH) and str(features.dtype) == "mlx.core.float32"
        for row, sequence in zip(np.array(features), chosen, strict=True):
            np.testing.assert_array_equal(row[: len(sequence)], toy_embedding(sequence))
            assert not row[len(sequence) :].any()


def test_features_of_two_data_sets(cache, dataset, tmp_path):
    other = make_dataset(seed=3, chains=4, peptides=4)
    both = cache.beside(fill_toy(tmp_path / "other", other, seed=2, shard_size=7).cache)
    chosen = [*planned_sequences(dataset, 100)[:9], *planned_sequences(other, 100, 2)[::-5]]
    for row, sequence in zip(np.array(both(chosen, LONGEST)), chosen, strict=True):
        np.testing.assert_array_equal(row[: len(sequence)], toy_embedding(sequence))
    with pytest.raises(BetafoldError, match="holds no embedding"):
        cache(chosen, LONGEST)


def test_a_sequence_that_was_not_embedded(cache):
    with pytest.raises(BetafoldError, match=r"cache .*cache holds no embedding of WWWWWWWWWW"):
        cache(["WWWWWWWWWW"], 16)


def test_the_index_says_what_it_is(cache, dataset):
    document = json.loads((cache.directory / "index.json").read_text())
    sequences = planned_sequences(dataset, 100)
    assert document["embedder"]["sha256"] == EMBEDDER.sha256
    assert document["embedder"]["label"] == "toy (toy, NOT the published ESM-2 weights)"
    assert document["embedder"]["published"] is False
    assert (document["windows"], document["seed"], document["plan_sha256"]) == (
        100,
        0,
        sequences_sha256(sequences),
    )
    assert document["sequences"] == len(sequences)
    assert document["residues"] == sum(map(len, sequences))
    assert document["shards"] == -(-len(sequences) // 16) == len(list(cache.directory.glob("shard-*")))
    assert cache.bytes == sum(path.stat().st_size for path in cache.directory.glob("shard-*"))
    assert cache.bytes > 2 * WIDTH * document["residues"]


def test_a_plan_that_cannot_be_reproduced(cache, dataset):
    change(cache, plan_sha256="0" * 64)
    with pytest.raises(BetafoldError, match="another version of betafold-mlx or NumPy"):
        fill_toy(cache.directory, dataset)


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
