"""The option ``--device`` of the commands that compute."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from betafold_mlx.cli.loading import loading

_advised = False


def device_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--device`` to a command: a decorator, to stand directly above the function (and ``pass_context``).

    Before the command runs the device is chosen, and where OpenBLAS is missing, stderr says once how to get it.
    """

    @click.option(
        "--device",
        type=click.Choice(["gpu", "cpu"]),
        show_default="the GPU where there is one",
        help="Where to compute.",
    )
    @functools.wraps(command)
    def run(*args: Any, device: str | None, **kwargs: Any) -> Any:
        with loading():
            from betafold_mlx.device import use_device

        use_device(device)
        _advise()
        return command(*args, **kwargs)

    return run


def _advise() -> None:
    global _advised
    from betafold_mlx.device import advice

    text = advice()
    if text and not _advised:
        click.echo(f"betafold-mlx: {text}", err=True)
    _advised = True
