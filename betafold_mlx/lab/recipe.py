"""The package's training recipe with one setting changed: its parts, dropout, warm-up, weight decay, depth."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from betafold_mlx.lab.comparison import draw_curves, folded_report, rows_of_runs, usual_report
from betafold_mlx.lab.runner import Finding, Lab, LabReport, Picture
from betafold_mlx.lab.series import TrainedRun, Variant, base_config, changed, train_series
from betafold_mlx.lab.statistics import found, interval_text, mean_interval
from betafold_mlx.train.training_config import TrainConfig

BASELINE = "the recipe"
SHAPES = ((1, 8), (2, 8), (4, 8), (6, 8), (4, 4))  # layers, heads
LOSS = "ramachandran_loss"


def run_recipe(lab: Lab) -> LabReport:
    """Train the bundled model's recipe, and each change of it."""
    variants = [Variant(name, config) for name, config in changes(base_config(lab.budget)).items()]
    series = train_series(lab, variants)
    report = folded_report(lab, series, {BASELINE: [name for name in series if name != BASELINE]})
    report.notes.insert(
        0,
        "Folding draws on all that the network says, so a head without a loss gives it noise: without the distogram, "
        "restraints of an untrained head. All variants get the stated chemistry.",
    )
    return report


def changes(base: TrainConfig) -> dict[str, TrainConfig]:
    """Return the settings of each variant."""
    loss, sampler = (functools.partial(changed, base, part) for part in ("loss", "sampler"))
    return {
        BASELINE: base,
        "no distogram": loss(distogram=0.0),
        "no dRMSD": loss(drmsd=0.0),
        "no phi/psi density": loss(ramachandran=0.0),
        "bonds never told": sampler(unstated_disulfides=1.0, unstated_ring=1.0),
        "a share for disulfides": sampler(disulfide_share=0.15),
        "chains only": sampler(peptide_share=0.0),
        "peptides only": sampler(peptide_share=1.0),
        "substitutions": sampler(substitutions=0.3),
    }


def run_dropout(lab: Lab) -> LabReport:
    """Train with each rate of dropout."""
    base = base_config(lab.budget)
    variants = [
        Variant(f"dropout {rate}", changed(base, "network", dropout=rate)) for rate in (0.0, 0.1, 0.3)
    ]
    return usual_report(train_series(lab, variants), "dropout 0.1", "Dropout")


def run_schedule(lab: Lab) -> LabReport:
    """Train without the warm-up, without weight decay, and with ten times as much."""
    base = base_config(lab.budget)
    baseline = Variant("warm-up and decay 0.05", base)
    variants = [
        baseline,
        Variant("no warm-up", dataclasses.replace(base, warmup=0)),
        Variant("no weight decay", dataclasses.replace(base, weight_decay=0.0)),
        Variant("weight decay 0.5", dataclasses.replace(base, weight_decay=0.5)),
    ]
    return usual_report(train_series(lab, variants), baseline.name, "Schedule")


def run_depth(lab: Lab) -> LabReport:
    """Train each shape on a fixed number of windows, few on purpose."""
    base = base_config(lab.budget, fixed_windows=True)
    variants = [
        Variant(
            f"{layers} layer{'s' * (layers > 1)} of {heads} heads",
            changed(base, "network", layers=layers, heads=heads),
        )
        for layers, heads in SHAPES
    ]
    series = train_series(lab, variants)
    report = usual_report(series, "4 layers of 8 heads", "Depth")
    report.findings += [_gap(name, runs) for name, runs in series.items()]
    report.tables["overfitting"] = rows_of_runs(
        series,
        lambda run: [
            {
                "overfitting after step": onset(run),
                "best validation loss (nats)": min(point["validation"][LOSS] for point in run.curve),
                "last validation loss (nats)": run.curve[-1]["validation"][LOSS],
                "last training loss (nats)": run.curve[-1]["train"][LOSS],
            }
        ],
    )
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
    verdict = f"{name}: Ramachandran loss, validation - training: {interval_text(interval, 'nats')}; {when}."
    return found(f"validation - training Ramachandran loss, {name}", "nats", interval, verdict)
