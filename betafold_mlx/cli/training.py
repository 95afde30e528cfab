"""Training runs, and the caches that they read, with their progress on standard error."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from betafold_mlx.cli.progress import Progress, say
from betafold_mlx.data.fill import FillReporter

if TYPE_CHECKING:
    from betafold_mlx.train.run import Run


def run_with_progress(run: Run, decimals: int = 2) -> None:
    """Train, showing validation figures with so many decimals, and exit with 130 where it was interrupted."""
    with Progress("steps", run.config.steps, done=run.progress.step) as progress:

        def report(figures: dict[str, Any]) -> None:
            if "validation" in figures:
                values = (f"{name} {value:.{decimals}f}" for name, value in figures["validation"].items())
                print(f"step {figures['step']}: {'  '.join(values)}", file=sys.stderr)
            else:
                progress.advance(1, f"loss {figures['loss']:.3f}")

        finished = run.run(report)
    if not finished:
        if run.ranks.main:
            at = f"stopped at step {run.progress.step} of {run.config.steps}"
            print(f"{at}: continue with --resume", file=sys.stderr)
        sys.exit(130)


class ShownFilling(Progress, FillReporter):
    """Shows how a cache of embeddings is filled."""

    def begin(self, sequences: int) -> None:
        """Count from here."""
        self.restart(0, sequences)

    def say(self, text: str) -> None:
        """Print it."""
        say(text)
