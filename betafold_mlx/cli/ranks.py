"""Commands that ``mlx.launch`` starts several times, and that are more often started once."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from betafold_mlx.cli.fasta import is_fasta
from betafold_mlx.cli.loading import loading

if TYPE_CHECKING:
    from betafold_mlx.distributed.ranks import Ranks


def with_ranks(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``ranks``: those that this process is one of, or None where it is by itself.

    A decorator, to stand directly above the function. By itself a process imports nothing for it.
    """

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        if "MLX_RANK" not in os.environ:
            return command(*args, ranks=None, **kwargs)
        with loading():
            from betafold_mlx.distributed.ranks import join

        with join() as ranks:
            return command(*args, ranks=ranks if ranks.size > 1 else None, **kwargs)

    return run


def check_library(ranks: Ranks, source: str) -> None:
    """Check that there is a FASTA file for several ranks to fold. The main one looks: the others need no such file.

    Raises
    ------
    click.UsageError
        On all ranks: for one peptide, for standard input, or where there is no such file.
    """
    problem = ranks.from_main(lambda: _problem(source))
    if problem is not None:
        raise click.UsageError(problem)


def _problem(source: str) -> str | None:
    if source == "-":
        return "several ranks read no standard input, which is the launcher's: give a FASTA file"
    try:
        found = is_fasta(source)
    except click.UsageError as error:
        return error.message
    return (
        None if found else "one peptide is folded by one process: leave out mlx.launch, or give a FASTA file"
    )
