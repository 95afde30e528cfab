"""Attention maps of every layer and head, and what the heads look at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from betafold_mlx.esm.features import EsmEmbedder
from betafold_mlx.evaluate.groups import is_hairpin
from betafold_mlx.evaluate.items import split_items
from betafold_mlx.evaluate.scores import CA
from betafold_mlx.lab.experiment import Finding, Lab, Outcome, Picture
from betafold_mlx.lab.figures import SEQUENTIAL, new_figure, styled
from betafold_mlx.lab.heads import (
    Measured,
    Reader,
    Weights,
    best_head,
    esm_reader,
    hairpin_pairs,
    helix_weights,
    network_reader,
    partner_weights,
)
from betafold_mlx.lab.trained import load_trained
from betafold_mlx.peptide.sequence import Peptide
from betafold_mlx.structure.secondary import assign_secondary_structure, assign_secondary_structures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXAMPLES = ("GIGKFLHSAKKFGKAFVGEIMNS", "GEWTYDDATKTFTVTE")
"""Magainin 2, a helix, and residues 41-56 of protein G's domain B1, a hairpin."""


def run(lab: Lab) -> Outcome:
    """Draw the maps of each peptide, and measure the heads: on a data set's test structures where there is one."""
    trained = load_trained(lab)
    readers: dict[str, Reader] = {trained.loaded.name: network_reader(trained.loaded.model, trained.embedder)}
    if lab.embedder is not None:
        embedder = EsmEmbedder.load(lab.embedder)
        readers[f"ESM-2 {embedder.esm.config.size}"] = esm_reader(embedder)
    peptides = [Peptide.parse(sequence) for sequence in lab.peptides or EXAMPLES]
    result = Outcome(notes=trained.notes)
    for name, reader in readers.items():
        lab.say(f"attention of {name}")
        for peptide, maps in zip(peptides, reader(peptides), strict=True):
            slug = name.replace(" ", "-")
            for layer, heads in enumerate(maps):
                result.pictures[f"{slug}-{peptide.sequence}-layer{layer + 1}"] = Picture(
                    draw_layer(heads, peptide.sequence, f"{name}, layer {layer + 1}"),
                    f"{name}, layer {layer + 1}: how much each residue (row) listens to each other (column). The scale "
                    "of each map ends at its largest weight, which stands above it.",
                )
    if lab.data is None:
        _measure_few(lab, readers, peptides, result)
    else:
        _measure_many(lab, readers, result)
    return result


def _measure_many(lab: Lab, readers: dict[str, Reader], result: Outcome) -> None:
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
        layer_heads = maps[0].shape[1]
        for kind, weights in (
            ("i±3 and i±4 of helical residues", helix_weights(maps, states)),
            ("partners across hairpins", partner_weights(maps, pairs)),
        ):
            found = best_head(weights, clusters, lab.seed)
            if found is not None:
                result.findings.append(_finding(name, kind, found, layer_heads))
            slug = name.replace(" ", "-")
            table = "helix" if kind.startswith("i") else "partners"
            if weights.counts.sum():
                result.tables[f"{slug}-{table}"] = _rows(weights, layer_heads)
                result.pictures[f"{slug}-{table}"] = Picture(
                    draw_heads(weights, layer_heads, kind),
                    f"{name}: mean weight of each head on {kind} (bars), of the same offsets elsewhere (black marks), "
                    f"and spread evenly (line); {int(weights.counts.sum())} residues of "
                    f"{int((weights.counts > 0).sum())} test structures.",
                )
    result.notes.append(
        "The head of a verdict was chosen on half of the clusters of test structures and measured on the others; the "
        "tables and bars hold all structures."
    )


def _measure_few(lab: Lab, readers: dict[str, Reader], peptides: Sequence[Peptide], result: Outcome) -> None:
    """Measure on the drawn peptides, in their predicted secondary structure."""
    predictor = load_trained(lab).predictor
    folded = predictor.fold_many(peptides)
    states = [assign_secondary_structure(one.coordinates[0, :, CA]) for one in folded]
    for name, reader in readers.items():
        maps = reader(peptides)
        weights = helix_weights(maps, states)
        if not weights.counts.sum():
            continue
        layer_heads = maps[0].shape[1]
        rows = _rows(weights, layer_heads)
        best = max(rows, key=lambda row: row["weight"] - row["elsewhere"])
        verdict = (
            f"{name}: of the helical residues of these peptides, as predicted, head {best['head']} of layer "
            f"{best['layer']} gives i±3 and i±4 most: {best['weight']:.2f} of its attention, {best['elsewhere']:.2f} "
            f"at the same offsets of the other residues, {best['spread evenly']:.2f} spread evenly. It was picked "
            f"among {len(rows)} on these peptides: --data DATASET measures it on others."
        )
        result.findings.append(
            Finding(
                f"{name}: weight on i±3, i±4 of helical residues", "", best["weight"], None, None, 1, verdict
            )
        )
        result.tables[f"{name.replace(' ', '-')}-helix"] = rows


def _finding(name: str, kind: str, found: Measured, heads: int) -> Finding:
    layer, head = divmod(found.head, heads)
    difference = found.weight - found.elsewhere
    if found.low is None or found.high is None:
        judged, ends = "too few clusters for a verdict", ""
    else:
        ends = f" (95 % {found.low:+.3f} to {found.high:+.3f})"
        judged = "it looks there" if found.low > 0 else "no more than position alone"
    verdict = (
        f"{name}: {kind}: head {head + 1} of layer {layer + 1} gives them {found.weight:.3f} of its attention, "
        f"{found.elsewhere:.3f} at the same offsets elsewhere, {found.even:.3f} spread evenly; difference "
        f"{difference:+.3f}{ends}, {found.clusters} clusters: {judged}."
    )
    return Finding(
        f"{name}: weight on {kind}, best head - elsewhere",
        "",
        difference,
        found.low,
        found.high,
        found.clusters,
        verdict,
    )


def _rows(weights: Weights, heads: int) -> list[dict[str, Any]]:
    total = max(int(weights.counts.sum()), 1)
    known = weights.counts > 0
    return [
        {
            "layer": number // heads + 1,
            "head": number % heads + 1,
            "weight": float(weights.sums[known, number].sum() / total),
            "elsewhere": float(weights.other_sums[known, number].sum() / total),
            "spread evenly": float(weights.even_sums[known].sum() / total),
            "residues": int(weights.counts.sum()),
        }
        for number in range(weights.sums.shape[1])
    ]


@styled
def draw_layer(heads: np.ndarray, sequence: str, title: str) -> Figure:
    """Draw the maps (H, L, L) of a layer with the residues on the axes."""
    columns = min(4, len(heads))
    rows = math.ceil(len(heads) / columns)
    figure = new_figure(3.1 * columns, 3.2 * rows + 0.4)
    figure.suptitle(title)
    axes = figure.subplots(rows, columns, squeeze=False)
    size = 7 if len(sequence) <= 20 else 5.5 if len(sequence) <= 26 else 4.5
    for number, axis in enumerate(axes.flat):
        if number >= len(heads):
            axis.set_visible(False)
            continue
        axis.imshow(heads[number], cmap=SEQUENTIAL, vmin=0, interpolation="nearest")
        axis.set_title(f"head {number + 1}, to {heads[number].max():.2f}")
        axis.set_xticks(range(len(sequence)), list(sequence), fontsize=size)
        axis.set_yticks(range(len(sequence)), list(sequence), fontsize=size)
        axis.tick_params(length=0, pad=1)
    for axis in axes[:, 0]:
        axis.set_ylabel("listens")
    for axis in axes[-1]:
        axis.set_xlabel("is listened to")
    return figure


@styled
def draw_heads(weights: Weights, heads: int, kind: str) -> Figure:
    """Draw the mean weights of all heads, a panel a layer."""
    rows = _rows(weights, heads)
    layers = len(rows) // heads
    columns = min(layers, 4)
    figure = new_figure(max(2.2, 0.26 * heads) * columns + 0.8, 2.6 * math.ceil(layers / columns))
    axes = figure.subplots(math.ceil(layers / columns), columns, sharey=True, squeeze=False)
    for layer, axis in enumerate(axes.flat):
        if layer >= layers:
            axis.set_visible(False)
            continue
        part = rows[layer * heads : (layer + 1) * heads]
        places = range(1, heads + 1)
        axis.bar(places, [row["weight"] for row in part], color="#56B4E9", label="these residues")
        axis.plot(
            places,
            [row["elsewhere"] for row in part],
            "_",
            color="black",
            ms=8,
            mew=1.5,
            label="same offsets elsewhere",
        )
        axis.axhline(part[0]["spread evenly"], color="#D55E00", lw=1, label="spread evenly")
        axis.set_title(f"layer {layer + 1}")
        axis.set_xlabel("head")
        axis.set_xticks(places if heads <= 10 else range(1, heads + 1, 4))
    for axis in axes[:, 0]:
        axis.set_ylabel("mean attention weight")
    figure.suptitle(f"weight on {kind}")
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
