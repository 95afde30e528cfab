"""Padding masks that are wrong on purpose, in a trained model and in training, by amount of padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from betafold_mlx.evaluate.items import Item, split_items
from betafold_mlx.lab.answers import ask, structure_rows
from betafold_mlx.lab.comparison import rows_of_runs, usual_report
from betafold_mlx.lab.drawing import BESIDE, COLOURS, MARKS, draw_repeats, panel_figure
from betafold_mlx.lab.runner import Finding, Lab, LabReport, Picture
from betafold_mlx.lab.series import Series, Variant, base_config, train_series
from betafold_mlx.lab.statistics import clustered_difference, compared
from betafold_mlx.lab.wrong_masks import CHANGES, mask_wrongly
from betafold_mlx.model.inputs import PADDED_LENGTHS

RIGHT = "right mask"
PADDINGS = ((0, 3), (4, 7), (8, 11), (12, 15), (16, 22))
"""Classes of padding behind a peptide, residues, both ends included."""
COLUMNS = {
    "rmsd": "mean backbone RMSD (Å)",
    "phi_error": "mean phi error (°)",
    "psi_error": "mean psi error (°)",
}
Rows = list[dict[str, Any]]


def run_mask(lab: Lab) -> LabReport:
    """Break the mask of the trained model, then train with each broken mask."""
    predictor, notes = lab.load_model()
    items = split_items(lab.dataset, "test", lab.budget.items)
    broken = {name: _by_padding(lab, None if name == RIGHT else name, items) for name in (RIGHT, *CHANGES)}
    base = base_config(lab.budget)
    variants = [Variant(RIGHT, base), *(Variant(name, base, mask_change=name) for name in CHANGES)]
    series = train_series(lab, variants)
    report = usual_report(series, RIGHT, "Masks in training")
    report.findings = [*(_harm(name, broken, lab.seed) for name in CHANGES), *report.findings]
    report.tables["trained_model"] = [
        {
            "mask": name,
            "padding (residues)": padding,
            "structures": len(members),
            **{title: _column_mean(members, column) for column, title in COLUMNS.items()},
        }
        for name, rows in broken.items()
        for padding, members in _padding_classes(rows).items()
    ]
    report.tables["training_by_padding"] = rows_of_runs(
        series,
        lambda run: (
            {"padded to": int(padded), "mean RMSD (Å)": float(np.mean(values))}
            for padded, values in run.by_padding.items()
            if values
        ),
    )
    report.pictures["trained_model"] = Picture(
        draw_trained(broken),
        f"{predictor.loaded.name}, trained with the right mask: mean backbone RMSD and psi error of test structures "
        "by padding behind them. Every structure is padded to each length that holds it.",
    )
    report.pictures["training_by_padding"] = Picture(
        draw_training(series),
        f"Trained with each mask: validation structures of at most {PADDED_LENGTHS[0]} residues, padded to "
        "three lengths. Each mark is a seed, the bar their mean.",
    )
    report.notes += notes
    return report


def _by_padding(lab: Lab, change: str | None, items: Sequence[Item]) -> Rows:
    """Ask the trained model with a changed mask about every structure at every padded length that holds it."""
    predictor, _ = lab.load_model()
    model = mask_wrongly(predictor.loaded.model, change)
    rows = []
    for padded in PADDED_LENGTHS:
        fitting = [item for item in items if len(item) <= padded]
        scored = structure_rows(fitting, *ask(model, fitting, predictor.embedder, padded))
        rows += [
            {**row, "padding": padded - row["length"], "cluster": item.cluster}
            for row, item in zip(scored, fitting, strict=True)
        ]
    return rows


def _harm(name: str, broken: dict[str, Rows], seed: int) -> Finding:
    """Compare a wrong mask with the right one on the same structures and paddings."""
    wrong, right = (np.array([row["rmsd"] for row in broken[mask]]) for mask in (name, RIGHT))
    clusters = np.array([row["cluster"] for row in broken[RIGHT]])
    interval = clustered_difference(wrong, right, clusters, seed)
    return compared(f"trained model, {name}", RIGHT, "backbone RMSD", "Å", interval)


def _padding_classes(rows: Rows) -> dict[str, Rows]:
    """Return the rows by class of padding; empty classes are left out."""
    found = {
        f"{low}-{high}": [row for row in rows if low <= row["padding"] <= high] for low, high in PADDINGS
    }
    return {name: members for name, members in found.items() if members}


def _column_mean(rows: Rows, column: str) -> float:
    return float(np.mean([row[column] for row in rows]))


def draw_trained(broken: dict[str, Rows]) -> Figure:
    """Draw the errors of the trained model by padding, a line a mask."""
    figure, axes = panel_figure(2, 2, 3.8, 2.9)
    for axis, column in zip(axes, ("rmsd", "psi_error"), strict=True):
        for number, (name, rows) in enumerate(broken.items()):
            means = {
                padding: _column_mean(members, column) for padding, members in _padding_classes(rows).items()
            }
            axis.plot(
                list(means), list(means.values()), marker=MARKS[number], color=COLOURS[number], label=name
            )
        axis.set(xlabel="padding (residues)", ylabel=COLUMNS[column])
        axis.set_ylim(bottom=0)
    axes[1].legend(**BESIDE)
    return figure


def draw_training(series: Series) -> Figure:
    """Draw what models trained with each mask make of the same peptides at each padded length."""
    figure, axes = panel_figure(
        len(PADDED_LENGTHS), 3, 2.8, 0.6 + 0.45 * len(series), sharey=True, sharex=True
    )
    for axis, padded in zip(axes, map(str, PADDED_LENGTHS), strict=True):
        values = {
            name: [float(np.mean(run.by_padding[padded])) for run in runs if run.by_padding[padded]]
            for name, runs in series.items()
        }
        draw_repeats(axis, values, "mean backbone RMSD (Å)", f"padded to {padded}")
    return figure
