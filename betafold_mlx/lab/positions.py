"""How the network is told where residues stand, and which peptides that helps."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from betafold_mlx.evaluate.groups import LENGTHS
from betafold_mlx.lab.compare import marks, outcome
from betafold_mlx.lab.experiment import Finding, Lab, Outcome, Picture
from betafold_mlx.lab.figures import new_figure, styled
from betafold_mlx.lab.series import Run, Series, train_series
from betafold_mlx.lab.statistics import compared, paired_difference
from betafold_mlx.lab.variants import Variant, base_config, with_network

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BASELINE = "learned + ring-aware"
VARIANTS = {
    BASELINE: ("learned", True),
    "ring-aware": ("none", True),
    "learned": ("learned", False),
    "sinusoidal": ("sinusoidal", False),
    "none": ("none", False),
}
"""Absolute positions, and whether pairs are told their ring-aware separation. Stated disulfides are told to all."""

_Row = dict[str, Any]


def _between(low: int, high: int) -> Callable[[_Row], bool]:
    return lambda row: bool(low <= row["length"] <= high)


def _is(column: str, value: str) -> Callable[[_Row], bool]:
    return lambda row: bool(row[column] == value)


GROUPS: dict[str, Callable[[_Row], bool]] = {
    **{f"{low}-{high} residues": _between(low, high) for low, high in LENGTHS},
    **{name: _is("chemistry", name) for name in ("linear", "disulfide", "cyclic")},
    **{name: _is("class", name) for name in ("helical", "hairpin", "other")},
}
PLACES = ("first_third", "middle_third", "last_third")


def run(lab: Lab) -> Outcome:
    """Train with each kind of positions; compare by length, chemistry, fold, and place in the chain."""
    base = base_config(lab.budget)
    variants = [
        Variant(name, with_network(base, positions=positions, relative=relative))
        for name, (positions, relative) in VARIANTS.items()
    ]
    series = train_series(lab, variants)
    result = outcome(series, BASELINE, "Positions")
    rows, groups = _group_rows(series)
    result.findings += groups
    result.tables["groups"] = rows
    result.pictures["groups"] = Picture(
        draw_groups(series),
        "Backbone RMSD by length, chemistry and native fold, and mean deviation after superposition by place in the "
        "chain. Each mark is a seed, the bar their mean.",
    )
    result.notes.append(
        "None: neither attention nor the distance head can tell the order of residues. A group of few peptides says "
        "little: its size stands in groups.csv, and the seeds' spread does not hold that of the peptides."
    )
    return result


def _value(run: Run, group: str) -> float:
    return run.mean(group) if group in PLACES else run.mean("rmsd", GROUPS[group])


def _group_rows(series: Series) -> tuple[list[_Row], list[Finding]]:
    """Return a table of the groups, and the differences that were seen."""
    rows, found = [], []
    baseline = series[BASELINE]
    for group in (*GROUPS, *PLACES):
        members = baseline[0].items if group in PLACES else [r for r in baseline[0].items if GROUPS[group](r)]
        if not members:
            continue
        measure = f"deviation of the {group.replace('_', ' ')}" if group in PLACES else f"RMSD of {group}"
        reference = [_value(run, group) for run in baseline]
        for name, runs in series.items():
            values = [_value(run, group) for run in runs]
            interval = paired_difference(values, reference)
            rows.append(
                {
                    "group": group,
                    "structures": len(members),
                    "variant": name,
                    "mean (Å)": sum(values) / len(values),
                    "difference (Å)": interval.mean,
                    "low": interval.low,
                    "high": interval.high,
                }
            )
            if name != BASELINE and interval.sign:
                found.append(compared(name, BASELINE, f"{measure} (n = {len(members)})", "Å", interval))
    return rows, found


@styled
def draw_groups(series: Series) -> Figure:
    """Draw a panel a group."""
    shown = [
        group
        for group in (*GROUPS, *PLACES)
        if group in PLACES or any(map(GROUPS[group], series[BASELINE][0].items))
    ]
    columns = 3
    figure = new_figure(9.0, 1.75 * -(-len(shown) // columns))
    axes = figure.subplots(-(-len(shown) // columns), columns, sharey=True, squeeze=False)
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    for axis, group in zip(axes.flat, shown, strict=False):
        for row, runs in enumerate(series.values()):
            marks(axis, row, [_value(run, group) for run in runs])
        axis.set_yticks(range(len(series)), list(series), fontsize=8)
        axis.set_ylim(len(series) - 0.5, -0.5)
        members = sum(map(GROUPS[group], series[BASELINE][0].items)) if group in GROUPS else None
        axis.set_title(group.replace("_", " ") + (f" (n = {members})" if members else ""))
        axis.set_xlabel("deviation (Å)" if group in PLACES else "RMSD (Å)", fontsize=8)
    return figure
