"""Options of every command that folds: which model, and which embedder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from betafold_mlx.cli.parameters import MODEL, Folder

_Command = TypeVar("_Command", bound=Callable[..., Any])


def model_options(command: _Command) -> _Command:
    """Add ``--model`` (passed as ``model``) and ``--embedder`` (``embedder``) to a command."""
    command = click.option(
        "--embedder",
        type=Folder(),
        show_default="found by its checksum",
        help="Converted ESM-2 that the model was trained on.",
    )(command)
    return click.option(
        "--model",
        type=MODEL,
        show_default="betafold-mini",
        help="An installed model, or a model directory.",
    )(command)
