"""A report as tables to read in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from betafold_mlx.evaluate.confidence_tables import confidence_tables
from betafold_mlx.evaluate.evaluation import BEST_OF, OTHER
from betafold_mlx.evaluate.layout import align, estimate, label, number, percent

_FIGURES = (
    ("rmsd_mean", "RMSD", 2),
    ("rmsd_median", "median", 2),
    ("deviation_first_third", "N-term", 2),
    ("deviation_middle_third", "middle", 2),
    ("deviation_last_third", "C-term", 2),
    ("ca_rmsd_mean", "CA", 2),
    ("phi_mae", "phi", 1),
    ("psi_mae", "psi", 1),
    ("omega_mae", "omega", 1),
    ("q3", "Q3", 3),
    ("ca_distance_error", "CA-CA", 2),
    ("lddt", "lDDT", 3),
    ("gdt_ts", "GDT_TS", 3),
)
_DIFFERENCES = (("rmsd_mean", "RMSD"), ("rmsd_median", "median RMSD"), ("phi_mae", "phi"), ("psi_mae", "psi"))
_CLASS_METHODS = (OTHER, "constant_helix", "nearest_neighbour", "reconstruction_floor")

LEGEND = """\
RMSD: N, CA, C after superposition (proper rotation), Angstrom: mean and median over structures, and the mean deviation
of the residues in the first, middle and last third. CA: mean C-alpha RMSD. phi, psi, omega: mean absolute circular
error, degrees, over all residues. Q3: share of residues in the right P-SEA state. CA-CA: mean error of the C-alpha
distance matrix, Angstrom. lDDT and GDT_TS (C-alpha, 0 to 1) flatter short peptides: a wrong helix has an lDDT of about
0.4, a wrong strand of 10 residues a GDT_TS of 0.30.
Differences are judged method minus baseline (negative is better) with a 95 % interval, * where that excludes zero:
paired bootstrap over clusters. With few clusters it is too narrow (it holds the truth in 83 % of cases at 5, 91 % at
10, 93 % at 40)."""

PAIRING_LEGEND = """\
How often the disulfides that the model prefers, told of none, are the native ones, all of them; chance: 1 / number of
ways; probability: the model's own. Left out: items with two cysteines, and with more free cysteines than one."""

SCOPE_LEGEND = """\
Random sequences have the composition of the train split, shuffled ones that of a fragment; disordered ones are pieces
of proteins without a fold in solution, seen where 10 residues in a row occur in training. helix: share of residues;
below: chance that a fragment has a higher mean pLDDT."""


def render(report: Mapping[str, Any]) -> str:
    """Return the tables of a report (`betafold_mlx.evaluate.report.build_report`) as text."""
    blocks = [_heading(report)]
    for group in report["groups"]:
        blocks.append(_group(group))
        if group.get("comparisons"):
            blocks.append(_comparisons(group, report["judged"]))
    if report["groups"]:
        blocks += [LEGEND, *_classes(report), *confidence_tables(report["groups"])]
        blocks += [*_bonds(report["groups"]), *_pairings(report["groups"]), *_scope(report)]
    if report.get("not_scored"):
        lines = [f"  {entry['what']} {entry['name']}: {entry['reason']}" for entry in report["not_scored"]]
        blocks.append("\n".join(["not scored:", *lines]))
    return "\n\n".join(block for block in blocks if block) + "\n"


def _heading(report: Mapping[str, Any]) -> str:
    lines = [f"{label(name)}: {description}" for name, description in report["methods"].items()]
    return "\n".join(lines + [f"note: {note}" for note in report["notes"]])


def _group(group: Mapping[str, Any]) -> str:
    header = [f"{group['name']}: {group['n']}{_clusters(group)}", *(title for _, title, _ in _FIGURES)]
    rows = [
        [label(method), *(number(figures[key], places) for key, _, places in _FIGURES)]
        for method, figures in group["figures"].items()
    ]
    return align([header, *rows])


def _clusters(group: Mapping[str, Any]) -> str:
    count = group["clusters"]
    return "" if count is None else f" in {count} cluster{'s' if count != 1 else ''}"


def _comparisons(group: Mapping[str, Any], judged: str) -> str:
    none = "" if group["intervals"] else " (too few clusters for intervals)"
    header = [f"{label(judged)} minus{none}", *(title for _, title in _DIFFERENCES)]
    rows = [
        [label(other), *(estimate(table[key], "difference") for key, _ in _DIFFERENCES)]
        for other, table in group["comparisons"].items()
    ]
    return align([header, *rows])


def _classes(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the medians of the classes by the methods that tell most."""
    if not report["classes"]:
        return
    judged = report["judged"]
    methods = [
        method
        for method in report["methods"]
        if method == judged or method.startswith(BEST_OF) or method in _CLASS_METHODS
    ]
    rows = [["median RMSD by class", "n", "clusters", *map(label, methods)]]
    for entry in report["classes"]:
        clusters = "-" if entry["clusters"] is None else str(entry["clusters"])
        medians = [number(entry["rmsd_median"][method], 2) for method in methods]
        rows.append([entry["name"], str(entry["n"]), clusters, *medians])
    yield align(rows)


def _bonds(groups: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    rows = [["stated bonds made", "items", "first models", "all models", "of"]]
    for group in groups:
        for kind, figures in group.get("bonds", {}).items():
            shares = [percent(figures[key]) for key in ("formed_first", "formed_all")]
            rows.append([f"{group['name']}: {kind}", str(figures["items"]), *shares, str(figures["models"])])
    if len(rows) > 1:
        yield align(rows)


def _pairings(groups: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    rows = [["disulfides not stated", "n", "right", "chance", "probability", "2 cysteines", "more free"]]
    for group in groups:
        if "pairing" in group:
            figures = group["pairing"]
            shares = [percent(figures[key]) for key in ("right", "chance", "mean_probability")]
            left_out = [str(figures[key]) for key in ("single", "unanswerable")]
            rows.append([group["name"], str(figures["n"]), *shares, *left_out])
    if len(rows) > 1:
        yield align(rows) + "\n" + PAIRING_LEGEND


def _scope(report: Mapping[str, Any]) -> Iterator[str]:
    if "scope" not in report:
        return
    scope = report["scope"]
    rows = [
        ["confidence where there is no fold", "n", "pLDDT", f"> {scope['confident']:.0f}", "helix", "below"]
    ]
    for entry in scope["sets"]:
        shares = [percent(entry[key]) for key in ("share_confident", "helix_share", "fragments_above")]
        rows.append([entry["name"], str(entry["n"]), number(entry["mean_plddt"], 1), *shares])
    yield align(rows) + "\n" + SCOPE_LEGEND
    rows = [["disordered in solution", "seen", "pLDDT", "structure"]]
    for piece in scope["disordered"]:
        seen = "yes" if piece["seen"] else "no"
        structure = piece["secondary_structure"].ljust(30)
        rows.append([piece["name"], seen, number(piece["mean_plddt"], 1), structure])
    yield align(rows)
