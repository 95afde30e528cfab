"""With and without the distance head: gradients, noise, accuracy, and structures that break."""

from __future__ import annotations

import dataclasses

import numpy as np
from matplotlib.figure import Figure

from betafold_mlx.evaluate.reliability import spearman
from betafold_mlx.lab.comparison import USUAL, Measure, findings, run_rows, usual_report
from betafold_mlx.lab.drawing import COLOURS, MARKS, panels
from betafold_mlx.lab.runner import Finding, Lab, LabReport, Picture
from betafold_mlx.lab.series import Series, TrainedRun, Variant, base_config, train_series
from betafold_mlx.lab.statistics import found, mean_interval, words

BASELINE = "with distances"


def noise(run: TrainedRun, column: str = "torsion_loss") -> float:
    """Return how much a loss jumps from step to step in the second half of a run.

    The standard deviation of the differences of neighbours over the square root of two: that of the noise, where the
    trend is slow (J. von Neumann et al., Ann. Math. Stat. 12, 153 (1941)).
    """
    values = np.array([step[column] for step in run.steps[len(run.steps) // 2 :]])
    return float(np.diff(values).std() / np.sqrt(2)) if len(values) > 2 else float("nan")


def trunk_gradient(run: TrainedRun) -> float:
    """Return the gradient norm of all blocks together, mean over the evaluations after the start."""
    norms = [
        np.sqrt(sum(value**2 for name, value in point["norms"].items() if name.startswith("block")))
        for point in run.gradients[1:]
    ]
    return float(np.mean(norms))


MEASURES = (
    *USUAL[:3],
    Measure("structures with ends that run away", "%", lambda run: 100 * run.mean("runaway")),
    Measure("structures that overlap", "%", lambda run: 100 * run.mean("clash")),
    Measure("noise of the torsion loss", "", noise, quality=False),
    Measure("gradient norm of the blocks", "", trunk_gradient, quality=False),
)


def run(lab: Lab) -> LabReport:
    """Train with and without the loss of the distance head."""
    base = base_config(lab.budget)
    without = dataclasses.replace(base, loss=dataclasses.replace(base.loss, distogram=0.0))
    series = train_series(lab, [Variant(BASELINE, base), Variant("without", without)])
    report = usual_report(series, BASELINE, "Distance head")
    report.findings = [*findings(series, BASELINE, MEASURES), _link(series[BASELINE])]
    report.tables["runs"] = run_rows(series, MEASURES)
    report.tables["items"] = [
        {"variant": name, "seed": run.seed, **row}
        for name, runs in series.items()
        for run in runs
        for row in run.items
    ]
    report.pictures["distances"] = Picture(
        draw(series),
        "Left: backbone RMSD against the distance head's loss for each validation structure of the first seed; the "
        "head without a loss knows nothing. Right: the torsion loss of each step, every seed.",
    )
    report.notes.append(
        "Ends run away where they are predicted 10 Å further apart than they are; structures overlap where two CA "
        "atoms three residues apart or more come within 3 Å. A gradient is that of all losses that the variant has, so "
        "less of it is not in itself better."
    )
    return report


def _link(runs: list[TrainedRun]) -> Finding:
    """Correlate the distance head's loss with the RMSD, structure by structure."""
    interval = mean_interval(
        [
            spearman(*(np.array([row[of] for row in run.items]) for of in ("distogram_loss", "rmsd")))
            for run in runs
        ]
    )
    judged = {
        1: "worse distances go with worse structures",
        0: "no link seen",
        -1: "worse distances go with better ones",
    }[interval.sign]
    verdict = f"distogram loss and RMSD, rank correlation over structures: {words(interval, '')}: {judged}."
    return found("rank correlation of distogram loss and RMSD", "", interval, verdict)


def draw(series: Series) -> Figure:
    """Draw the link between distances and structures, and the losses."""
    figure, (left, right) = panels(2, 2, 3.9, 2.9)
    for number, (name, runs) in enumerate(series.items()):
        points = [[row[of] for row in runs[0].items] for of in ("distogram_loss", "rmsd")]
        left.plot(*points, MARKS[number], color=COLOURS[number], ms=4, alpha=0.6, mew=0, label=name)
        for index, run in enumerate(runs):
            losses = [[step[of] for step in run.steps] for of in ("step", "torsion_loss")]
            right.plot(*losses, color=COLOURS[number], lw=0.7, alpha=0.7, label=name if index == 0 else None)
    left.set(xlabel="distogram loss (nats)", ylabel="backbone RMSD (Å)")
    right.set(xlabel="training step", ylabel="torsion loss", ylim=(0, 1))  # the first steps fall from above
    for axis in (left, right):
        axis.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=len(series))
    return figure
