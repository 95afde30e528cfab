"""Parts of the network: the place of the LayerNorm, positions, the distance head."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from betafold_mlx.evaluate.groups import LENGTHS
from betafold_mlx.evaluate.reliability import spearman
from betafold_mlx.lab.answers import Chosen
from betafold_mlx.lab.comparison import (
    USUAL,
    Column,
    Measure,
    difference,
    findings,
    rows_of_runs,
    run_rows,
    usual_report,
)
from betafold_mlx.lab.drawing import BESIDE, COLOURS, MARKS, draw_bars, draw_repeats, panel_figure
from betafold_mlx.lab.runner import Finding, Lab, LabReport, Picture, Row
from betafold_mlx.lab.series import Series, TrainedRun, Variant, base_config, changed, train_series
from betafold_mlx.lab.statistics import found, interval_text, mean_interval

WITH_HEAD = "with distances"


def run_norm(lab: Lab) -> LabReport:
    """Train with both, and measure the gradient of each block at the start and on the way."""
    base = base_config(lab.budget)
    series = train_series(
        lab, [Variant("pre-LN", base), Variant("post-LN", changed(base, "network", norm="post"))]
    )
    report = usual_report(series, "pre-LN", "Place of the LayerNorm")
    report.findings += [_balance(name, runs) for name, runs in series.items() if _blocks(runs[0]) > 1]
    report.tables["gradients"] = rows_of_runs(
        series,
        lambda run: (
            {"step": point["step"], "part": part, "gradient norm": value}
            for point in run.gradients
            for part, value in point["norms"].items()
        ),
    )
    report.pictures["gradients"] = Picture(
        draw_block_gradients(series),
        "Norm of the gradient in each block on one batch without dropout, before the first step and at each "
        "evaluation; mean over the seeds, bars span them.",
    )
    return report


def _blocks(run: TrainedRun) -> int:
    return sum(name.startswith("block") for name in run.gradients[0]["norms"])


def _balance(name: str, runs: Sequence[TrainedRun]) -> Finding:
    """Compare the last block's gradient with the first one's before any step: equal in a well-conditioned stack."""
    norms = [run.gradients[0]["norms"] for run in runs]
    ratios = [math.log2(one[f"block {_blocks(runs[0])}"] / one["block 1"]) for one in norms]
    interval = mean_interval(ratios)
    verdict = (
        f"{name}, before the first step: log2 of the last block's gradient norm over the first one's: "
        f"{interval_text(interval, '')}."
    )
    return found(f"log2 gradient ratio last/first block, {name}", "", interval, verdict)


def draw_block_gradients(series: Series) -> Figure:
    """Draw the gradient norm of each part over the steps, a panel a variant."""
    figure, axes = panel_figure(len(series), len(series), 3.8, 2.7, sharey=True)
    for axis, (name, runs) in zip(axes, series.items(), strict=True):
        steps = [point["step"] for point in runs[0].gradients]
        for number, part in enumerate(runs[0].gradients[0]["norms"]):
            values = np.array([[point["norms"][part] for point in run.gradients] for run in runs])
            draw_bars(axis, steps, values.T, number, label=part)
        axis.set_yscale("log")
        axis.set(title=name, xlabel="training step")
    axes[0].set_ylabel("gradient norm")
    axes[-1].legend(**BESIDE)
    return figure


POSITIONS = "learned + ring-aware"
POSITION_KINDS = {
    POSITIONS: ("learned", True),
    "ring-aware": ("none", True),
    "learned": ("learned", False),
    "sinusoidal": ("sinusoidal", False),
    "none": ("none", False),
}
"""Absolute positions, and whether pairs get their ring-aware separation. All get the stated disulfides."""


def _between(low: int, high: int) -> Chosen:
    return lambda row: bool(low <= row["length"] <= high)


def _is(column: str, value: str) -> Chosen:
    return lambda row: bool(row[column] == value)


GROUPS: dict[str, Chosen] = {
    **{f"{low}-{high} residues": _between(low, high) for low, high in LENGTHS},
    **{name: _is("chemistry", name) for name in ("linear", "disulfide", "cyclic")},
    **{name: _is("class", name) for name in ("helical", "hairpin", "other")},
}


def run_positions(lab: Lab) -> LabReport:
    """Train with each kind of positions; compare by length, chemistry, fold, and place in the chain."""
    base = base_config(lab.budget)
    variants = [
        Variant(name, changed(base, "network", positions=positions, relative=relative))
        for name, (positions, relative) in POSITION_KINDS.items()
    ]
    series = train_series(lab, variants)
    report = usual_report(series, POSITIONS, "Positions")
    rows: list[Row] = []
    for group, (measure, count) in groups_of(series).items():
        for name, runs in series.items():
            against = difference(series, name, POSITIONS, measure)
            row = {"group": group, "structures": count, "variant": name}
            row["mean (Å)"] = sum(measure.of(run) for run in runs) / len(runs)
            rows.append(row | {"difference (Å)": against.value, "low": against.low, "high": against.high})
            if against.excludes_zero:
                report.findings.append(against)
    report.tables["groups"] = rows
    report.pictures["groups"] = Picture(
        draw_groups(series),
        "Backbone RMSD by length, chemistry and native fold, and mean deviation after superposition by place in the "
        "chain. Each mark is a seed, the bar their mean.",
    )
    report.notes.append(
        "None: neither attention nor the distance head can tell the order of residues. A group of few peptides says "
        "little: its size stands in groups.csv, and the seeds' spread does not hold that of the peptides."
    )
    return report


def groups_of(series: Series) -> dict[str, tuple[Measure, int]]:
    """Return the groups that have structures: name -> what is measured, and the number of structures."""
    items = series[POSITIONS][0].items
    found = {}
    for name, chosen in GROUPS.items():
        count = sum(map(chosen, items))
        if count:
            found[name] = Column(f"RMSD of {name} (n = {count})", "Å", "rmsd", chosen).measure, count
    for place in ("first_third", "middle_third", "last_third"):
        name = place.replace("_", " ")
        found[name] = Column(f"deviation of the {name} (n = {len(items)})", "Å", place).measure, len(items)
    return found


def draw_groups(series: Series) -> Figure:
    """Draw a panel a group."""
    shown = groups_of(series)
    figure, axes = panel_figure(len(shown), 3, 2.8, 1.7, sharey=True)
    for axis, (name, (measure, count)) in zip(axes, shown.items(), strict=True):
        values = {variant: [measure.of(run) for run in runs] for variant, runs in series.items()}
        draw_repeats(axis, values, measure.name.partition(" of ")[0] + " (Å)", f"{name} (n = {count})")
    return figure


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


HEAD_MEASURES = (
    *USUAL[:3],
    Measure("structures with ends that run away", "%", lambda run: 100 * run.mean("runaway")),
    Measure("structures that overlap", "%", lambda run: 100 * run.mean("clash")),
    Measure("noise of the torsion loss", "", noise, quality=False),
    Measure("gradient norm of the blocks", "", trunk_gradient, quality=False),
)


def run_distogram(lab: Lab) -> LabReport:
    """Train with and without the loss of the distance head."""
    base = base_config(lab.budget)
    variants = [Variant(WITH_HEAD, base), Variant("without", changed(base, "loss", distogram=0.0))]
    series = train_series(lab, variants)
    report = usual_report(series, WITH_HEAD, "Distance head")
    report.findings = [*findings(series, WITH_HEAD, HEAD_MEASURES), _link(series[WITH_HEAD])]
    report.tables["runs"] = run_rows(series, HEAD_MEASURES)
    report.tables["items"] = rows_of_runs(series, lambda run: run.items)
    report.pictures["distances"] = Picture(
        draw_link(series),
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
    columns = [
        [np.array([row[of] for row in run.items]) for of in ("distogram_loss", "rmsd")] for run in runs
    ]
    interval = mean_interval([spearman(*pair) for pair in columns])
    seen = ("no link seen", "worse distances go with worse structures", "worse distances go with better ones")
    judged = seen[interval.sign]  # 0, 1, or -1, the last
    verdict = (
        f"distogram loss and RMSD, rank correlation over structures: {interval_text(interval, '')}: {judged}."
    )
    return found("rank correlation of distogram loss and RMSD", "", interval, verdict)


def draw_link(series: Series) -> Figure:
    """Draw the link between distances and structures, and the losses."""
    figure, (left, right) = panel_figure(2, 2, 3.9, 2.9)
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
