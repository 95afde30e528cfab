"""Settings as frozen dataclasses whose fields carry their range and their help: one declaration for all that uses them.

The check of a value, the option of the command line and its help come from the same field.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from betafold_mlx.errors import BetafoldError

_TYPES: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,), "str": (str,)}


def setting(
    default: Any,
    help: str = "",
    *,
    min: float | None = None,
    max: float | None = None,
    min_open: bool = False,
    max_open: bool = False,
    choices: tuple[str, ...] = (),
) -> Any:
    """Return a dataclass field with a range, or the words that are allowed, and its help in one sentence.

    A field with help is an option of the command line. `min_open` and `max_open` leave an end out of the range.
    """
    metadata = {
        "help": help,
        "min": min,
        "max": max,
        "min_open": min_open,
        "max_open": max_open,
        "choices": choices,
    }
    return dataclasses.field(default=default, metadata=metadata)


def check_settings(settings: Any, what: str) -> None:
    """Check the type and range of every field made by `setting`.

    BetafoldError begins with `what`, and names the field, what is allowed, and its value.
    """
    for field in dataclasses.fields(settings):
        if field.metadata:
            value = getattr(settings, field.name)
            kind, _, rest = str(field.type).partition(" | ")
            if not (value is None and rest == "None") and not _fits(value, kind, field.metadata):
                allowed = _allowed(kind, field.metadata)
                raise BetafoldError(f"{what}: {field.name} must be {allowed}, not {value!r:.40}")


def _fits(value: Any, kind: str, limits: Any) -> bool:
    if type(value) not in _TYPES[kind]:
        return False
    if kind == "str":
        return value in limits["choices"]
    if kind == "bool":
        return True
    low = -math.inf if limits["min"] is None else limits["min"]
    high = math.inf if limits["max"] is None else limits["max"]
    above = value > low if limits["min_open"] else value >= low
    below = value < high if limits["max_open"] else value <= high
    return math.isfinite(value) and above and below


def _allowed(kind: str, limits: Any) -> str:
    """Say what a field allows."""
    if kind == "str":
        return f"one of {', '.join(limits['choices'])}"
    if kind == "bool":
        return "true or false"
    words = "a whole number" if kind == "int" else "a number"
    if limits["min"] is not None:
        words += f"{' above' if limits['min_open'] else ' from'} {limits['min']}"
    if limits["max"] is not None:
        words += f"{' below' if limits['max_open'] else ' to'} {limits['max']}"
    return words
