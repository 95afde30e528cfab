"""Tables of text: aligned for a pipe or a file, or in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

_FIRST_COLUMN = 46  # so that tables stand under one another


class TextTable(NamedTuple):
    """A header and rows of cells, the first column of names and the others of figures."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def aligned(self) -> str:
        """Return the table with aligned columns, the first to the left and the others to the right."""
        lines = [self.header, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.header))]
        widths[0] = max(widths[0], _FIRST_COLUMN)
        text = [
            "  ".join(
                cell.ljust(width) if column == 0 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        return "\n".join([text[0], "-" * max(map(len, text)), *text[1:]])

    def markdown(self) -> str:
        """Return the table in Markdown."""
        lines = [self.header, ["---"] * len(self.header), *self.rows]
        return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def align(rows: Sequence[Sequence[str]]) -> str:
    """Align columns; the first row is the header."""
    return TextTable(rows[0], rows[1:]).aligned()
