"""Help pages: examples behind the description, options in sections, commands in the order of use."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import click


class Command(click.Command):
    """A command whose help has examples, and its options in sections.

    Parameters
    ----------
    examples : sequence of str
        Command lines, each in one piece: they are broken as the width asks for.
    sections : mapping of str to sequence of str
        Headings and the names of the parameters below them; the others follow as "Options".
    """

    def __init__(
        self,
        *args: Any,
        examples: Sequence[str] = (),
        sections: Mapping[str, Sequence[str]] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.examples, self.sections = examples, sections or {}

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the description and the examples."""
        super().format_help_text(ctx, formatter)
        write_examples(formatter, self.examples)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options in their sections."""
        options = {param.name: param for param in self.get_params(ctx) if isinstance(param, click.Option)}
        for heading, names in self.sections.items():
            _write_options(ctx, formatter, heading, [options.pop(name) for name in names])
        _write_options(ctx, formatter, "Others" if self.sections else "Options", list(options.values()))


class Group(click.Group):
    """A group whose commands stand in the order in which they were added, and whose help has examples."""

    command_class = Command

    def __init__(self, *args: Any, examples: Sequence[str] = (), **options: Any) -> None:
        super().__init__(*args, **options)
        self.examples = examples

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands in their order."""
        return list(self.commands)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the description and the examples."""
        super().format_help_text(ctx, formatter)
        write_examples(formatter, self.examples)


def write_examples(formatter: click.HelpFormatter, examples: Sequence[str]) -> None:
    """Write command lines as a section."""
    if examples:
        with formatter.section("Examples"):
            for example in examples:
                for line in broken(example, formatter.width - formatter.current_indent):
                    formatter.write(f"{'':>{formatter.current_indent}}{line}\n")


def broken(command: str, width: int) -> list[str]:
    r"""Break a command line before options where it is too wide; what a shell takes for one line again.

    >>> print(*broken("betafold-mlx fold GRCTKSIPPICFPD --cyclic --disulfide 3-11", 48), sep="\n")
    betafold-mlx fold GRCTKSIPPICFPD --cyclic \
        --disulfide 3-11
    """
    lines = [""]
    for piece in re.split(r" (?=-\w|--\w)", command):
        if lines[-1] and len(lines[-1]) + len(piece) + len("  \\") > width:
            lines[-1] += " \\"
            lines.append(f"    {piece}")
        else:
            lines[-1] += f" {piece}" if lines[-1] else piece
    return lines


def _write_options(
    ctx: click.Context, formatter: click.HelpFormatter, heading: str, options: Sequence[click.Option]
) -> None:
    records = [record for option in options if (record := option.get_help_record(ctx)) is not None]
    if records:
        with formatter.section(heading):
            formatter.write_dl(records)
