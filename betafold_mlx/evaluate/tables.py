"""A report as tables to read in a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

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
_CONFIDENCE = (
    ("mean_plddt", "pLDDT", 1),
    ("mean_lddt", "lDDT", 1),
    ("spearman_lddt", "rho lDDT", 2),
    ("spearman_rmsd", "rho RMSD", 2),
)
_FIRST_COLUMN = 46
_RELIABILITY_OF = ("all", "fragments", "peptides free+oligomer")

LEGEND = """\
RMSD: N, CA, C after superposition (proper rotation), Angstrom: mean and median over structures, and the mean deviation
of the residues in the first, middle and last third. CA: mean C-alpha RMSD. phi, psi, omega: mean absolute circular
error, degrees, over all residues. Q3: share of residues in the right P-SEA state. CA-CA: mean error of the C-alpha
distance matrix, Angstrom. lDDT and GDT_TS (C-alpha, 0 to 1) flatter short peptides: a wrong helix has an lDDT of about
0.4, a wrong strand of 10 residues a GDT_TS of 0.30.
Differences are judged method minus baseline (negative is better) with a 95 % interval, * where that excludes zero:
paired bootstrap over clusters. With few clusters it is too narrow (it holds the truth in 83 % of cases at 5, 91 % at
10, 93 % at 40)."""


def render(report: Mapping[str, Any]) -> str:
    """Return the tables of a report (`betafold_mlx.evaluate.report.build_report`) as text."""
    blocks = [_heading(report)]
    for group in report["groups"]:
        blocks.append(_group(group))
        if group.get("comparisons"):
            blocks.append(_comparisons(group, report["judged"]))
    if any("confidence" in group for group in report["groups"]):
        blocks.append(_confidence(report["groups"]))
        blocks += [_reliability(group) for group in report["groups"] if group["name"] in _RELIABILITY_OF]
    if report["groups"]:
        blocks.append(LEGEND)
    if report.get("not_scored"):
        lines = [f"  {entry['what']} {entry['name']}: {entry['reason']}" for entry in report["not_scored"]]
        blocks.append("\n".join(["not scored:", *lines]))
    return "\n\n".join(block for block in blocks if block) + "\n"


def _heading(report: Mapping[str, Any]) -> str:
    lines = [f"{_label(name)}: {description}" for name, description in report["methods"].items()]
    return "\n".join(lines + [f"note: {note}" for note in report["notes"]])


def _group(group: Mapping[str, Any]) -> str:
    header = [f"{group['name']}: {group['n']}{_clusters(group)}", *(title for _, title, _ in _FIGURES)]
    rows = [
        [_label(method), *(_number(figures[key], places) for key, _, places in _FIGURES)]
        for method, figures in group["figures"].items()
    ]
    return _table([header, *rows])


def _clusters(group: Mapping[str, Any]) -> str:
    count = group["clusters"]
    return "" if count is None else f" in {count} cluster{'s' if count != 1 else ''}"


def _comparisons(group: Mapping[str, Any], judged: str) -> str:
    none = "" if group["intervals"] else " (too few clusters for intervals)"
    header = [f"{_label(judged)} minus{none}", *(title for _, title in _DIFFERENCES)]
    rows = [
        [_label(other), *(_difference(table[key]) for key, _ in _DIFFERENCES)]
        for other, table in group["comparisons"].items()
    ]
    return _table([header, *rows])


def _confidence(groups: Iterable[Mapping[str, Any]]) -> str:
    header = ["confidence", *(title for _, title, _ in _CONFIDENCE), "RMSD", "surest 20 %"]
    rows = []
    for group in groups:
        figures = group["confidence"]
        everybody = next(iter(group["figures"].values()))
        mean = everybody["rmsd_mean"] if everybody["rmsd_mean"] is not None else everybody["ca_rmsd_mean"]
        numbers = [_number(figures[key], places) for key, _, places in _CONFIDENCE]
        rows.append(
            [group["name"], *numbers, _number(mean, 2), _number(figures["most_confident"]["rmsd_mean"], 2)]
        )
    return _table([header, *rows])


def _reliability(group: Mapping[str, Any]) -> str:
    rows = [[f"reliability, {group['name']}", "residues", "pLDDT", "lDDT"]]
    for entry in group["confidence"]["reliability"]:
        if entry["residues"]:
            means = [_number(entry[key], 1) for key in ("mean_plddt", "mean_lddt")]
            rows.append([f"{entry['low']:.0f}-{entry['high']:.0f}", str(entry["residues"]), *means])
    return _table(rows)


def _label(method: str) -> str:
    return method.replace("_", " ")


def _number(value: float | None, places: int) -> str:
    return "-" if value is None else f"{value:.{places}f}"


def _difference(entry: Mapping[str, Any]) -> str:
    text = "-" if entry["difference"] is None else f"{entry['difference']:+.2f}"
    if entry["low"] is None:
        return text
    return f"{text} [{entry['low']:+.2f}, {entry['high']:+.2f}]{'*' if entry['excludes_zero'] else ' '}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Align columns: the first to the left, the others to the right; the first row is the header."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    widths[0] = max(widths[0], _FIRST_COLUMN)  # so that the tables stand under one another
    lines = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])
