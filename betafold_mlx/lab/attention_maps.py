"""Attention maps of every layer and head, and what the heads look at."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from betafold_mlx.esm.embedder import EsmEmbedder
from betafold_mlx.evaluate.groups import is_hairpin
from betafold_mlx.evaluate.items import split_items
from betafold_mlx.evaluate.structure_scores import CA
from betafold_mlx.fold.predictor import Predictor
from betafold_mlx.lab.drawing import SEQUENTIAL, panel_figure
from betafold_mlx.lab.head_weights import (
    BestHead,
    Reader,
    Weights,
    best_head,
    esm_maps,
    hairpin_pairs,
    helix_weights,
    network_maps,
    partner_weights,
)
from betafold_mlx.lab.runner import Finding, Lab, LabReport, Picture, Row
from betafold_mlx.peptide.sequence import Peptide
from betafold_mlx.structure.secondary import assign_secondary_structures

EXAMPLES = ("GIGKFLHSAKKFGKAFVGEIMNS", "GEWTYDDATKTFTVTE")
"""Magainin 2, a helix, and residues 41-56 of protein G's domain B1, a hairpin."""
Readers = dict[str, Reader]


def run_attention(lab: Lab) -> LabReport:
    """Draw the maps of each peptide, and measure the heads: on a data set's test structures where there is one."""
    predictor, notes = lab.load_model()
    loaded = predictor.loaded
    readers: Readers = {loaded.name: functools.partial(network_maps, loaded.model, predictor.embedder)}
    if lab.embedder is not None:
        embedder = EsmEmbedder.load(lab.embedder)
        readers[f"ESM-2 {embedder.esm.config.size}"] = functools.partial(esm_maps, embedder)
    peptides = [Peptide.parse(sequence) for sequence in lab.peptides or EXAMPLES]
    report = LabReport(notes=notes)
    for name, reader in readers.items():
        lab.say(f"attention of {name}")
        for peptide, maps in zip(peptides, reader(peptides), strict=True):
            for layer, heads in enumerate(maps, start=1):
                report.pictures[f"{_slug(name)}-{peptide.sequence}-layer{layer}"] = Picture(
                    draw_layer(heads, peptide.sequence, f"{name}, layer {layer}"),
                    f"{name}, layer {layer}: how much each residue (row) listens to each other (column). The scale "
                    "of each map ends at its largest weight, which stands above it.",
                )
    if lab.data is None:
        _measure_few(predictor, readers, peptides, report)
    else:
        _measure_many(lab, readers, report)
    return report


def _slug(name: str) -> str:
    return name.replace(" ", "-")


def _measure_many(lab: Lab, readers: Readers, report: LabReport) -> None:
    """Measure on experimental structures."""
    items = split_items(lab.dataset, "test", lab.budget.test_items)
    traces = [item.coordinates[:, CA] for item in items]
    states = assign_secondary_structures(traces)
    pairs = [
        hairpin_pairs(ca, one) if is_hairpin(ca, one) else [] for ca, one in zip(traces, states, strict=True)
    ]
    clusters = np.array([item.cluster for item in items])
    for name, reader in readers.items():
        lab.say(f"measuring the heads of {name} on {len(items)} structures")
        maps = reader([item.peptide for item in items])
        heads = maps[0].shape[1]
        for table, kind, weights in (
            ("helix", "i±3 and i±4 of helical residues", helix_weights(maps, states)),
            ("partners", "partners across hairpins", partner_weights(maps, pairs)),
        ):
            best = best_head(weights, clusters, lab.seed)
            if best is not None:
                report.findings.append(_finding(name, kind, best, heads))
            if weights.counts.any():
                file, rows = f"{_slug(name)}-{table}", head_rows(weights, heads)
                report.tables[file] = rows
                report.pictures[file] = Picture(
                    draw_heads(rows, heads, kind),
                    f"{name}: mean weight of each head on {kind} (bars), of the same offsets elsewhere (black marks), "
                    f"and spread evenly (line); {rows[0]['residues']} residues of "
                    f"{np.count_nonzero(weights.counts)} test structures.",
                )
    report.notes.append(
        "The head of a verdict was chosen on half of the clusters of test structures and measured on the others; the "
        "tables and bars hold all structures."
    )


def _measure_few(
    predictor: Predictor, readers: Readers, peptides: Sequence[Peptide], report: LabReport
) -> None:
    """Measure on the drawn peptides, in their predicted secondary structure."""
    states = [one.secondary_structure[0] for one in predictor.fold_many(peptides, atoms="backbone")]
    for name, reader in readers.items():
        maps = reader(peptides)
        weights = helix_weights(maps, states)
        if not weights.counts.sum():
            continue
        rows = head_rows(weights, maps[0].shape[1])
        best = max(rows, key=lambda row: row["weight"] - row["elsewhere"])
        verdict = (
            f"{name}: of the helical residues of these peptides, as predicted, head {best['head']} of layer "
            f"{best['layer']} gives i±3 and i±4 most: {best['weight']:.2f} of its attention, {best['elsewhere']:.2f} "
            f"at the same offsets of the other residues, {best['spread evenly']:.2f} spread evenly. It was picked "
            f"among {len(rows)} on these peptides: --data DATASET measures it on others."
        )
        measure = f"{name}: weight on i±3, i±4 of helical residues"
        report.findings.append(Finding(measure, "", best["weight"], None, None, 1, verdict))
        report.tables[f"{_slug(name)}-helix"] = rows


def _finding(name: str, kind: str, best: BestHead, heads: int) -> Finding:
    layer, head = divmod(best.head, heads)
    difference = best.weight - best.elsewhere
    judged, ends = "too few clusters for a verdict", ""
    if best.low is not None:
        ends = f" (95 % {best.low:+.3f} to {best.high:+.3f})"
        judged = "it looks there" if best.low > 0 else "no more than position alone"
    verdict = (
        f"{name}: {kind}: head {head + 1} of layer {layer + 1} gives them {best.weight:.3f} of its attention, "
        f"{best.elsewhere:.3f} at the same offsets elsewhere, {best.even:.3f} spread evenly; difference "
        f"{difference:+.3f}{ends}, {best.clusters} clusters: {judged}."
    )
    measure = f"{name}: weight on {kind}, best head - elsewhere"
    return Finding(measure, "", difference, best.low, best.high, best.clusters, verdict)


def head_rows(weights: Weights, heads: int) -> list[dict[str, Any]]:
    """Return a table of the mean weights of all heads, of which a layer has so many."""
    total, known = int(weights.counts.sum()), weights.counts > 0
    return [
        {
            "layer": number // heads + 1,
            "head": number % heads + 1,
            "weight": float(weights.sums[known, number].sum() / total),
            "elsewhere": float(weights.other_sums[known, number].sum() / total),
            "spread evenly": float(weights.even_sums[known].sum() / total),
            "residues": total,
        }
        for number in range(weights.sums.shape[1])
    ]


def draw_layer(heads: np.ndarray, sequence: str, title: str) -> Figure:
    """Draw the maps (H, L, L) of a layer with the residues on the axes."""
    figure, axes = panel_figure(len(heads), 4, 3.0, 3.2)
    figure.suptitle(title)
    size = 7 if len(sequence) <= 20 else 5.5 if len(sequence) <= 26 else 4.5
    for number, (axis, weights) in enumerate(zip(axes, heads, strict=True), start=1):
        axis.imshow(weights, cmap=SEQUENTIAL, vmin=0, interpolation="nearest")
        axis.set(title=f"head {number}, to {weights.max():.2f}", xlabel="is listened to")
        axis.set_xticks(range(len(sequence)), list(sequence), fontsize=size)
        axis.set_yticks(range(len(sequence)), list(sequence), fontsize=size)
        axis.tick_params(length=0, pad=1)
    for axis in axes[::4]:
        axis.set_ylabel("listens")
    return figure


def draw_heads(rows: Sequence[Row], heads: int, kind: str) -> Figure:
    """Draw the rows of `head_rows`, a panel a layer."""
    figure, axes = panel_figure(len(rows) // heads, 4, max(2.2, 0.26 * heads), 2.6, sharey=True)
    for layer, axis in enumerate(axes):
        part = rows[layer * heads : (layer + 1) * heads]
        places = range(1, heads + 1)
        axis.bar(places, [row["weight"] for row in part], color="#56B4E9", label="these residues")
        others = [row["elsewhere"] for row in part]
        axis.plot(places, others, "_", color="black", ms=8, mew=1.5, label="same offsets elsewhere")
        axis.axhline(part[0]["spread evenly"], color="#D55E00", lw=1, label="spread evenly")
        axis.set(title=f"layer {layer + 1}", xlabel="head")
        axis.set_xticks(places if heads <= 10 else range(1, heads + 1, 4))
    for axis in axes[::4]:
        axis.set_ylabel("mean attention weight")
    figure.suptitle(f"weight on {kind}")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
