"""What the commands that sample have in common: which generator, and how it samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

from betafold_mlx.cli.options import complete_model, settings_options
from betafold_mlx.errors import BetafoldError
from betafold_mlx.generate.settings import SamplingConfig

if TYPE_CHECKING:
    from betafold_mlx.generate.network import Generator

DEFAULT_GENERATOR = "betafold-par"

_Command = TypeVar("_Command", bound=Callable[..., Any])


def generator_options(command: _Command) -> _Command:
    """Add ``--model`` and the options of sampling to a command: a decorator."""
    command = settings_options(SamplingConfig, "The model")(command)
    return click.option(
        "--model",
        metavar="NAME|DIR",
        shell_complete=complete_model,
        show_default=DEFAULT_GENERATOR,
        help="A generator: installed, or its directory.",
        panel="The model",
    )(command)


def load_default_generator(model: str | None) -> Generator:
    """Load a generator by its directory or name; by default the bundled one.

    Raises
    ------
    BetafoldError
        Where it is missing or damaged.
    """
    from betafold_mlx.fold.registry import find_model
    from betafold_mlx.generate.network import load_generator

    try:
        directory = find_model(DEFAULT_GENERATOR if model is None else model)
    except BetafoldError as error:
        if model is not None:
            raise
        raise BetafoldError(
            f"the bundled generator {DEFAULT_GENERATOR} is missing: install the package again, or pass --model"
        ) from error
    return load_generator(directory)
