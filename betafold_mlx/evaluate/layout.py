"""Tables of text: aligned for a pipe or a file, in Markdown for a page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
        lines = [
            f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in (self.header, *self.rows)
        ]
        return "\n".join([lines[0], "|---" * len(self.header) + "|", *lines[1:]])


Block = str | TextTable
"""A paragraph or a table."""


def plain_text(blocks: Iterable[Block]) -> str:
    """Return paragraphs and aligned tables with an empty line between them."""
    return "\n\n".join(block if isinstance(block, str) else block.aligned() for block in blocks) + "\n"
