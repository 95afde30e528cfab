"""Tables and paragraphs on stdout: by rich on a terminal, as aligned text in a pipe or a file."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import rich_click as click

from betafold_mlx.evaluate.layout import Block, plain_text

if TYPE_CHECKING:
    from rich.console import Console


def echo_blocks(blocks: Iterable[Block]) -> None:
    """Write blocks on stdout."""
    if not sys.stdout.isatty():
        click.echo(plain_text(blocks), nl=False)
        return
    from rich.console import Console

    print_blocks(blocks, Console())


def print_blocks(blocks: Iterable[Block], console: Console) -> None:
    """Write blocks on a console of rich; tables are as wide as they are, and no cell is broken."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    for block in blocks:
        if isinstance(block, str):
            console.print(block, markup=False, highlight=False)
            continue
        table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        for place, title in enumerate(block.header):
            table.add_column(Text(title), justify="right" if place else "left", no_wrap=True)
        for row in block.rows:
            table.add_row(*map(Text, row))
        needed = console.measure(table, options=console.options.update(width=1000)).maximum
        console.width = max(console.width, needed)
        console.print(table)
