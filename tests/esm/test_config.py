import dataclasses

import pytest
from esm_helpers import TINY_CONFIG, hub_config

from betafold_mlx.errors import BetafoldError
from betafold_mlx.esm.config import SIZES, EsmConfig


@pytest.mark.parametrize("size", SIZES)
def test_published_sizes_are_named(size):
    config = EsmConfig(*SIZES[size])
    assert config.size == size
    assert EsmConfig.from_hub(hub_config(config)) == config
    assert config.ffn_width == 4 * config.width and config.head_width in (16, 24, 32, 64, 128)


def test_other_sizes_have_a_name_too():
    assert TINY_CONFIG.size == "2x24"
    assert EsmConfig(6, 320, 10, 1280).size == "6x320"  # not the 8M: it has 20 heads


def test_round_trip():
    config = dataclasses.replace(TINY_CONFIG, token_dropout=False, layer_norm_eps=1e-12)
    assert EsmConfig.from_dict(config.to_dict()) == config
    assert EsmConfig.from_hub(hub_config(config)) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "bert"}, "model_type is 'bert'"),
        ({"model_type": None}, "model_type is None"),
        ({"position_embedding_type": "absolute"}, "ESM-1"),
        ({"position_embedding_type": None}, "ESM-1"),
        ({"emb_layer_norm_before": True}, "ESM-1b"),
        ({"is_folding_model": True}, "ESMFold"),
        ({"is_decoder": True}, "encoder"),
        ({"add_cross_attention": True}, "encoder"),
        ({"hidden_act": "relu"}, "GELU"),
        ({"vocab_size": 64}, "33 tokens"),
        ({"mask_token_id": 4}, "mask"),
        ({"pad_token_id": 0}, "padding"),
        ({"hidden_size": 0}, "width must be a positive whole number"),
        ({"hidden_size": 24.0}, "width"),
        ({"hidden_size": "24"}, "width"),
        ({"num_hidden_layers": True}, "layers"),
        ({"num_hidden_layers": -1}, "layers"),
        ({"num_hidden_layers": 10**9}, "layers of 1000000000 cannot be right"),
        ({"hidden_size": 10**30}, "width of 10{30} cannot be right"),
        ({"num_attention_heads": 5}, "does not split into 5 heads"),
        ({"num_attention_heads": 24}, "of even width"),
        ({"layer_norm_eps": 0}, "layer_norm_eps"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps"),
        ({"layer_norm_eps": None}, "layer_norm_eps"),
        ({"token_dropout": None}, "token_dropout"),
        ({"token_dropout": 1}, "token_dropout"),
    ],
)
def test_a_config_that_is_not_esm2(changes, message):
    with pytest.raises(BetafoldError, match=message):
        EsmConfig.from_hub(hub_config(TINY_CONFIG) | changes)


@pytest.mark.parametrize("key", ["hidden_size", "num_hidden_layers", "layer_norm_eps", "token_dropout"])
def test_a_size_that_is_not_given(key):
    document = hub_config(TINY_CONFIG)
    del document[key]
    with pytest.raises(BetafoldError, match=key):
        EsmConfig.from_hub(document)


@pytest.mark.parametrize("document", [None, [], "esm", {}])
def test_not_even_an_object(document):
    with pytest.raises(BetafoldError, match="not an ESM-2 checkpoint"):
        EsmConfig.from_hub(document)


def test_our_own_config_is_read_strictly():
    values = TINY_CONFIG.to_dict()
    with pytest.raises(BetafoldError, match="unknown key 'depth'"):
        EsmConfig.from_dict(values | {"depth": 3})
    del values["heads"]
    with pytest.raises(BetafoldError, match="missing key 'heads'"):
        EsmConfig.from_dict(values)
