"""Positions: learned, sinusoidal and ring-aware encodings, and which peptides they help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from matplotlib.figure import Figure

from betafold_mlx.evaluate.groups import LENGTHS
from betafold_mlx.lab.answers import Chosen
from betafold_mlx.lab.comparison import Measure, difference, usual_report
from betafold_mlx.lab.drawing import draw_repeats, panels
from betafold_mlx.lab.runner import Lab, LabReport, Picture
from betafold_mlx.lab.series import Series, Variant, base_config, train_series, with_network

BASELINE = "learned + ring-aware"
VARIANTS = {
    BASELINE: ("learned", True),
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
PLACES = ("first_third", "middle_third", "last_third")


def run(lab: Lab) -> LabReport:
    """Train with each kind of positions; compare by length, chemistry, fold, and place in the chain."""
    base = base_config(lab.budget)
    variants = [
        Variant(name, with_network(base, positions=positions, relative=relative))
        for name, (positions, relative) in VARIANTS.items()
    ]
    series = train_series(lab, variants)
    report = usual_report(series, BASELINE, "Positions")
    rows: list[dict[str, Any]] = []
    for group, (measure, count) in groups_of(series).items():
        for name, runs in series.items():
            against = difference(series, name, BASELINE, measure)
            values = [measure.of(run) for run in runs]
            rows.append(
                {
                    "group": group,
                    "structures": count,
                    "variant": name,
                    "mean (Å)": sum(values) / len(values),
                    "difference (Å)": against.value,
                    "low": against.low,
                    "high": against.high,
                }
            )
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
    items = series[BASELINE][0].items
    found = {}
    for name, chosen in GROUPS.items():
        count = sum(map(chosen, items))
        if count:
            found[name] = Measure(f"RMSD of {name} (n = {count})", "Å", _mean("rmsd", chosen)), count
    for place in PLACES:
        words = place.replace("_", " ")
        measure = Measure(f"deviation of the {words} (n = {len(items)})", "Å", _mean(place, lambda row: True))
        found[words] = measure, len(items)
    return found


def _mean(column: str, chosen: Chosen) -> Callable[[Any], float]:
    return lambda run: float(run.mean(column, chosen))


def draw_groups(series: Series) -> Figure:
    """Draw a panel a group."""
    shown = groups_of(series)
    figure, axes = panels(len(shown), 3, 2.8, 1.7, sharey=True)
    for axis, (name, (measure, count)) in zip(axes, shown.items(), strict=True):
        values = {variant: [measure.of(run) for run in runs] for variant, runs in series.items()}
        draw_repeats(axis, values, measure.name.partition(" of ")[0] + " (Å)", f"{name} (n = {count})")
    return figure
