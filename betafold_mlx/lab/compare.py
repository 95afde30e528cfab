"""What experiments that train have in common: variants against a baseline, seed by seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from betafold_mlx.lab.experiment import Finding, Outcome, Picture
from betafold_mlx.lab.figures import COLOURS, MARKS, new_figure, styled
from betafold_mlx.lab.series import Series
from betafold_mlx.lab.statistics import compared, paired_difference

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


Runs = Mapping[str, Sequence[Any]]
"""Name of a variant -> its runs, of any kind of network, one a `seed`."""


class Measure(NamedTuple):
    """A figure of a run; of a `quality`, less is better."""

    name: str
    unit: str
    of: Callable[[Any], float]
    quality: bool = True


RMSD = Measure("backbone RMSD", "Å", lambda run: run.mean("rmsd"))
PSI = Measure("psi error", "°", lambda run: run.mean("psi_error"))
PHI = Measure("phi error", "°", lambda run: run.mean("phi_error"))
DISTOGRAM = Measure("distogram loss", "nats", lambda run: run.mean("distogram_loss"))
USUAL = (RMSD, PHI, PSI, DISTOGRAM)

INTERVALS = (
    "The intervals are Student's over paired seeds, each by itself: of twenty comparisons that mean nothing, one looks "
    "like a difference."
)


def findings(series: Runs, baseline: str, measures: Sequence[Measure] = USUAL) -> list[Finding]:
    """Return the verdict on each variant against the baseline, by each measure."""
    return [
        compared(
            name,
            baseline,
            measure.name,
            measure.unit,
            paired_difference(
                [measure.of(run) for run in runs], [measure.of(run) for run in series[baseline]]
            ),
            measure.quality,
        )
        for measure in measures
        for name, runs in series.items()
        if name != baseline
    ]


def run_rows(series: Runs, measures: Sequence[Measure] = USUAL) -> list[dict[str, Any]]:
    """Return a table of all runs."""
    return [
        {
            "variant": name,
            "seed": run.seed,
            **{f"{measure.name} ({measure.unit})": measure.of(run) for measure in measures},
        }
        for name, runs in series.items()
        for run in runs
    ]


def curve_rows(series: Series) -> list[dict[str, Any]]:
    """Return a table of all evaluations."""
    columns = ("score", "psi_mae", "ramachandran_loss", "distogram_loss")
    return [
        {
            "variant": name,
            "seed": run.seed,
            "step": point["step"],
            **{f"{of}_{column}": point[of][column] for of in ("train", "validation") for column in columns},
        }
        for name, runs in series.items()
        for run in runs
        for point in run.curve
    ]


def outcome(series: Series, baseline: str, subject: str) -> Outcome:
    """Return the usual findings, tables and pictures."""
    return Outcome(
        findings=findings(series, baseline),
        tables={"runs": run_rows(series), "curves": curve_rows(series)},
        pictures={
            "runs": Picture(
                draw_runs(series, (RMSD, PSI)),
                f"{subject}: validation structures after training. Each mark is a seed, the bar their mean.",
            ),
            "curves": Picture(
                draw_curves(series),
                "Mean backbone RMSD on validation structures (solid) and training windows (dashed); "
                "bands span the seeds.",
            ),
        },
        notes=[
            f"The structures are those that the network's torsions build, without refinement. {INTERVALS}"
        ],
    )


@styled
def draw_runs(series: Runs, measures: Sequence[Measure]) -> Figure:
    """Draw each run as a mark, variants below each other."""
    figure = new_figure(3.6 * len(measures) + 1.4, 1.1 + 0.45 * len(series))
    axes = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
    for axis, measure in zip(axes, measures, strict=True):
        for row, runs in enumerate(series.values()):
            marks(axis, row, [measure.of(run) for run in runs])
        axis.set_yticks(range(len(series)), list(series))
        axis.set_ylim(len(series) - 0.5, -0.5)
        axis.set_xlabel(f"{measure.name} ({measure.unit})")
        axis.locator_params(axis="x", nbins=6)
        axis.grid(axis="x", color="0.9")
        axis.set_axisbelow(True)
    return figure


def marks(axis: Axes, row: int, values: Sequence[float]) -> None:
    """Draw the repeats of a variant, and a bar at their mean."""
    colour = COLOURS[row % len(COLOURS)]
    axis.plot(
        values,
        [row] * len(values),
        MARKS[row % len(MARKS)],
        color=colour,
        alpha=0.7,
        ms=6,
        mec="white",
        mew=0.5,
    )
    axis.plot([np.mean(values)] * 2, [row - 0.3, row + 0.3], color=colour, lw=2)


@styled
def draw_curves(series: Series, figure_of: str = "score", label: str = "mean backbone RMSD (Å)") -> Figure:
    """Draw what became of training and validation structures on the way, variants side by side."""
    columns = min(4, len(series))
    rows = -(-len(series) // columns)
    figure = new_figure(2.3 * columns + 0.8, 2.2 * rows + 0.5)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for number, axis in enumerate(axes.flat):
        if number >= len(series):
            axis.set_visible(False)
            continue
        name, runs = list(series.items())[number]
        for of, colour, line in (("validation", COLOURS[0], "-"), ("train", COLOURS[1], "--")):
            steps = [point["step"] for point in runs[0].curve]
            values = np.array([[point[of][figure_of] for point in run.curve] for run in runs])
            axis.plot(steps, values.mean(axis=0), line, color=colour, label=of)
            axis.fill_between(steps, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.2, lw=0)
        axis.set_title(name)
        if number + columns >= len(series):
            axis.set_xlabel("training step")
            axis.tick_params(labelbottom=True)
    for axis in axes[:, 0]:
        axis.set_ylabel(label, fontsize=8)
    axes.flat[0].legend()
    return figure
