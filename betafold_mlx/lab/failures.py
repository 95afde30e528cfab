"""When and why predicted structures break: by residue, place, fold and length; right torsions, wrong coordinates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.evaluate.bootstrap import MIN_CLUSTERS, ClusterBootstrap, interval
from betafold_mlx.evaluate.folding import fold_all
from betafold_mlx.evaluate.groups import LENGTHS
from betafold_mlx.evaluate.items import Item, split_items
from betafold_mlx.evaluate.scores import CA, Scores, score_structures
from betafold_mlx.geometry import backbone_torsions, build_backbone, superpose
from betafold_mlx.geometry.metrics import backbone_rmsd
from betafold_mlx.lab.experiment import Finding, Lab, Outcome, Picture
from betafold_mlx.lab.figures import COLOURS, MARKS, new_figure, styled
from betafold_mlx.lab.scoring import described
from betafold_mlx.lab.statistics import rank_correlation
from betafold_mlx.lab.trained import load_trained
from betafold_mlx.peptide.sequence import ALPHABET, residue_ids
from betafold_mlx.structure.secondary import assign_secondary_structure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TORSIONS_RIGHT = 30.0
"""Mean error of phi and psi up to which torsions count as right, degrees: the right region of the Ramachandran plot."""
STRUCTURE_RIGHT = 3.0
"""Backbone RMSD up to which a structure counts as right, Angstrom: the shape of the chain can be recognised."""
LEVER = 0.75
"""Where the repair of one residue leaves less of the RMSD than this share, that residue is to blame."""
WORST = 6
STATES = {"H": "helix", "E": "strand", "C": "loop"}


class Residues(NamedTuple):
    """All residues of all structures in a row: what they are, and how wrong their prediction is."""

    item: np.ndarray
    letter: np.ndarray
    state: np.ndarray
    place: np.ndarray
    length: np.ndarray
    deviation: np.ndarray
    psi_error: np.ndarray


def run(lab: Lab) -> Outcome:
    """Fold test structures as `fold` does, and take the errors apart."""
    trained = load_trained(lab)
    items = split_items(lab.dataset, "test", lab.budget.test_items)
    predictions = fold_all(trained.predictor, [item.peptide for item in items], 1, lab.seed, lab.say)
    structures = [prediction.coordinates[0] for prediction in predictions]
    scores = score_structures(items, structures)
    rows = _item_rows(items, scores)
    residues = _residues(items, scores)
    clusters = np.array([item.cluster for item in items])
    lab.say("rebuilding with one native torsion pair at a time")
    levers = [
        _lever(item, structure) if _is_levered(row) else None
        for item, structure, row in zip(items, structures, rows, strict=True)
    ]
    for row, lever in zip(rows, levers, strict=True):
        row["best single repair (Å)"] = lever[1] if lever else None
        row["at residue"] = lever[0] + 1 if lever else None
    worst = sorted(range(len(items)), key=lambda index: -rows[index]["rmsd"])[:WORST]
    groups = _group_rows(residues, clusters, lab.seed)
    result = Outcome(
        findings=[
            *_separation(rows, clusters, lab.seed),
            *_extremes(groups),
        ],
        tables={"groups": groups, "structures": rows},
        pictures={
            "groups": Picture(
                draw_groups(groups),
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
            *trained.notes,
            f"{len(items)} test structures, the first of one model each, as `fold` writes it.",
            "The worst and the best of a kind were picked among its groups, and some would stand apart by chance: of "
            "many groups, as of the residues, read the table.",
        ],
    )
    return result


def _item_rows(items: Sequence[Item], scores: Scores) -> list[dict[str, Any]]:
    sums, counts = scores.torsion_sums
    torsion = sums[:, :2].sum(axis=1) / np.maximum(counts[:, :2].sum(axis=1), 1)
    return [
        {
            **described(item),
            "rmsd": float(scores.rmsd[index]),
            "torsion error": float(torsion[index]),
            "lddt": float(scores.mean_lddt[index]),
            "torsions": "right" if torsion[index] <= TORSIONS_RIGHT else "wrong",
            "coordinates": "right" if scores.rmsd[index] <= STRUCTURE_RIGHT else "wrong",
        }
        for index, item in enumerate(items)
    ]


def _residues(items: Sequence[Item], scores: Scores) -> Residues:
    columns: list[list[Any]] = [[] for _ in Residues._fields]
    for index, item in enumerate(items):
        length = len(item)
        states = assign_secondary_structure(item.coordinates[:, CA])
        for place in range(length):
            values = (
                index,
                item.peptide.sequence[place],
                states[place],
                place,
                length,
                scores.deviation[index][place],
                scores.torsion_error[index][place, 1],
            )
            for column, value in zip(columns, values, strict=True):
                column.append(value)
    return Residues(*(np.array(column) for column in columns))


def _group_rows(residues: Residues, clusters: np.ndarray, seed: int) -> list[dict[str, Any]]:
    """Return mean errors of groups of residues, with intervals over clusters."""
    third = 3 * residues.place // residues.length
    from_end = np.minimum(residues.place, residues.length - 1 - residues.place)
    groups: list[tuple[str, str, np.ndarray]] = []
    groups += [("residue", letter, residues.letter == letter) for letter in ALPHABET]
    groups += [("structure", name, residues.state == state) for state, name in STATES.items()]
    groups += [("third", name, third == n) for n, name in enumerate(("first", "middle", "last"))]
    groups += [("from the end", str(n), from_end == n) for n in range(6)] + [
        ("from the end", "6+", from_end >= 6)
    ]
    groups += [
        ("length", f"{low}-{high}", (low <= residues.length) & (residues.length <= high))
        for low, high in LENGTHS
    ]
    bootstrap = ClusterBootstrap(clusters, seed, 2000)
    rows = []
    for kind, name, chosen in groups:
        if not chosen.any():
            continue
        row: dict[str, Any] = {"by": kind, "group": name, "residues": int(chosen.sum())}
        enough = bootstrap.clusters_of(np.unique(residues.item[chosen])) >= MIN_CLUSTERS
        for column, unit in (("deviation", "Å"), ("psi_error", "°")):
            values = getattr(residues, column)
            known = chosen & np.isfinite(values)
            sums = np.bincount(residues.item[known], values[known], len(clusters))
            counts = np.bincount(residues.item[known], minlength=len(clusters))
            label = f"{column.replace('_', ' ')} ({unit})"
            row[label] = float(sums.sum() / counts.sum()) if counts.sum() else None
            low, high = (
                interval(bootstrap.pooled_mean(sums, counts)) if enough and counts.sum() else (None, None)
            )
            row[f"{label} low"], row[f"{label} high"] = low, high
        rows.append(row)
    return rows


def _extremes(groups: list[dict[str, Any]]) -> list[Finding]:
    """Say which group of each kind is worst and which best, and whether their intervals part."""
    found = []
    column, unit = "deviation (Å)", "Å"
    for kind in dict.fromkeys(row["by"] for row in groups):
        members = sorted((row for row in groups if row["by"] == kind), key=lambda row: row[column])
        best, worst = members[0], members[-1]
        ends = (best[f"{column} high"], worst[f"{column} low"])
        apart = None not in ends and ends[0] < ends[1]
        judged = "their intervals do not touch" if apart else "no difference seen: their intervals overlap"
        named = [f"{row['group']} ({row[column]:.2f} Å)" for row in (worst, best)]
        verdict = f"by {kind}: worst {named[0]}, best {named[1]}: {judged}."
        found.append(
            Finding(
                f"deviation, {kind} {worst['group']}",
                unit,
                worst[column],
                worst[f"{column} low"],
                worst[f"{column} high"],
                worst["residues"],
                verdict,
            )
        )
    return found


def _is_levered(row: dict[str, Any]) -> bool:
    return bool(row["torsions"] == "right" and row["coordinates"] == "wrong")


def _separation(rows: list[dict[str, Any]], clusters: np.ndarray, seed: int) -> list[Finding]:
    """Count structures with right torsions and wrong coordinates, and say what repairs them."""
    bootstrap = ClusterBootstrap(clusters, seed, 2000)

    def share(
        name: str, chosen: Callable[[dict[str, Any]], bool], among: Callable[[dict[str, Any]], bool]
    ) -> Finding | None:
        counts = np.array([float(among(row)) for row in rows])
        sums = np.array([float(among(row) and chosen(row)) for row in rows])
        if not counts.sum():
            return None
        low, high = interval(bootstrap.pooled_mean(sums, counts))
        value = sums.sum() / counts.sum()
        number = bootstrap.clusters_of(counts > 0)
        verdict = (
            f"{name}: {value:.0%} (95 % {low:.0%} to {high:.0%}; {int(sums.sum())} of {int(counts.sum())})."
        )
        return Finding(name, "", float(value), low, high, number, verdict)

    wrong = "of structures with right torsions, share with wrong coordinates"
    found = [
        share(wrong, lambda row: row["coordinates"] == "wrong", lambda row: row["torsions"] == "right"),
        share(
            "of structures with wrong torsions, share with wrong coordinates",
            lambda row: row["coordinates"] == "wrong",
            lambda row: row["torsions"] == "wrong",
        ),
    ]
    levered = [row for row in rows if _is_levered(row)]
    if levered:
        before = float(np.mean([row["rmsd"] for row in levered]))
        after = float(np.mean([row["best single repair (Å)"] for row in levered]))
        judged = "one residue swings the rest" if after < LEVER * before else "many small errors add up"
        verdict = (
            f"torsions right, coordinates wrong ({len(levered)} structures): with native phi, psi and omega at the one "
            f"most harmful residue the mean RMSD falls from {before:.2f} to {after:.2f} Å: {judged}."
        )
        found.append(
            Finding("RMSD after the best single repair", "Å", after, None, None, len(levered), verdict)
        )
    errors, rmsd = (np.array([row[name] for row in rows]) for name in ("torsion error", "rmsd"))
    link = rank_correlation(errors, rmsd)
    if np.isfinite(link):
        verdict = f"torsion error and RMSD, rank correlation over {len(rows)} structures: {link:+.2f}."
        found.append(
            Finding("rank correlation of torsion error and RMSD", "", link, None, None, len(rows), verdict)
        )
    return [finding for finding in found if finding is not None]


def _lever(item: Item, structure: np.ndarray) -> tuple[int, float]:
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


@styled
def draw_groups(groups: list[dict[str, Any]]) -> Figure:
    """Draw the errors of all groups, kinds side by side, deviation above psi error."""
    kinds = list(dict.fromkeys(row["by"] for row in groups))
    sizes = [sum(row["by"] == kind for row in groups) for kind in kinds]
    figure = new_figure(10.5, 5.2)
    axes = figure.subplots(
        2, len(kinds), sharex="col", sharey="row", width_ratios=[size + 1.5 for size in sizes]
    )
    for line, column in enumerate(("deviation (Å)", "psi error (°)")):
        for axis, kind in zip(axes[line], kinds, strict=True):
            members = [row for row in groups if row["by"] == kind and row[column] is not None]
            places = np.arange(len(members))
            values = np.array([row[column] for row in members])
            ends = np.array(
                [
                    [
                        row[column] if row[f"{column} {end}"] is None else row[f"{column} {end}"]
                        for row in members
                    ]
                    for end in ("low", "high")
                ]
            )
            spread = np.maximum(np.abs(ends - values), 0.0)
            axis.errorbar(places, values, yerr=spread, fmt="o", ms=4, color=COLOURS[line], elinewidth=1)
            long = max(len(row["group"]) for row in members) > 2
            axis.set_xticks(places, [row["group"] for row in members], rotation=90 if long else 0, fontsize=8)
            axis.set_xlim(-0.75, len(members) - 0.25)
            axis.grid(axis="y", color="0.9")
            if line == 1:
                axis.set_xlabel(kind)
        axes[line, 0].set_ylabel(f"mean {column}")
        axes[line, 0].set_ylim(bottom=0)
    return figure


@styled
def draw_separation(rows: list[dict[str, Any]]) -> Figure:
    """Draw RMSD against torsion error, a colour a fold."""
    figure = new_figure(6.2, 4.2)
    axis = figure.subplots()
    for number, name in enumerate(("helical", "hairpin", "other")):
        members = [row for row in rows if row["class"] == name]
        axis.plot(
            [row["torsion error"] for row in members],
            [row["rmsd"] for row in members],
            MARKS[number],
            color=COLOURS[number],
            ms=4,
            alpha=0.6,
            mew=0,
            label=f"{name} ({len(members)})",
        )
    axis.axvline(TORSIONS_RIGHT, color="0.5", ls=":", lw=1)
    axis.axhline(STRUCTURE_RIGHT, color="0.5", ls=":", lw=1)
    axis.set_xlabel("mean error of phi and psi (°)")
    axis.set_ylabel("backbone RMSD (Å)")
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@styled
def draw_worst(cases: Sequence[tuple[Item, np.ndarray, dict[str, Any]]]) -> Figure:
    """Draw CA traces of predictions on their experimental structures."""
    columns = min(3, len(cases))
    rows = -(-len(cases) // columns)
    figure = new_figure(3.2 * columns, 3.3 * rows)
    axes = figure.subplots(rows, columns, squeeze=False)
    for number, axis in enumerate(axes.flat):
        if number >= len(cases):
            axis.set_visible(False)
            continue
        item, structure, row = cases[number]
        native = item.coordinates[:, CA]
        moved = np.array(superpose(mx.array(structure[None, :, CA]), mx.array(native[None])))[0]
        centre = native.mean(axis=0)
        plane = np.linalg.svd(native - centre, full_matrices=False)[2][:2]  # the two widest directions
        for points, colour, label in ((native, "black", "experiment"), (moved, COLOURS[1], "prediction")):
            flat = (points - centre) @ plane.T
            axis.plot(*flat.T, "-o", color=colour, ms=3, lw=1.2, label=label)
            axis.plot(*flat[0], "o", mfc="none", mec=colour, ms=9)
        axis.set_aspect("equal", adjustable="datalim")
        axis.set_title(
            f"{item.id}, {len(item)} residues\n{row['chemistry']}, {row['class']}, {row['rmsd']:.1f} Å"
        )
        axis.set_xlabel("Å", labelpad=0)
        axis.set_ylabel("Å", labelpad=0)
        axis.tick_params(labelsize=7)
    axes.flat[0].legend(loc="best")
    return figure
