"""Figures in one style, with colours that the colour-blind tell apart, and files whose bytes repeat."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""M. Okabe and K. Ito, Color Universal Design (2008), without the yellow, which is faint on white."""
MARKS = ("o", "s", "^", "D", "v", "P", "X")  # a shape beside each colour
SEQUENTIAL = "viridis"
BESIDE: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
"""Place of a legend to the right of its axes."""
_STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same everywhere
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "svg.hashsalt": "betafold-mlx",
    "svg.fonttype": "path",
}


def style() -> AbstractContextManager[None]:
    """Return a context in which figures have the lab's style."""
    context: AbstractContextManager[None] = matplotlib.rc_context(_STYLE)
    return context


def figure_bytes(figure: Figure, kind: str) -> bytes:
    """Return a figure as ``png`` or ``svg``; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format=kind, metadata={"Date": None} if kind == "svg" else {"Software": None})
    return buffer.getvalue()


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of so many inches whose parts keep clear of each other."""
    return Figure(figsize=(width, height), layout="constrained")


def panel_figure(
    count: int, columns: int, width: float, height: float, **shared: Any
) -> tuple[Figure, list[Axes]]:
    """Return a figure of `count` panels of so many inches, at most `columns` side by side, and the panels.

    `shared` goes to `Figure.subplots`.
    """
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = new_figure(width * columns + 0.8, height * rows + 0.5)
    axes = figure.subplots(rows, columns, squeeze=False, **shared)
    for axis in axes.flat[count:]:
        axis.set_visible(False)
    return figure, list(axes.flat[:count])


def draw_repeats(axis: Axes, values: Mapping[str, Sequence[float]], label: str, title: str = "") -> None:
    """Draw the repeats of each variant as marks, variants below each other, and a bar at their mean."""
    for row, (_, repeats) in enumerate(values.items()):
        colour, mark = COLOURS[row % len(COLOURS)], MARKS[row % len(MARKS)]
        if len(repeats):
            axis.plot(
                repeats, [row] * len(repeats), mark, color=colour, alpha=0.7, ms=6, mec="white", mew=0.5
            )
            axis.plot([np.mean(repeats)] * 2, [row - 0.3, row + 0.3], color=colour, lw=2)
    axis.set_yticks(range(len(values)), list(values))
    axis.set_ylim(len(values) - 0.5, -0.5)
    axis.set(xlabel=label, title=title)
    axis.locator_params(axis="x", nbins=6)
    axis.grid(axis="x", color="0.9")


def draw_band(
    axis: Axes, steps: Sequence[float], values: np.ndarray, colour: str, line: str = "-", **named: Any
) -> None:
    """Draw the mean over the first axis of (seeds, steps) values, and a band that spans them."""
    axis.plot(steps, values.mean(axis=0), line, color=colour, **named)
    axis.fill_between(steps, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.2, lw=0)


def draw_bars(
    axis: Axes, places: Sequence[float], values: np.ndarray, number: int, line: str = "-", **named: Any
) -> None:
    """Draw the mean over the last axis of (places, seeds) values, and bars that span them."""
    mean = values.mean(axis=1)
    spread = [mean - values.min(axis=1), values.max(axis=1) - mean]
    mark, colour = MARKS[number % len(MARKS)], COLOURS[number % len(COLOURS)]
    axis.errorbar(places, mean, yerr=spread, marker=mark, color=colour, ms=4, lw=1, linestyle=line, **named)
