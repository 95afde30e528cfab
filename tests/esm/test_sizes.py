import dataclasses

import pytest
from esm_helpers import TINY_CONFIG

from betafold_mlx.errors import BetafoldError
from betafold_mlx.esm.sizes import SIZES, EsmConfig, check_published


@pytest.mark.parametrize("size", SIZES)
def test_published_sizes_are_named(size):
    config = EsmConfig(*SIZES[size])
    assert config.size == size
    assert config.ffn_width == 4 * config.width and config.head_width in (16, 24, 32, 64, 128)


def test_other_sizes_have_a_name_too():
    assert TINY_CONFIG.size == "2x24"
    assert EsmConfig(6, 320, 10, 1280).size == "6x320"  # not the 8M: it has 20 heads


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 0},
        {"width": "24"},
        {"layers": True},
        {"layers": 10**9},
        {"heads": 5},
        {"heads": 24},  # heads of width 1, which cannot be rotated
        {"layer_norm_eps": 0},
        {"layer_norm_eps": float("nan")},
        {"layer_norm_eps": None},
        {"token_dropout": 1},
    ],
)
def test_impossible_sizes(changes):
    with pytest.raises(BetafoldError, match=f"ESM-2 config: .*{next(iter(changes))}"):
        dataclasses.replace(TINY_CONFIG, **changes)


def test_the_published_file_is_known_by_its_checksum():
    published = "24c5fa474c48f3b754b86efe752d5f189d2bcd88190fa2270fc92b2ef3034189"
    assert check_published("8M", published) == "match"
    assert check_published("8M", "0" * 64) == "different" and check_published("35M", "0" * 64) == "unknown"
    assert check_published("35M", "") == "different"
