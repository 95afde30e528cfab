"""With and without the distance head: gradients, noise, accuracy, and structures that break."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from betafold_mlx.lab.compare import USUAL, Measure, findings, outcome, run_rows
from betafold_mlx.lab.experiment import Finding, Lab, Outcome, Picture
from betafold_mlx.lab.figures import COLOURS, MARKS, new_figure, styled
from betafold_mlx.lab.series import Run, Series, train_series
from betafold_mlx.lab.statistics import mean_interval, rank_correlation, words
from betafold_mlx.lab.variants import Variant, base_config

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BASELINE = "with distances"


def noise(run: Run, column: str = "torsion_loss") -> float:
    """Return how much a loss jumps from step to step in the second half of a run.

    The standard deviation of the differences of neighbours over the square root of two: that of the noise, where the
    trend is slow (J. von Neumann et al., Ann. Math. Stat. 12, 153 (1941)).
    """
    values = np.array([step[column] for step in run.steps[len(run.steps) // 2 :]])
    return float(np.diff(values).std() / np.sqrt(2)) if len(values) > 2 else float("nan")


def trunk_gradient(run: Run) -> float:
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


def run(lab: Lab) -> Outcome:
    """Train with and without the loss of the distance head."""
    base = base_config(lab.budget)
    without = dataclasses.replace(base, loss=dataclasses.replace(base.loss, distogram=0.0))
    series = train_series(lab, [Variant(BASELINE, base), Variant("without", without)])
    result = outcome(series, BASELINE, "Distance head")
    result.findings = findings(series, BASELINE, MEASURES)
    result.findings.append(_link(series[BASELINE]))
    result.tables["runs"] = run_rows(series, MEASURES)
    result.tables["items"] = [
        {"variant": name, "seed": run.seed, **row}
        for name, runs in series.items()
        for run in runs
        for row in run.items
    ]
    result.pictures["distances"] = Picture(
        draw(series),
        "Left: backbone RMSD against the distance head's loss for each validation structure of the first seed; the "
        "head without a loss knows nothing. Right: the torsion loss of each step, every seed.",
    )
    result.notes.append(
        "Ends run away where they are predicted 10 Å further apart than they are; structures overlap where two CA "
        "atoms three residues apart or more come within 3 Å. A gradient is that of all losses that the variant has, so "
        "less of it is not in itself better."
    )
    return result


def _link(runs: list[Run]) -> Finding:
    """Correlate the distance head's loss with the RMSD, structure by structure."""
    columns = [
        [np.array([row[name] for row in run.items]) for name in ("distogram_loss", "rmsd")] for run in runs
    ]
    found = mean_interval([rank_correlation(*pair) for pair in columns])
    judged = {
        1: "worse distances go with worse structures",
        0: "no link seen",
        -1: "worse distances go with better ones",
    }
    verdict = f"distogram loss and RMSD, rank correlation over structures: {words(found, '')}: {judged[found.sign]}."
    return Finding("rank correlation of distogram loss and RMSD", "", *found[:4], verdict)


@styled
def draw(series: Series) -> Figure:
    """Draw the link between distances and structures, and the losses."""
    figure = new_figure(8.6, 3.4)
    left, right = figure.subplots(1, 2)
    for number, (name, runs) in enumerate(series.items()):
        colour = COLOURS[number]
        rows = runs[0].items
        left.plot(
            [row["distogram_loss"] for row in rows],
            [row["rmsd"] for row in rows],
            MARKS[number],
            color=colour,
            ms=4,
            alpha=0.6,
            mew=0,
            label=name,
        )
        for index, run in enumerate(runs):
            steps = [step["step"] for step in run.steps]
            losses = [step["torsion_loss"] for step in run.steps]
            right.plot(steps, losses, color=colour, lw=0.7, alpha=0.7, label=name if index == 0 else None)
    left.set_xlabel("distogram loss (nats)")
    left.set_ylabel("backbone RMSD (Å)")
    right.set_xlabel("training step")
    right.set_ylabel("torsion loss")
    right.set_ylim(0, 1)  # the first steps fall from above
    for axis in (left, right):
        axis.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=len(series))
    return figure
