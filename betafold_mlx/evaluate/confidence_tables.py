"""What a confidence is worth, as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from betafold_mlx.evaluate.confidence import COVERAGES
from betafold_mlx.evaluate.layout import align, estimate, number, percent

_COLUMNS = (
    ("mean_plddt", "pLDDT", 1),
    ("mean_lddt", "lDDT", 1),
    ("spearman_lddt", "rho lDDT", 2),
    ("partial_spearman_lddt", "partial", 2),
    ("spearman_rmsd", "rho RMSD", 2),
    ("partial_spearman_rmsd", "partial", 2),
)
_CURVES_OF = ("all", "fragments", "peptides free+oligomer")

LEGEND = """\
rho: Spearman's correlation of mean pLDDT over structures; partial: the same with length and predicted helix content
removed. ECE: expected calibration error of residues and of whole models, 10 bins, in points of 100. Surest 20 %: RMSD
of the fifth of highest mean pLDDT, and its ratio to that of all, of means and of medians. Area: of the risk-coverage
curve, the mean RMSD of the k surest over all k; in brackets that of a perfect order. Within a peptide: Spearman's
correlation of mean pLDDT with RMSD among its models (negative is right), how often the first model is the best one,
and its RMSD beside the mean over all."""


def confidence_tables(groups: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the tables of the groups of a report that have a confidence; nothing where none has."""
    known = [group for group in groups if "confidence" in group]
    if not known:
        return
    yield _calibration(known)
    ranked = [group for group in known if "ranking" in group]
    if ranked:
        yield _ranking(ranked)
    curves = [group for group in known if group["name"] in _CURVES_OF]
    if curves:
        yield _risk_coverage(curves)
    for group in curves:
        yield _reliability(group)
    yield LEGEND


def _calibration(groups: Sequence[Mapping[str, Any]]) -> str:
    titles = [title for _, title, _ in _COLUMNS]
    header = ["confidence", *titles, "ECE res.", "ECE models", "RMSD", "surest 20 %", "ratio", "of medians"]
    rows = []
    for group in groups:
        figures = group["confidence"]
        error, surest = figures["expected_calibration_error"], figures["most_confident"]
        rows.append(
            [
                group["name"],
                *(number(figures[key], places) for key, _, places in _COLUMNS),
                *(number(error[key], 1) for key in ("residues", "models")),
                number(figures["risk_coverage"]["rmsd"][-1], 2),
                *(number(surest[key], 2) for key in ("rmsd_mean", "mean_ratio", "median_ratio")),
            ]
        )
    return align([header, *rows])


def _ranking(groups: Sequence[Mapping[str, Any]]) -> str:
    header = [
        *("within a peptide", "n", "rho RMSD", "hits", "chance", "first", "mean of all", "best"),
        *("hits - chance", "first - mean"),
    ]
    rows = []
    for group in groups:
        figures = group["ranking"]
        rows.append(
            [
                *(group["name"], str(figures["n"]), estimate(figures["spearman_rmsd"], "mean")),
                *(percent(figures[key]) for key in ("hit_rate", "chance")),
                *(number(figures[key], 2) for key in ("rmsd_first", "rmsd_mean", "rmsd_best")),
                *(estimate(figures[key], "mean") for key in ("hit_rate_minus_chance", "first_minus_mean")),
            ]
        )
    return align([header, *rows])


def _risk_coverage(groups: Sequence[Mapping[str, Any]]) -> str:
    rows = [["RMSD of the surest", *(f"{percent} %" for percent in COVERAGES), "area"]]
    for group in groups:
        figures = group["confidence"]["risk_coverage"]
        area = f"{number(figures['area'], 2)} ({number(figures['area_perfect'], 2)})"
        rows.append([group["name"], *(number(value, 2) for value in figures["rmsd"]), area])
    return align(rows)


def _reliability(group: Mapping[str, Any]) -> str:
    rows = [[f"reliability, {group['name']}", "residues", "pLDDT", "lDDT"]]
    for entry in group["confidence"]["reliability"]:
        if entry["residues"]:
            means = [number(entry[key], 1) for key in ("mean_plddt", "mean_lddt")]
            rows.append([f"{entry['low']:.0f}-{entry['high']:.0f}", str(entry["residues"]), *means])
    return align(rows)
