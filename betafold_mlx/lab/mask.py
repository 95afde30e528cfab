"""Padding masks that are wrong on purpose, in a trained model and in training, by amount of padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from betafold_mlx.evaluate.items import Item, split_items
from betafold_mlx.lab.compare import marks, outcome
from betafold_mlx.lab.experiment import Finding, Lab, Outcome, Picture
from betafold_mlx.lab.figures import COLOURS, MARKS, new_figure, styled
from betafold_mlx.lab.masks import CHANGES, mask_wrongly
from betafold_mlx.lab.scoring import ask, structure_rows
from betafold_mlx.lab.series import Series, train_series
from betafold_mlx.lab.statistics import clustered_difference, compared
from betafold_mlx.lab.trained import load_trained
from betafold_mlx.lab.variants import Variant, base_config
from betafold_mlx.model.inputs import PADDED_LENGTHS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RIGHT = "right mask"
PADDINGS = ((0, 3), (4, 7), (8, 11), (12, 15), (16, 22))
"""Classes of padding behind a peptide, residues, both ends included."""


def run(lab: Lab) -> Outcome:
    """Break the mask of the trained model, then train with each broken mask."""
    trained = load_trained(lab)
    items = split_items(lab.dataset, "test", lab.budget.items)
    found = {name: _by_padding(lab, None if name == RIGHT else name, items) for name in (RIGHT, *CHANGES)}
    base = base_config(lab.budget)
    variants = [Variant(RIGHT, base), *(Variant(name, base, mask_change=name) for name in CHANGES)]
    series = train_series(lab, variants)
    result = outcome(series, RIGHT, "Masks in training")
    clusters = np.array([row["cluster"] for row in found[RIGHT]])
    result.findings = [
        *(_harm(name, found, clusters, lab.seed) for name in CHANGES),
        *result.findings,
    ]
    result.tables["trained_model"] = _padding_table(found)
    result.tables["training_by_padding"] = [
        {"variant": name, "seed": run.seed, "padded to": int(padded), "mean RMSD (Å)": float(np.mean(values))}
        for name, runs in series.items()
        for run in runs
        for padded, values in run.by_padding.items()
        if values
    ]
    result.pictures = {
        "trained_model": Picture(
            draw_trained(found),
            f"{trained.loaded.name}, trained with the right mask: mean backbone RMSD and psi error of test structures "
            "by padding behind them. Every structure is padded to each length that holds it.",
        ),
        "training_by_padding": Picture(
            draw_training(series),
            f"Trained with each mask: validation structures of at most {PADDED_LENGTHS[0]} residues, padded to "
            "three lengths. Each mark is a seed, the bar their mean.",
        ),
        **result.pictures,
    }
    result.notes += trained.notes
    return result


def _by_padding(lab: Lab, change: str | None, items: Sequence[Item]) -> list[dict[str, Any]]:
    """Fold every structure at every padded length that holds it."""
    trained = load_trained(lab)
    model = mask_wrongly(trained.loaded.model, change)
    rows = []
    for padded in PADDED_LENGTHS:
        fitting = [item for item in items if len(item) <= padded]
        answers = ask(model, fitting, trained.embedder, padded)
        scored = structure_rows(fitting, answers)
        rows += [
            {**row, "padded": padded, "padding": padded - row["length"], "cluster": item.cluster}
            for row, item in zip(scored, fitting, strict=True)
        ]
    return rows


def _harm(name: str, found: dict[str, list[dict[str, Any]]], clusters: np.ndarray, seed: int) -> Finding:
    """Compare a wrong mask with the right one on the same structures and paddings."""
    wrong, right = (np.array([row["rmsd"] for row in found[mask]]) for mask in (name, RIGHT))
    found_difference = clustered_difference(wrong, right, clusters, seed)
    return compared(f"trained model, {name}", RIGHT, "backbone RMSD", "Å", found_difference)


def _classes(rows: Sequence[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    chosen = [
        (f"{low}-{high}", [row for row in rows if low <= row["padding"] <= high]) for low, high in PADDINGS
    ]
    return [(name, members) for name, members in chosen if members]


def _padding_table(found: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [
        {
            "mask": name,
            "padding (residues)": padding,
            "structures": len(members),
            **{
                f"mean {column} ({unit})": float(np.mean([row[column] for row in members]))
                for column, unit in (("rmsd", "Å"), ("phi_error", "°"), ("psi_error", "°"))
            },
        }
        for name, rows in found.items()
        for padding, members in _classes(rows)
    ]


@styled
def draw_trained(found: dict[str, list[dict[str, Any]]]) -> Figure:
    """Draw the errors of the trained model by padding, a line a mask."""
    figure = new_figure(8.4, 3.4)
    axes = figure.subplots(1, 2)
    for axis, column, label in (
        (axes[0], "rmsd", "mean backbone RMSD (Å)"),
        (axes[1], "psi_error", "mean psi error (°)"),
    ):
        for number, (name, rows) in enumerate(found.items()):
            classes = _classes(rows)
            means = [np.mean([row[column] for row in members]) for _, members in classes]
            names = [padding for padding, _ in classes]
            axis.plot(names, means, marker=MARKS[number], color=COLOURS[number], label=name)
        axis.set_xlabel("padding (residues)")
        axis.set_ylabel(label)
        axis.set_ylim(bottom=0)
    axes[1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@styled
def draw_training(series: Series) -> Figure:
    """Draw what models trained with each mask make of the same peptides at each padded length."""
    lengths = list(next(iter(series.values()))[0].by_padding)
    figure = new_figure(9.0, 1.1 + 0.45 * len(series))
    axes = figure.subplots(1, len(lengths), sharey=True, sharex=True, squeeze=False)[0]
    for axis, padded in zip(axes, lengths, strict=True):
        for row, runs in enumerate(series.values()):
            values = [float(np.mean(run.by_padding[padded])) for run in runs if run.by_padding[padded]]
            if values:
                marks(axis, row, values)
        axis.set_title(f"padded to {padded}")
        axis.set_xlabel("mean backbone RMSD (Å)")
        axis.set_yticks(range(len(series)), list(series))
        axis.set_ylim(len(series) - 0.5, -0.5)
    return figure
