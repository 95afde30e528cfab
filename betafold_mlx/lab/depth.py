"""Depth and heads: training and validation curves on few windows, and when overfitting sets in."""

from __future__ import annotations

from typing import Any

import numpy as np

from betafold_mlx.lab.compare import draw_curves, outcome
from betafold_mlx.lab.experiment import Finding, Lab, Outcome, Picture
from betafold_mlx.lab.series import Run, Series, train_series
from betafold_mlx.lab.statistics import mean_interval, words
from betafold_mlx.lab.variants import Variant, base_config, with_network

BASELINE = "4 layers of 8 heads"
SHAPES = ((1, 8), (2, 8), (4, 8), (6, 8), (4, 4))
"""Layers, heads."""


def run(lab: Lab) -> Outcome:
    """Train each shape on a fixed number of windows, few on purpose."""
    base = base_config(lab.budget, fixed_windows=True)
    variants = [
        Variant(
            f"{layers} layer{'s' * (layers > 1)} of {heads} heads",
            with_network(base, layers=layers, heads=heads),
        )
        for layers, heads in SHAPES
    ]
    series = train_series(lab, variants)
    result = outcome(series, BASELINE, "Depth")
    result.findings += [_gap(name, runs) for name, runs in series.items()]
    result.tables["overfitting"] = _onset_rows(series)
    result.pictures["losses"] = Picture(
        draw_curves(series, "ramachandran_loss", "Ramachandran loss (nats)"),
        "Negative log density of phi and psi on validation structures (solid) and training windows (dashed); bands "
        "span the seeds. Where the dashed line goes on falling and the solid one rises, the network overfits.",
    )
    result.notes.append(f"Trained on {lab.budget.windows} fixed windows and the whole training peptides.")
    return result


def onset(run: Run, figure: str = "ramachandran_loss") -> int | None:
    """Return the step of the lowest validation loss where training went on to improve afterwards, else None."""
    validation = [point["validation"][figure] for point in run.curve]
    training = [point["train"][figure] for point in run.curve]
    best = int(np.argmin(validation))
    if best == len(validation) - 1 or training[-1] >= training[best]:
        return None
    return int(run.curve[best]["step"])


def _gap(name: str, runs: list[Run]) -> Finding:
    """Measure how much worse validation is than training at the end, and say when it began to rise."""
    figure = "ramachandran_loss"
    ends = [run.curve[-1] for run in runs]
    found = mean_interval([end["validation"][figure] - end["train"][figure] for end in ends])
    onsets = [onset(run) for run in runs]
    seen = [step for step in onsets if step is not None]
    when = (
        f"overfitting sets in after step {min(seen)} at the earliest, in {len(seen)} of {len(runs)} runs"
        if seen
        else f"no overfitting seen in {runs[0].curve[-1]['step']} steps"
    )
    verdict = f"{name}: Ramachandran loss, validation - training: {words(found, 'nats')}; {when}."
    measure = f"validation - training Ramachandran loss, {name}"
    return Finding(measure, "nats", found.mean, found.low, found.high, found.repeats, verdict)


def _onset_rows(series: Series) -> list[dict[str, Any]]:
    return [
        {
            "variant": name,
            "seed": run.seed,
            "overfitting after step": onset(run),
            "best validation loss (nats)": min(p["validation"]["ramachandran_loss"] for p in run.curve),
            "last validation loss (nats)": run.curve[-1]["validation"]["ramachandran_loss"],
            "last training loss (nats)": run.curve[-1]["train"]["ramachandran_loss"],
        }
        for name, runs in series.items()
        for run in runs
    ]
