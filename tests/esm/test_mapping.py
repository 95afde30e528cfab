import mlx.core as mx
import pytest
from esm_helpers import TINY, TINY_CONFIG
from mlx.utils import tree_flatten

from betafold_mlx.errors import BetafoldError
from betafold_mlx.esm.config import SIZES, EsmConfig
from betafold_mlx.esm.mapping import map_tensors, pattern_table, targets
from betafold_mlx.esm.model import Esm2

FREQUENCIES = "esm.encoder.layer.{}.attention.self.rotary_embeddings.inv_freq"


@pytest.fixture
def arrays():
    return dict(mx.load(str(TINY / "model.safetensors")))


def targets_of(rows):
    return {row.source: row.target for row in rows if row.target is not None}


@pytest.mark.parametrize("size", SIZES)
def test_every_parameter_of_the_network_has_one_source(size):
    config = EsmConfig(*SIZES[size])
    parameters = [name for name, _ in tree_flatten(Esm2(config).parameters())]
    assert sorted(targets(config).values()) == sorted(parameters)


def test_the_published_layout(arrays):
    rows = map_tensors(arrays, TINY_CONFIG)
    assert len(rows) == len(arrays) == 46
    assert {row.source: row.note for row in rows if row.target is None} == {
        "esm.embeddings.position_ids": "a count from 0 to 1025",
        "esm.embeddings.position_embeddings.weight": "absolute positions, which ESM-2 never reads",
        FREQUENCIES.format(1): f"the same as {FREQUENCIES.format(0)}",
    }
    mapped = targets_of(rows)
    assert mapped["esm.encoder.layer.1.attention.self.key.weight"] == "blocks.1.attention.key.weight"
    assert mapped["esm.encoder.layer.0.LayerNorm.bias"] == "blocks.0.feed_forward_norm.bias"
    assert mapped["esm.encoder.layer.0.attention.LayerNorm.bias"] == "blocks.0.attention_norm.bias"
    assert mapped["lm_head.bias"] == "language_head.bias"
    assert len(set(mapped.values())) == len(mapped) == 43


def test_the_names_that_transformers_5_writes(arrays):
    renamed = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): array
        for name, array in arrays.items()
        if "inv_freq" not in name and "position" not in name
    }
    for frequencies in (FREQUENCIES.format("*"), "esm.rotary_embeddings.inv_freq"):
        rows = map_tensors({**renamed, frequencies: arrays[FREQUENCIES.format(0)]}, TINY_CONFIG)
        assert len(targets_of(rows)) == len(rows) == 43
        assert {row.canonical for row in rows} == set(targets(TINY_CONFIG))


def test_what_is_dropped_and_why(arrays):
    tied = arrays["esm.embeddings.word_embeddings.weight"]
    extra = {
        "lm_head.decoder.weight": tied,
        "esm.pooler.dense.weight": mx.zeros((24, 24)),
        "esm.pooler.dense.bias": mx.zeros(24),
    }
    notes = {row.source: row.note for row in map_tensors(arrays | extra, TINY_CONFIG) if row.target is None}
    assert set(extra) <= set(notes) and all(notes.values())
    assert "tied" in notes["lm_head.decoder.weight"]


@pytest.mark.parametrize(
    "name",
    [
        "esm.encoder.layer.2.output.dense.bias",  # a layer more than the config says
        "esm.encoder.layer.0.crossattention.self.query.weight",
        "esm.embeddings.layer_norm.weight",
        "classifier.dense.weight",
        "embeddings.word_embeddings.weight",
        "esm.encoder.layer.0.attention.self.query.weight.extra",
    ],
)
def test_an_unknown_tensor_is_an_error(arrays, name):
    with pytest.raises(BetafoldError, match=f"holds a tensor {name}, which ESM-2 with 2 layers has not"):
        map_tensors(arrays | {name: mx.zeros(3)}, TINY_CONFIG)


@pytest.mark.parametrize("name", sorted(targets(TINY_CONFIG)))
def test_a_missing_tensor_is_an_error(arrays, name):
    for source in list(arrays):
        if source == name or (name.endswith("inv_freq") and source.endswith("inv_freq")):
            del arrays[source]
    with pytest.raises(BetafoldError, match=f"lacks the tensor {name}$"):
        map_tensors(arrays, TINY_CONFIG)


def test_many_missing_tensors_are_counted(arrays):
    config = EsmConfig(layers=4, width=24, heads=3, ffn_width=48)
    with pytest.raises(BetafoldError, match=r"lacks the tensor esm\.encoder\.layer\.2\..* and 31 more$"):
        map_tensors(arrays, config)


@pytest.mark.parametrize(
    "name",
    [
        FREQUENCIES.format(1),
        "esm.rotary_embeddings.inv_freq",
        "lm_head.decoder.weight",
        "esm.encoder.layer.0.LayerNorm.gamma",
    ],
)
def test_two_that_should_be_equal_and_are_not(arrays, name):
    twin = {
        "lm_head.decoder.weight": "esm.embeddings.word_embeddings.weight",
        "esm.encoder.layer.0.LayerNorm.gamma": "esm.encoder.layer.0.LayerNorm.weight",
    }.get(name, FREQUENCIES.format(0))
    assert map_tensors(arrays | {name: arrays[twin]}, TINY_CONFIG)
    for other in (arrays[twin] + 1e-3, arrays[twin][:2]):
        with pytest.raises(BetafoldError, match="should be equal and are not"):
            map_tensors(arrays | {name: other}, TINY_CONFIG)


def test_the_table_for_people(arrays):
    rows = map_tensors(arrays, TINY_CONFIG)
    table = pattern_table(rows)
    assert sum(count for count, _, _ in table) == len(rows) and len(table) < 35
    assert (2, "esm.encoder.layer.N.output.dense.weight", "blocks.N.contract.weight") in table
    assert (1, "esm.embeddings.position_ids", "dropped: a count from 0 to 1025") in table


def test_layers_are_in_the_order_of_their_numbers():
    config = EsmConfig(layers=12, width=24, heads=3, ffn_width=48)
    arrays = {name: mx.zeros(1) for name in targets(config)}
    order = [row.source.split(".")[3] for row in map_tensors(arrays, config) if ".layer." in row.source]
    assert order == sorted(order, key=int) and order[-1] == "11"
