"""When and why predicted structures break: by residue, place, fold and length; right torsions, wrong coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import numpy as np
from matplotlib.figure import Figure

from betafold_mlx.evaluate.batching import fold_all
from betafold_mlx.evaluate.bootstrap import MIN_CLUSTERS, ClusterBootstrap
from betafold_mlx.evaluate.groups import LENGTHS
from betafold_mlx.evaluate.items import Item, split_items
from betafold_mlx.evaluate.reliability import spearman
from betafold_mlx.evaluate.structure_scores import CA, Scores, score_structures
from betafold_mlx.geometry import backbone_torsions, build_backbone, superpose
from betafold_mlx.geometry.metrics import backbone_rmsd
from betafold_mlx.lab.answers import structure_facts
from betafold_mlx.lab.drawing import BESIDE, COLOURS, MARKS, new_figure, panel_figure
from betafold_mlx.lab.runner import Finding, Lab, LabReport, Picture
from betafold_mlx.lab.statistics import RESAMPLES, clustered_mean
from betafold_mlx.peptide.sequence import ALPHABET, residue_ids
from betafold_mlx.structure.secondary import assign_secondary_structures

TORSIONS_RIGHT = 30.0
"""Mean error of phi and psi up to which torsions count as right, degrees: the right region of the Ramachandran plot."""
STRUCTURE_RIGHT = 3.0
"""Backbone RMSD up to which a structure counts as right, Angstrom: the shape of the chain can be recognised."""
LEVER = 0.75
"""Where the repair of one residue leaves less of the RMSD than this share, that residue is to blame."""
WORST = 6
STATES = {"H": "helix", "E": "strand", "C": "loop"}
Row = dict[str, Any]


def run_failures(lab: Lab) -> LabReport:
    """Fold test structures as `fold` does, and take the errors apart."""
    predictor, notes = lab.load_model()
    items = split_items(lab.dataset, "test", lab.budget.test_items)
    predictions = fold_all(predictor, [item.peptide for item in items], 1, lab.seed, lab.say)
    structures = [prediction.coordinates[0] for prediction in predictions]
    scores = score_structures(items, structures)
    bootstrap = ClusterBootstrap(np.array([item.cluster for item in items]), lab.seed, RESAMPLES)
    lab.say("rebuilding with one native torsion pair at a time")
    rows = _structure_rows(items, structures, scores)
    worst = sorted(range(len(items)), key=lambda index: -rows[index]["rmsd"])[:WORST]
    groups = group_rows(items, scores, bootstrap)
    return LabReport(
        findings=[*_separation(rows, bootstrap), *_extremes(groups)],
        tables={"groups": groups, "structures": rows},
        pictures={
            "groups": Picture(
                draw_errors(groups),
                "Mean deviation of a residue's N, CA and C after superposition of the whole peptide, and mean psi "
                "error; bars are 95 % intervals over clusters.",
            ),
            "separation": Picture(
                draw_separation(rows),
                f"Each test structure by its torsions and its coordinates. The lines stand at {TORSIONS_RIGHT:g}° and "
                f"{STRUCTURE_RIGHT:g} Å.",
            ),
            "worst": Picture(
                draw_worst([(items[i], structures[i], rows[i]) for i in worst]),
                "CA traces of the worst structures, experiment in black, prediction in colour, superposed, seen along "
                "the direction in which the experimental one is flattest. A ring marks the first residue.",
            ),
        },
        notes=[
            *notes,
            f"{len(items)} test structures, the first of one model each, as `fold` writes it.",
            "The worst and the best of a kind were picked among its groups, and some would stand apart by chance: of "
            "many groups, as of the residues, read the table.",
        ],
    )


def _structure_rows(items: Sequence[Item], structures: Sequence[np.ndarray], scores: Scores) -> list[Row]:
    sums, counts = scores.torsion_sums
    torsion = sums[:, :2].sum(axis=1) / np.maximum(counts[:, :2].sum(axis=1), 1)
    rows = []
    for index, item in enumerate(items):
        torsions_right, right = torsion[index] <= TORSIONS_RIGHT, scores.rmsd[index] <= STRUCTURE_RIGHT
        row = {
            **structure_facts(item),
            "rmsd": float(scores.rmsd[index]),
            "torsion error": float(torsion[index]),
            "lddt": float(scores.mean_lddt[index]),
            "torsions": "right" if torsions_right else "wrong",
            "coordinates": "right" if right else "wrong",
            "best single repair (Å)": None,
            "at residue": None,
        }
        if torsions_right and not right:
            place, left = lever(item, structures[index])
            row |= {"best single repair (Å)": left, "at residue": place + 1}
        rows.append(row)
    return rows


def lever(item: Item, structure: np.ndarray) -> tuple[int, float]:
    """Return the residue whose native torsions repair a prediction most, and the RMSD that is left, Angstrom."""
    predicted, _ = backbone_torsions(mx.array(structure[None, :, :3]))
    native, defined = backbone_torsions(mx.array(item.coordinates[None, :, :3]))
    length = len(item)
    repaired = mx.eye(length, dtype=mx.bool_)[:, :, None] & defined  # row r: residue r has its own torsions
    torsions = mx.where(repaired, native, predicted)  # (L, L, 3)
    ids = mx.array(residue_ids(item.peptide.sequence))
    rebuilt = build_backbone(torsions, mx.broadcast_to(ids, (length, length)))
    target = mx.broadcast_to(mx.array(item.coordinates), (length, *item.coordinates.shape))
    left = np.array(backbone_rmsd(rebuilt, target))
    return int(left.argmin()), float(left.min())


def group_rows(items: Sequence[Item], scores: Scores, bootstrap: ClusterBootstrap) -> list[Row]:
    """Return mean errors of groups of residues, with intervals over the clusters of their structures."""
    lengths = np.array([len(item) for item in items])
    of_item, length = np.repeat(np.arange(len(items)), lengths), np.repeat(lengths, lengths)
    place = np.concatenate([np.arange(length) for length in lengths])
    letters = np.array(list("".join(item.peptide.sequence for item in items)))
    states = np.array(list("".join(assign_secondary_structures([item.coordinates[:, CA] for item in items]))))
    errors = {
        "deviation (Å)": np.concatenate(scores.deviation),
        "psi error (°)": np.concatenate([error[:, 1] for error in scores.torsion_error]),
    }
    third = 3 * place // length
    from_end = np.minimum(place, length - 1 - place)
    groups: list[tuple[str, str, np.ndarray]] = [
        *(("residue", letter, letters == letter) for letter in ALPHABET),
        *(("structure", name, states == state) for state, name in STATES.items()),
        *(("third", name, third == n) for n, name in enumerate(("first", "middle", "last"))),
        *(("from the end", str(n), from_end == n) for n in range(6)),
        ("from the end", "6+", from_end >= 6),
        *(("length", f"{low}-{high}", (low <= length) & (length <= high)) for low, high in LENGTHS),
    ]
    rows = []
    for kind, name, chosen in groups:
        if not chosen.any():
            continue
        row: Row = {"by": kind, "group": name, "residues": int(chosen.sum())}
        enough = bootstrap.clusters_of(np.unique(of_item[chosen])) >= MIN_CLUSTERS
        for label, values in errors.items():
            known = chosen & np.isfinite(values)
            counts = np.bincount(of_item[known], minlength=len(items))
            row |= {label: None, f"{label} low": None, f"{label} high": None}
            if counts.any():
                sums = np.bincount(of_item[known], values[known], len(items))
                mean, low, high, *_ = clustered_mean(sums, counts, bootstrap)
                row |= {label: mean} | ({f"{label} low": low, f"{label} high": high} if enough else {})
        rows.append(row)
    return rows


def _extremes(groups: list[Row]) -> list[Finding]:
    """Say which group of each kind is worst and which best, and whether their intervals part."""
    found = []
    column = "deviation (Å)"
    for kind in dict.fromkeys(row["by"] for row in groups):
        members = sorted((row for row in groups if row["by"] == kind), key=lambda row: row[column])
        best, worst = members[0], members[-1]
        low, high = worst[f"{column} low"], worst[f"{column} high"]
        apart = None not in (best[f"{column} high"], low) and best[f"{column} high"] < low
        judged = "their intervals do not touch" if apart else "no difference seen: their intervals overlap"
        named = [f"{row['group']} ({row[column]:.2f} Å)" for row in (worst, best)]
        verdict = f"by {kind}: worst {named[0]}, best {named[1]}: {judged}."
        measure = f"deviation, {kind} {worst['group']}"
        found.append(Finding(measure, "Å", worst[column], low, high, worst["residues"], verdict))
    return found


def _separation(rows: list[Row], bootstrap: ClusterBootstrap) -> list[Finding]:
    """Count structures with right or wrong torsions and wrong coordinates, and say what repairs the first ones."""
    found = []
    for torsions in ("right", "wrong"):
        counts = np.array([float(row["torsions"] == torsions) for row in rows])
        sums = counts * [float(row["coordinates"] == "wrong") for row in rows]
        if counts.any():
            share, low, high, *_ = clustered_mean(sums, counts, bootstrap)
            name = f"of structures with {torsions} torsions, share with wrong coordinates"
            numbers = f"{int(sums.sum())} of {int(counts.sum())}"
            verdict = f"{name}: {share:.0%} (95 % {low:.0%} to {high:.0%}; {numbers})."
            found.append(Finding(name, "", share, low, high, bootstrap.clusters_of(counts > 0), verdict))
    levered = [row for row in rows if row["at residue"] is not None]
    if levered:
        before, after = (
            float(np.mean([row[column] for row in levered])) for column in ("rmsd", "best single repair (Å)")
        )
        judged = "one residue swings the rest" if after < LEVER * before else "many small errors add up"
        verdict = (
            f"torsions right, coordinates wrong ({len(levered)} structures): with native phi, psi and omega at the one "
            f"most harmful residue the mean RMSD falls from {before:.2f} to {after:.2f} Å: {judged}."
        )
        measure = "RMSD after the best single repair"
        found.append(Finding(measure, "Å", after, None, None, len(levered), verdict))
    link = spearman(*(np.array([row[name] for row in rows]) for name in ("torsion error", "rmsd")))
    if np.isfinite(link):
        verdict = f"torsion error and RMSD, rank correlation over {len(rows)} structures: {link:+.2f}."
        measure = "rank correlation of torsion error and RMSD"
        found.append(Finding(measure, "", link, None, None, len(rows), verdict))
    return found


def draw_errors(groups: list[Row]) -> Figure:
    """Draw the errors of all groups, kinds side by side, deviation above psi error."""
    kinds = list(dict.fromkeys(row["by"] for row in groups))
    sizes = [sum(row["by"] == kind for row in groups) + 1.5 for kind in kinds]
    figure = new_figure(10.5, 5.2)
    axes = figure.subplots(2, len(kinds), sharex="col", sharey="row", width_ratios=sizes, squeeze=False)
    for line, column in enumerate(("deviation (Å)", "psi error (°)")):
        for axis, kind in zip(axes[line], kinds, strict=True):
            members = [row for row in groups if row["by"] == kind and row[column] is not None]
            names = [row["group"] for row in members]
            places = np.arange(len(members))
            spread = [
                [
                    0.0
                    if row[f"{column} {end}"] is None
                    else max(sign * (row[f"{column} {end}"] - row[column]), 0.0)
                    for row in members
                ]
                for end, sign in (("low", -1), ("high", 1))
            ]
            values = [row[column] for row in members]
            axis.errorbar(places, values, yerr=spread, fmt="o", ms=4, color=COLOURS[line], elinewidth=1)
            axis.set_xticks(places, names, rotation=90 if max(map(len, names)) > 2 else 0, fontsize=8)
            axis.set_xlim(-0.75, len(members) - 0.25)
            axis.grid(axis="y", color="0.9")
            axis.set_xlabel(kind if line else "")
        axes[line, 0].set_ylabel(f"mean {column}")
        axes[line, 0].set_ylim(bottom=0)
    return figure


def draw_separation(rows: list[Row]) -> Figure:
    """Draw RMSD against torsion error, a colour a fold."""
    figure, (axis,) = panel_figure(1, 1, 5.4, 3.7)
    for number, name in enumerate(("helical", "hairpin", "other")):
        members = [row for row in rows if row["class"] == name]
        points = [[row[column] for row in members] for column in ("torsion error", "rmsd")]
        label = f"{name} ({len(members)})"
        axis.plot(*points, MARKS[number], color=COLOURS[number], ms=4, alpha=0.6, mew=0, label=label)
    axis.axvline(TORSIONS_RIGHT, color="0.5", ls=":", lw=1)
    axis.axhline(STRUCTURE_RIGHT, color="0.5", ls=":", lw=1)
    axis.set(xlabel="mean error of phi and psi (°)", ylabel="backbone RMSD (Å)")
    axis.legend(**BESIDE)
    return figure


def draw_worst(cases: Sequence[tuple[Item, np.ndarray, Row]]) -> Figure:
    """Draw CA traces of predictions on their experimental structures."""
    figure, axes = panel_figure(len(cases), 3, 3.0, 3.2)
    for axis, (item, structure, row) in zip(axes, cases, strict=True):
        native = item.coordinates[:, CA]
        moved = np.array(superpose(mx.array(structure[None, :, CA]), mx.array(native[None])))[0]
        centre = native.mean(axis=0)
        plane = np.linalg.svd(native - centre, full_matrices=False)[2][:2]  # the two widest directions
        for points, colour, label in ((native, "black", "experiment"), (moved, COLOURS[1], "prediction")):
            flat = (points - centre) @ plane.T
            axis.plot(*flat.T, "-o", color=colour, ms=3, lw=1.2, label=label)
            axis.plot(*flat[0], "o", mfc="none", mec=colour, ms=9)
        axis.set_aspect("equal", adjustable="datalim")
        title = f"{item.id}, {len(item)} residues\n{row['chemistry']}, {row['class']}, {row['rmsd']:.1f} Å"
        axis.set(title=title, xlabel="Å", ylabel="Å")
        axis.tick_params(labelsize=7)
    axes[0].legend(loc="best")
    return figure
