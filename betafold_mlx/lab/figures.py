"""Figures that can be read: one style, colours that the colour-blind tell apart, files whose bytes repeat."""

from __future__ import annotations

import functools
import importlib.util
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from betafold_mlx.errors import BetafoldError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""M. Okabe and K. Ito, Color Universal Design (2008), without the yellow, which is faint on white."""
MARKS = ("o", "s", "^", "D", "v", "P", "X")
"""A shape beside each colour."""
SEQUENTIAL = "viridis"

_STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same everywhere
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "svg.hashsalt": "betafold-mlx",
    "svg.fonttype": "path",
}


def require_matplotlib() -> None:
    """Check that figures can be drawn.

    Raises
    ------
    BetafoldError
        matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise BetafoldError("the lab draws with matplotlib: pip install 'betafold-mlx[lab]'")


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        yield


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Make a function that draws a figure do it in the lab's style."""

    @functools.wraps(draw)
    def drawn(*args: Any, **kwargs: Any) -> Figure:
        with _style():
            return draw(*args, **kwargs)

    return drawn


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of so many inches whose parts keep clear of each other."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def figure_bytes(figure: Figure, kind: str) -> bytes:
    """Return a figure as ``png`` or ``svg``; the same figure gives the same bytes."""
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    buffer = io.BytesIO()
    with _style():
        figure.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()
