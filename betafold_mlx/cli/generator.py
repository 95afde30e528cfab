"""What the commands that sample have in common: which generator, and how it samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from betafold_mlx.cli.parameters import MODEL, Late, Number, Real
from betafold_mlx.errors import BetafoldError

if TYPE_CHECKING:
    from betafold_mlx.generate.network import Generator

DEFAULT_GENERATOR = "betafold-par"


def _default(name: str) -> Callable[[], Any]:
    """Return what gives the default of a setting of `betafold_mlx.generate.settings.SamplingConfig`."""

    def default() -> Any:
        from betafold_mlx.generate.settings import SamplingConfig

        return getattr(SamplingConfig(), name)

    return default


_OPTIONS = (
    click.option(
        "--model",
        type=MODEL,
        show_default=DEFAULT_GENERATOR,
        help="A generator: installed, or its directory.",
    ),
    click.option(
        "--steps",
        cls=Late,
        type=Number(1, 10_000),
        default=_default("steps"),
        help="Steps at the coarsest scale.",
    ),
    click.option(
        "--ode-steps",
        cls=Late,
        type=Number(1, 10_000),
        default=_default("ode_steps"),
        help="Steps at each later scale.",
    ),
    click.option(
        "--gamma",
        cls=Late,
        type=Real(0, 10),
        default=_default("gamma"),
        help="Temperature of the noise: less, the most usual shapes.",
    ),
)


def generator_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--model``, ``--steps``, ``--ode-steps`` and ``--gamma`` to a command: a decorator."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


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
