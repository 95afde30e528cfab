"""Peptides as a table for a terminal: rows as they come, as wide as it is, colours that say the confidence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from betafold_mlx.cli.terminal import cells, clipped, plain

if TYPE_CHECKING:
    import numpy as np

    from betafold_mlx.fold.prediction import Prediction

WIDEST = 40
"""Columns of a name, at most."""

LONGEST = 32
"""Letters of a secondary structure: the longest peptide."""

MODELS = 10
"""Models of a peptide that have rows of their own, at most."""

_FIGURES = len("  len  pLDDT")
_RESET = "\x1b[0m"

PALETTE = {1: (26, 231), 2: (81, 16), 3: (220, 16), 4: (209, 16)}
"""Colours of AlphaFold's bands in the palette of 256, by `betafold_mlx.report.bands.Band.key`: that of the ground and
that of a letter on it. Both are set, so a letter is as legible on a dark terminal as on a light one."""


class Row(NamedTuple):
    """A peptide, or a further model of it, which has neither length nor file."""

    name: str
    length: str
    plddt: np.ndarray
    structure: str
    file: str


def rows_of(prediction: Prediction, file: str, each_model: bool) -> list[Row]:
    """Return the row of a prediction that is in a file, and those of its further models, where they are wanted."""
    plddt, structures = prediction.plddt, prediction.secondary_structure
    rows = [Row(plain(prediction.id), str(len(structures[0])), plddt[0], structures[0], plain(file))]
    if each_model:
        for rank in range(1, min(len(plddt), MODELS)):
            name = f"  model {rank + 1}, {prediction.spread.rmsd_to_first[rank]:.1f} A off"
            rows.append(Row(name, "", plddt[rank], structures[rank], ""))
    return rows


class Table:
    """Lays out rows; the first ones come with a header.

    No column waits for later rows: names share one as wide as the widest so far. What does not fit into the width
    stands on a line below.

    Parameters
    ----------
    coloured : bool
        Letters of the secondary structure on the colours of their confidence.
    """

    def __init__(self, coloured: bool) -> None:
        self._coloured = coloured
        self._width = 0
        self._headed = False

    def text(self, rows: Sequence[Row], columns: int) -> str:
        """Return the lines of some rows for a terminal of so many columns."""
        if not rows:
            return ""
        self._width = max([self._width, len("id"), *(cells(row.name) for row in rows)])
        beside = columns - _FIGURES - len("  ") - LONGEST  # what a structure on the same line leaves
        width = min(self._width, WIDEST, max(8, beside if beside >= 12 else columns - _FIGURES))
        lines: list[str] = []
        if not self._headed:
            heading = _lines(_figures("id", "len", "pLDDT", width), *self._heading(), "file", columns)
            lines += [line for line in heading if line != "  file"]
            self._headed = True
        for row in rows:
            figures = _figures(clipped(row.name, width), row.length, f"{row.plddt.mean():.1f}", width)
            structure = painted(row.structure, row.plddt) if self._coloured else row.structure
            lines += _lines(figures, structure, len(row.structure), row.file, columns)
        return "".join(f"{line}\n" for line in lines)

    def _heading(self) -> tuple[str, int]:
        """Return what stands above the secondary structures, and how wide it is: the colours and their meaning."""
        title = "structure"
        if not self._coloured:
            return title, len(title)
        labels = [(f" >{band} ", value) for band, value in ((90, 95.0), (70, 80.0), (50, 60.0))]
        labels.append((" <=50 ", 25.0))
        painted_labels = "".join(_paint(label, _band(value)) for label, value in labels)
        return f"{title} {painted_labels}", len(title) + 1 + sum(len(label) for label, _ in labels)


def painted(structure: str, plddt: np.ndarray) -> str:
    """Return a secondary structure with each letter on the colour of its confidence."""
    parts: Iterator[tuple[int, Iterator[tuple[str, int]]]] = groupby(
        zip(structure, map(_band, plddt.tolist()), strict=True), key=lambda pair: pair[1]
    )
    return "".join(_paint("".join(letter for letter, _ in pairs), band) for band, pairs in parts)


def _band(plddt: float) -> int:
    from betafold_mlx.report.bands import band_of  # only a terminal needs it

    return band_of(plddt).key


def _paint(text: str, band: int) -> str:
    ground, ink = PALETTE[band]
    return f"\x1b[48;5;{ground};38;5;{ink}m{text}{_RESET}"


def _figures(name: str, length: str, plddt: str, width: int) -> str:
    return f"{name}{' ' * (width - cells(name))}  {length:>3}  {plddt:>5}"


def _lines(figures: str, structure: str, shown: int, file: str, columns: int) -> list[str]:
    """Return figures, a structure that takes so many columns, and a file, on as few lines as will do."""
    lines, used = [figures], cells(figures)
    if used + 2 + LONGEST <= columns:
        lines[-1] += f"  {structure}"
        used += 2 + shown
        padding = LONGEST - shown
    else:
        lines.append(f"  {structure}")
        used, padding = 2 + shown, 0
    if not file:
        return lines
    if used + padding + 2 + cells(file) <= columns:
        lines[-1] += f"{' ' * padding}  {file}"
    else:
        lines.append(f"  {file}")
    return lines
