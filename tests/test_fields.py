"""Settings declare their ranges once: wrong values are one line."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from betafold_mlx.errors import BetafoldError
from betafold_mlx.fields import check_settings, setting


@dataclass(frozen=True)
class Oven:
    degrees: int = setting(180, "Heat.", min=30, max=300)
    hours: float = setting(1.0, "Time.", min=0, min_open=True)
    share: float = setting(0.5, min=0, max=1, max_open=True)
    shelf: int | None = setting(None, min=1)
    fan: bool = setting(True)
    rack: str = setting("wire", choices=("wire", "tray"))
    name: str = "free text"

    def __post_init__(self) -> None:
        check_settings(self, "oven")


def test_what_is_in_range_is_taken():
    assert Oven(30, 2, 0, 1, False, "tray", "").hours == 2
    assert Oven(degrees=300, shelf=None).degrees == 300


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"degrees": 29}, "oven: degrees must be a whole number from 30 to 300, not 29"),
        ({"degrees": 301}, "from 30 to 300, not 301"),
        ({"degrees": 180.0}, "a whole number from 30 to 300, not 180.0"),
        ({"degrees": True}, "a whole number from 30 to 300, not True"),
        ({"hours": 0}, "hours must be a number above 0, not 0"),
        ({"hours": float("nan")}, "a number above 0, not nan"),
        ({"hours": float("inf")}, "a number above 0, not inf"),
        ({"hours": "2"}, "a number above 0, not '2'"),
        ({"share": 1.0}, "share must be a number from 0 below 1, not 1.0"),
        ({"shelf": 0}, "shelf must be a whole number from 1, not 0"),
        ({"degrees": None}, "a whole number from 30 to 300, not None"),
        ({"fan": 1}, "fan must be true or false, not 1"),
        ({"rack": "grill"}, "rack must be one of wire, tray, not 'grill'"),
    ],
)
def test_what_is_not_is_named_with_its_range(values, message):
    with pytest.raises(BetafoldError) as caught:
        Oven(**values)
    assert message in str(caught.value)
