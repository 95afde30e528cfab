"""Rows of text as aligned tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from betafold_mlx.evaluate.evaluation import BEST_OF

_FIRST_COLUMN = 46


def label(method: str) -> str:
    """Return a method's name for people."""
    name = method.replace("_", " ")
    return f"{name} (oracle)" if method.startswith(BEST_OF) else name


def number(value: float | None, places: int) -> str:
    """Return a figure with so many decimals, a dash where there is none."""
    return "-" if value is None else f"{value:.{places}f}"


def percent(value: float | None) -> str:
    """Return a share in percent."""
    return "-" if value is None else f"{100 * value:.0f} %"


def estimate(entry: Mapping[str, Any], key: str) -> str:
    """Return ``entry[key]`` with its 95 % interval, and a star where that excludes zero."""
    text = "-" if entry[key] is None else f"{entry[key]:+.2f}"
    if entry["low"] is None:
        return text
    return f"{text} [{entry['low']:+.2f}, {entry['high']:+.2f}]{'*' if entry['excludes_zero'] else ' '}"


def align(rows: Sequence[Sequence[str]]) -> str:
    """Align columns: the first to the left, the others to the right; the first row is the header."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    widths[0] = max(widths[0], _FIRST_COLUMN)  # so that the tables stand under one another
    lines = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])
