"""Calibration and ranking of a confidence: predicted lDDT against the lDDT and the RMSD that were reached."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from betafold_mlx.evaluate.structure_scores import Scores

BINS = 10
CONFIDENT_SHARE = 0.2
"""Share of the items whose RMSD is given apart."""
COVERAGES = tuple(range(10, 101, 10))
"""Percent of the items, the most confident ones, of the risk-coverage curve."""

_NOTHING = 1e-18  # of the squared size of ranks: less is left of them by rounding alone


def confidence_figures(plddt: Sequence[np.ndarray], scores: Scores) -> dict[str, Any]:
    """Return how well the confidence of n structures, n times (L,) from 0 to 100, ranks and is calibrated.

    RMSD is that of CA where a structure has no more. NaN where there is too little to tell.

    ``mean_plddt`` and ``mean_lddt``: both 0 to 100, means over items.
    ``expected_calibration_error``: of the ``residues`` and of the ``models`` (means over residues), 0 to 100.
    ``spearman_lddt`` and ``spearman_rmsd``: of mean pLDDT with mean lDDT, with RMSD; over items.
    ``partial_spearman_lddt`` and ``partial_spearman_rmsd``: the same, length and helix content (the share of H
    in the predicted structure) removed.
    ``most_confident``: number ``n``, ``rmsd_mean`` and ``rmsd_median`` of the 20 % of highest mean pLDDT, and the
    ratios of these to those of all items, ``mean_ratio`` and ``median_ratio``.
    ``risk_coverage``, ``reliability``: see the functions of these names.
    """
    means = np.array([values.mean() for values in plddt])
    reached = 100.0 * scores.mean_lddt
    rmsd = np.where(np.isnan(scores.rmsd), scores.ca_rmsd, scores.rmsd)
    best = np.argsort(-means, kind="stable")[: int(np.ceil(CONFIDENT_SHARE * len(means)))]
    lengths = np.array([len(states) for states in scores.secondary_structure], dtype=float)
    helix = np.array([states.count("H") / len(states) for states in scores.secondary_structure])
    residues = np.concatenate(plddt), 100.0 * np.concatenate(scores.lddt)
    return {
        "mean_plddt": means.mean(),
        "mean_lddt": reached.mean(),
        "expected_calibration_error": {
            "residues": expected_calibration_error(*residues),
            "models": expected_calibration_error(means, reached),
        },
        "spearman_lddt": spearman(means, reached),
        "spearman_rmsd": spearman(means, rmsd),
        "partial_spearman_lddt": partial_spearman(means, reached, (lengths, helix)),
        "partial_spearman_rmsd": partial_spearman(means, rmsd, (lengths, helix)),
        "most_confident": {
            "n": len(best),
            "rmsd_mean": rmsd[best].mean(),
            "rmsd_median": np.median(rmsd[best]),
            "mean_ratio": _ratio(rmsd[best].mean(), rmsd.mean()),
            "median_ratio": _ratio(np.median(rmsd[best]), np.median(rmsd)),
        },
        "risk_coverage": risk_coverage(means, rmsd),
        "reliability": reliability(*residues),
    }


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else float("nan")


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Return Spearman's rank correlation of (n,) values, equal ones sharing their mean rank.

    NaN with fewer than three values, or where one side is constant.
    """
    return partial_spearman(first, second, ())


def partial_spearman(first: np.ndarray, second: np.ndarray, others: Sequence[np.ndarray]) -> float:
    """Return Spearman's rank correlation of (n,) values with the influence of others removed.

    The ranks of `first` and of `second` are each fitted by least squares to the ranks of the others and a constant;
    the result is Pearson's correlation of what the fits leave over. For one other that is the textbook formula
    (r_12 - r_13 r_23) / sqrt((1 - r_13^2) (1 - r_23^2)).

    NaN with fewer values than the others plus three, or where the fit leaves nothing over on one side.
    """
    if len(first) < len(others) + 3:
        return float("nan")
    design = np.stack([np.ones(len(first)), *map(_ranks, others)], axis=1)
    sides, sizes = [], []
    for values in (first, second):
        ranks = _ranks(values)
        left = ranks - design @ np.linalg.lstsq(design, ranks, rcond=None)[0]
        sides.append(left)
        sizes.append(left @ left if left @ left > _NOTHING * (ranks @ ranks) else 0.0)
    size = np.sqrt(sizes[0] * sizes[1])
    return float(np.clip(sides[0] @ sides[1] / size, -1.0, 1.0)) if size > 0 else float("nan")


def _ranks(values: np.ndarray) -> np.ndarray:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[places.reshape(-1)]


def chance_above(first: np.ndarray, second: np.ndarray) -> float:
    """Return the chance that a value of the first (n,) exceeds one of the second (m,), equal ones counting half.

    That is the area under the ROC curve of telling the two apart (J. A. Hanley and B. J. McNeil, Radiology 143, 29
    (1982)). NaN where one side is empty.
    """
    if not len(first) or not len(second):
        return float("nan")
    ranks = _ranks(np.concatenate([first, second]))[: len(first)]
    return float((ranks.sum() / len(first) - (len(first) + 1) / 2) / len(second))


def risk_coverage(confidence: np.ndarray, risk: np.ndarray) -> dict[str, Any]:
    """Return the risk of the most confident items at each coverage (Y. Geifman and R. El-Yaniv, NeurIPS 2017).

    Of at least one item, confidence and RMSD in Angstrom, (n,): ``coverage`` in percent (`COVERAGES`; a part of an
    item counts as one) and ``rmsd``, the mean of so many of the most confident items. ``area``: mean over k = 1..n of
    the mean RMSD of the k most confident, that is the area under the curve; ``area_perfect``: the same when sorted by
    RMSD itself. A confidence that knows nothing has, on average, the area of the mean RMSD. Items of equal confidence
    count as the mean of them, whatever their order.
    """
    _, group, counts = np.unique(-confidence, return_inverse=True, return_counts=True)
    group = group.reshape(-1)
    levelled = (np.bincount(group, weights=risk) / counts)[group]
    number = np.arange(1, len(risk) + 1)
    running = np.cumsum(levelled[np.argsort(-confidence, kind="stable")]) / number
    places = [-(-percent * len(risk) // 100) - 1 for percent in COVERAGES]
    return {
        "coverage": list(COVERAGES),
        "rmsd": running[places],
        "area": running.mean(),
        "area_perfect": (np.cumsum(np.sort(risk)) / number).mean(),
    }


def expected_calibration_error(predicted: np.ndarray, reached: np.ndarray) -> float:
    """Return the mean over residues or models of how far their bin's confidence is off; both (n,), 0 to 100.

    That is the sum over the bins of `reliability` of |mean predicted - mean reached|, each with its share of the n
    values (M. P. Naeini, G. F. Cooper and M. Hauskrecht, AAAI 2015).
    """
    table = [entry for entry in reliability(predicted, reached) if entry["residues"]]
    errors = [entry["residues"] * abs(entry["mean_plddt"] - entry["mean_lddt"]) for entry in table]
    return float(sum(errors) / len(predicted))


def reliability(predicted: np.ndarray, reached: np.ndarray) -> list[dict[str, Any]]:
    """Return residues by predicted lDDT in bins of equal width, from their (n,) pLDDT and lDDT, 0 to 100.

    Each bin has ``low`` and ``high`` (the upper end belongs to the next bin, 100 to the last), ``residues``,
    ``mean_plddt`` and ``mean_lddt`` (NaN in an empty bin).
    """
    width = 100.0 / BINS
    place = np.clip((predicted // width).astype(int), 0, BINS - 1)
    table = []
    for number in range(BINS):
        inside = place == number
        means = [x[inside].mean() if inside.any() else np.nan for x in (predicted, reached)]
        table.append(
            {
                "low": number * width,
                "high": (number + 1) * width,
                "residues": int(inside.sum()),
                "mean_plddt": means[0],
                "mean_lddt": means[1],
            }
        )
    return table
