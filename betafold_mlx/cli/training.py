"""A training run on a terminal: a bar of its steps, and a line for each evaluation."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from betafold_mlx.cli.terminal import is_live

if TYPE_CHECKING:
    from betafold_mlx.train.run import Run


def run_with_bar(run: Run, decimals: int = 2) -> bool:
    """Train, and show how it goes on stderr; return what `Run.run` returns.

    Parameters
    ----------
    run : Run
        What to train.
    decimals : int
        Of the validation figures.
    """
    start = run.progress.step
    with click.progressbar(
        length=run.config.steps - start,
        label="training",
        file=sys.stderr,
        show_eta=True,
        show_pos=True,
        item_show_func=lambda item: item,
        hidden=not is_live(sys.stderr),
    ) as bar:

        def report(figures: dict[str, Any]) -> None:
            if "validation" in figures:
                shown = "  ".join(
                    f"{name} {value:.{decimals}f}" for name, value in figures["validation"].items()
                )
                click.echo(f"\nstep {figures['step']}: {shown}", err=True)
            else:
                done = figures["step"] - start
                rate = done / max(bar.last_eta - bar.start, 1e-9) if done > 1 else 0.0
                bar.update(1, f"loss {figures['loss']:.3f}  {rate:.2f} steps/s")

        return run.run(report)
