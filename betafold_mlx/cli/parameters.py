"""Kinds of options and arguments that several commands have, and how a shell completes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem


class Number(click.IntRange):
    """A whole number in a range, called N in help."""

    name = "n"


class Real(click.FloatRange):
    """A number in a range, called X in help."""

    name = "x"


class Seed(click.ParamType):
    """A random seed. Its range is in the error, not in every help page."""

    name = "n"

    def __init__(self, repeats: int = 1) -> None:
        self._range = click.IntRange(0, 2**31 - repeats)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value, or tell what is wrong with it."""
        return self._range.convert(value, param, ctx)


class AnyCase(click.Choice[str]):
    """One of a few words, in either case; a shell completes it as it is written here."""

    def __init__(self, words: Sequence[str]) -> None:
        super().__init__(words, case_sensitive=False)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return what a shell may put there."""
        return [CompletionItem(word) for word in self.choices if word.lower().startswith(incomplete.lower())]


class Windows(click.ParamType):
    """How many windows of the training chains, as many as `betafold_mlx.data.plan` allows."""

    name = "n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value, or tell what is wrong with it."""
        from betafold_mlx.data.plan import FEWEST_WINDOWS, MOST_WINDOWS

        return click.IntRange(FEWEST_WINDOWS, MOST_WINDOWS).convert(value, param, ctx)


class File(click.Path):
    """A path that a shell completes to files, called FILE in help."""

    def __init__(self, **options: Any) -> None:
        super().__init__(path_type=Path, **options)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        """Return what help calls it."""
        return "FILE"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return what a shell may put there."""
        return [CompletionItem(incomplete, type="file")]


class Folder(click.Path):
    """A path that a shell completes to folders, called DIR in help; it need not be there."""

    def __init__(self, **options: Any) -> None:
        super().__init__(path_type=Path, **options)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        """Return what help calls it."""
        return "DIR"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return what a shell may put there."""
        return [CompletionItem(incomplete, type="dir")]


class Named(click.ParamType):
    """Text that is one of a few words, or something else: the words are completed, or else files or folders.

    Parameters
    ----------
    metavar : str
        In help.
    words : callable
        Returns the words and what they mean; called when a shell completes one.
    others : str, optional
        ``file`` or ``dir``.
    """

    name = "text"

    def __init__(self, metavar: str, words: Callable[[], dict[str, str]], others: str | None = None) -> None:
        self._metavar, self._words, self._others = metavar, words, others

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        """Return what help calls it."""
        return self._metavar

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the value, or tell what is wrong with it."""
        return str(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return what a shell may put there."""
        # Paths come first: the script for bash forgets what stands before them.
        paths = [CompletionItem(incomplete, type=self._others)] if self._others else []
        return paths + [
            CompletionItem(word, help=meaning or None)
            for word, meaning in self._words().items()
            if word.startswith(incomplete)
        ]


def _models() -> dict[str, str]:
    from betafold_mlx.fold.registry import installed_models

    return dict.fromkeys(installed_models(), "installed model")


MODEL = Named("NAME|DIR", _models, "dir")
"""A model directory, or the name of an installed model."""

PEPTIDE = Named("PEPTIDE|FASTA|-", dict, "file")
"""One-letter codes, a FASTA file, or standard input."""


class Late(click.Option):
    """An option whose default is a function, for it is kept in a module that takes time to load.

    The function is called where the command runs without the option, and for help; never to complete a line.
    """

    def get_default(self, ctx: click.Context, call: bool = True) -> Any:
        """Return the default, or None where a line is completed."""
        if call and ctx.resilient_parsing:  # completing
            return None
        return super().get_default(ctx, call=True)
