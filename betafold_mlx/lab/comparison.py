"""Variants against a baseline, seed by seed: findings, tables and figures of the experiments that train."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from betafold_mlx.evaluate.items import split_items
from betafold_mlx.lab.answers import Chosen
from betafold_mlx.lab.drawing import COLOURS, draw_band, draw_repeats, panel_figure
from betafold_mlx.lab.runner import Finding, Lab, LabReport, Picture, Row
from betafold_mlx.lab.series import Series
from betafold_mlx.lab.statistics import compared, paired_difference, seeds_and_clusters

Runs = Mapping[str, Sequence[Any]]  # name of a variant -> its runs, of any kind of network, one a `seed`


class Measure(NamedTuple):
    """A figure of a run."""

    name: str
    unit: str
    of: Callable[[Any], float]
    quality: bool = True  # less is better

    @property
    def title(self) -> str:
        """The name with its unit."""
        return f"{self.name} ({self.unit})"


class Column(NamedTuple):
    """A column of the rows of structures (`betafold_mlx.lab.answers`), and the rows whose mean is asked for."""

    name: str
    unit: str
    column: str
    chosen: Chosen = lambda row: True

    @property
    def measure(self) -> Measure:
        """The same as a figure of a run."""
        return Measure(self.name, self.unit, lambda run: run.mean(self.column, self.chosen))


_PARTS: dict[str, Chosen] = {
    "fragments": lambda row: row["kind"] == "fragment",
    "peptides": lambda row: row["kind"] != "fragment",
    "bonded peptides and fragments": lambda row: row["chemistry"] != "linear",
}
COLUMNS = (
    Column("backbone RMSD after folding", "Å", "folded_rmsd"),
    *(Column(f"backbone RMSD of {name} after folding", "Å", "folded_rmsd", _PARTS[name]) for name in _PARTS),
    Column("backbone RMSD", "Å", "rmsd"),
    Column("phi error", "°", "phi_error"),
    Column("psi error", "°", "psi_error"),
)
FOLDED, *_, RMSD, PHI, PSI = (column.measure for column in COLUMNS)
DISTOGRAM = Column("distogram loss", "nats", "distogram_loss").measure
USUAL = (RMSD, PHI, PSI, DISTOGRAM)
FOLDED_LDDT = Measure(
    "CA-lDDT after folding", "points", lambda run: 100 * run.mean("folded_lddt"), quality=False
)
INTERVALS = (
    "The intervals are Student's over paired seeds, each by itself: of twenty comparisons that mean nothing, one looks "
    "like a difference."
)
BOTH_INTERVALS = (
    "The intervals hold for other seeds and for other structures: Student's over paired seeds and a bootstrap over "
    "clusters of structures, added in quadrature. Each stands by itself: of twenty comparisons that mean nothing, one "
    "looks like a difference."
)


def findings(series: Runs, baseline: str, measures: Sequence[Measure] = USUAL) -> list[Finding]:
    """Return the verdict on each variant against the baseline, by each measure."""
    return [
        difference(series, name, baseline, measure)
        for measure in measures
        for name in series
        if name != baseline
    ]


def difference(series: Runs, name: str, baseline: str, measure: Measure) -> Finding:
    """Return the verdict on a variant against another one."""
    values, others = ([measure.of(run) for run in series[which]] for which in (name, baseline))
    return compared(
        name, baseline, measure.name, measure.unit, paired_difference(values, others), measure.quality
    )


def rows_of_runs(series: Runs, rows: Callable[[Any], Iterable[Row]]) -> list[Row]:
    """Return a table of all runs, each with the rows that the function makes of it."""
    return [
        {"variant": name, "seed": run.seed, **row}
        for name, runs in series.items()
        for run in runs
        for row in rows(run)
    ]


def run_rows(series: Runs, measures: Sequence[Measure] = USUAL) -> list[Row]:
    """Return a table of all runs, a row each."""
    return rows_of_runs(series, lambda run: [{measure.title: measure.of(run) for measure in measures}])


def curve_rows(series: Series) -> list[Row]:
    """Return a table of all evaluations."""
    columns = ("score", "psi_mae", "ramachandran_loss", "distogram_loss")
    figures = [(of, column) for of in ("train", "validation") for column in columns]
    return rows_of_runs(
        series,
        lambda run: (
            {"step": point["step"], **{f"{of}_{column}": point[of][column] for of, column in figures}}
            for point in run.curve
        ),
    )


def usual_report(series: Series, baseline: str, subject: str) -> LabReport:
    """Return the findings, tables and pictures that most experiments have."""
    return LabReport(
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


def folded_report(lab: Lab, series: Series, baselines: Mapping[str, Sequence[str]]) -> LabReport:
    """Return a report of what folding makes of the networks' answers, with intervals for seeds and structures.

    `baselines`: name of a baseline -> the variants to compare with it.
    """
    clusters = [item.cluster for item in split_items(lab.small_dataset, "validation", lab.budget.items)]
    report = usual_report(series, next(iter(baselines)), "Folding")
    report.findings = [
        one
        for baseline, names in baselines.items()
        for one in _column_findings(series, names, baseline, np.array(clusters), lab.seed)
    ]
    report.tables["runs"] = run_rows(series, [column.measure for column in COLUMNS])
    report.pictures["runs"] = Picture(
        draw_runs(series, (FOLDED, PSI)),
        "Validation structures as `fold` makes them, and the psi error of the network's own torsions. Each mark is a "
        "seed, the bar their mean.",
    )
    report.notes = [BOTH_INTERVALS]
    return report


def _column_findings(
    series: Series, names: Sequence[str], baseline: str, clusters: np.ndarray, seed: int
) -> list[Finding]:
    found = []
    for column in COLUMNS:
        rows = [place for place, row in enumerate(series[baseline][0].items) if column.chosen(row)]
        if rows:
            values = {
                name: np.array([[run.items[place][column.column] for place in rows] for run in series[name]])
                for name in (baseline, *names)
            }
            for name in names:
                interval = seeds_and_clusters(values[name], values[baseline], clusters[rows], seed)
                found.append(compared(name, baseline, column.name, column.unit, interval))
    return found


def draw_runs(series: Runs, measures: Sequence[Measure]) -> Figure:
    """Draw each run as a mark, variants below each other, measures side by side."""
    figure, axes = panel_figure(len(measures), len(measures), 3.6, 0.6 + 0.45 * len(series), sharey=True)
    for axis, measure in zip(axes, measures, strict=True):
        values = {name: [measure.of(run) for run in runs] for name, runs in series.items()}
        draw_repeats(axis, values, measure.title)
    return figure


def draw_curves(series: Series, figure_of: str = "score", label: str = "mean backbone RMSD (Å)") -> Figure:
    """Draw what became of training and validation structures on the way, variants side by side."""
    figure, axes = panel_figure(len(series), 4, 2.3, 2.2, sharex=True, sharey=True)
    for axis, (name, runs) in zip(axes, series.items(), strict=True):
        steps = [point["step"] for point in runs[0].curve]
        for of, colour, line in (("validation", COLOURS[0], "-"), ("train", COLOURS[1], "--")):
            values = np.array([[point[of][figure_of] for point in run.curve] for run in runs])
            draw_band(axis, steps, values, colour, line, label=of)
        axis.set(title=name, xlabel="training step")
        axis.tick_params(labelbottom=True)
    for axis in axes[::4]:
        axis.set_ylabel(label, fontsize=8)
    axes[0].legend()
    return figure
