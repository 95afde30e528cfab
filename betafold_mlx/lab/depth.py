"""Depth and heads: training and validation curves on few windows, and when overfitting sets in."""

from __future__ import annotations

import numpy as np

from betafold_mlx.lab.comparison import draw_curves, usual_report
from betafold_mlx.lab.runner import Finding, Lab, LabReport, Picture
from betafold_mlx.lab.series import TrainedRun, Variant, base_config, train_series, with_network
from betafold_mlx.lab.statistics import found, mean_interval, words

BASELINE = "4 layers of 8 heads"
SHAPES = ((1, 8), (2, 8), (4, 8), (6, 8), (4, 4))
"""Layers, heads."""
LOSS = "ramachandran_loss"


def run(lab: Lab) -> LabReport:
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
    report = usual_report(series, BASELINE, "Depth")
    report.findings += [_gap(name, runs) for name, runs in series.items()]
    report.tables["overfitting"] = [
        {
            "variant": name,
            "seed": run.seed,
            "overfitting after step": onset(run),
            "best validation loss (nats)": min(point["validation"][LOSS] for point in run.curve),
            "last validation loss (nats)": run.curve[-1]["validation"][LOSS],
            "last training loss (nats)": run.curve[-1]["train"][LOSS],
        }
        for name, runs in series.items()
        for run in runs
    ]
    report.pictures["losses"] = Picture(
        draw_curves(series, LOSS, "Ramachandran loss (nats)"),
        "Negative log density of phi and psi on validation structures (solid) and training windows (dashed); bands "
        "span the seeds. Where the dashed line goes on falling and the solid one rises, the network overfits.",
    )
    report.notes.append(f"Trained on {lab.budget.windows} fixed windows and the whole training peptides.")
    return report


def onset(run: TrainedRun) -> int | None:
    """Return the step of the lowest validation loss where training went on to improve afterwards, else None."""
    validation, training = ([point[of][LOSS] for point in run.curve] for of in ("validation", "train"))
    best = int(np.argmin(validation))
    if best == len(validation) - 1 or training[-1] >= training[best]:
        return None
    return int(run.curve[best]["step"])


def _gap(name: str, runs: list[TrainedRun]) -> Finding:
    """Measure how much worse validation is than training at the end, and say when it began to rise."""
    last = [run.curve[-1] for run in runs]
    interval = mean_interval([end["validation"][LOSS] - end["train"][LOSS] for end in last])
    seen = [step for run in runs if (step := onset(run)) is not None]
    when = (
        f"overfitting sets in after step {min(seen)} at the earliest, in {len(seen)} of {len(runs)} runs"
        if seen
        else f"no overfitting seen in {last[0]['step']} steps"
    )
    verdict = f"{name}: Ramachandran loss, validation - training: {words(interval, 'nats')}; {when}."
    return found(f"validation - training Ramachandran loss, {name}", "nats", interval, verdict)
