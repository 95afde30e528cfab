"""A training run with its progress and evaluations on standard error."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from betafold_mlx.cli.progress import Progress

if TYPE_CHECKING:
    from betafold_mlx.train.run import Run


def run_with_progress(run: Run, decimals: int = 2) -> None:
    """Train, and exit with 130 where it was interrupted.

    Parameters
    ----------
    run : Run
        What to train.
    decimals : int
        Of the validation figures.
    """
    with Progress("steps", run.config.steps, done=run.progress.step) as progress:

        def report(figures: dict[str, Any]) -> None:
            if "validation" in figures:
                values = (f"{name} {value:.{decimals}f}" for name, value in figures["validation"].items())
                print(f"step {figures['step']}: {'  '.join(values)}", file=sys.stderr)
            else:
                progress.advance(1, f"loss {figures['loss']:.3f}")

        finished = run.run(report)
    if not finished:
        at = f"stopped at step {run.progress.step} of {run.config.steps}"
        print(f"{at}: go on with --resume", file=sys.stderr)
        sys.exit(130)
