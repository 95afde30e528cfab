"""Figures of a group of structures, and differences between two methods with their intervals.

Torsion errors and Q3 are pooled over residues; every other figure is a mean (or median) over structures.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from betafold_mlx.evaluate.bootstrap import ClusterBootstrap, interval
from betafold_mlx.evaluate.structure_scores import Scores

ANGLES = ("phi", "psi", "omega")
COMPARED = ("rmsd_mean", "rmsd_median", "phi_mae", "psi_mae")
"""Figures whose differences are given with an interval. All are errors: negative favours the first method."""


def method_figures(scores: Scores) -> dict[str, float]:
    """Return the figures of one method on a group of at least one structure.

    ``rmsd_mean``, ``rmsd_median`` (backbone), ``ca_rmsd_mean``, ``deviation_first_third``,
    ``deviation_middle_third``, ``deviation_last_third`` (of the residues, after superposition of the whole),
    ``ca_distance_error`` in Angstrom; ``phi_mae``, ``psi_mae``, ``omega_mae`` in degrees; ``q3``, ``lddt``,
    ``gdt_ts`` from 0 to 1. NaN where there is nothing to average.
    """
    sums, counts = scores.torsion_sums
    first, middle, last = scores.thirds.T
    lengths = np.array([len(values) for values in scores.deviation])
    known = scores.rmsd[np.isfinite(scores.rmsd)]
    return {
        "rmsd_mean": _mean(known),
        "rmsd_median": float(np.median(known)) if len(known) else float("nan"),
        "ca_rmsd_mean": _mean(scores.ca_rmsd),
        "deviation_first_third": _mean(first),
        "deviation_middle_third": _mean(middle),
        "deviation_last_third": _mean(last),
        **{
            f"{angle}_mae": _ratio(sums[:, place].sum(), counts[:, place].sum())
            for place, angle in enumerate(ANGLES)
        },
        "q3": _ratio((scores.q3 * lengths).sum(), lengths.sum()),
        "ca_distance_error": _mean(scores.ca_distance_error),
        "lddt": _mean(scores.mean_lddt),
        "gdt_ts": _mean(scores.gdt_ts),
    }


def _mean(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float("nan")


def _ratio(total: float, count: float) -> float:
    return float(total / count) if count else float("nan")


def compare(first: Scores, second: Scores, bootstrap: ClusterBootstrap | None) -> dict[str, dict[str, Any]]:
    """Return the differences ``first - second`` of the `COMPARED` figures of the same structures.

    All have N, CA and C. Each figure has ``difference``, ``low``, ``high`` (95 % interval over the clusters of the
    bootstrap) and ``excludes_zero``; the last three are None without one.
    """
    ones = np.ones(len(first))
    a, b = method_figures(first), method_figures(second)
    (errors, counts), (other_errors, _) = first.torsion_sums, second.torsion_sums
    samples: dict[str, np.ndarray] = {}
    if bootstrap is not None:
        samples = {
            "rmsd_mean": bootstrap.pooled_mean(first.rmsd - second.rmsd, ones),
            "rmsd_median": bootstrap.median(first.rmsd) - bootstrap.median(second.rmsd),
            "phi_mae": bootstrap.pooled_mean(errors[:, 0] - other_errors[:, 0], counts[:, 0]),
            "psi_mae": bootstrap.pooled_mean(errors[:, 1] - other_errors[:, 1], counts[:, 1]),
        }
    table = {}
    for name in COMPARED:
        low, high = interval(samples[name]) if samples else (None, None)
        table[name] = {"difference": a[name] - b[name], **ends(low, high)}
    return table


def ends(low: float | None, high: float | None) -> dict[str, Any]:
    """Return ``low``, ``high`` and ``excludes_zero`` of an interval, None where there is none."""
    excludes = None if low is None or high is None else bool(low > 0 or high < 0)
    return {"low": low, "high": high, "excludes_zero": excludes}
