"""Whether a confidence means what it says: predicted lDDT against the lDDT that was reached."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from betafold_mlx.evaluate.scoring import Scores

BINS = 10
MOST_CONFIDENT = 0.2
"""Share of the items whose RMSD is given apart."""


def confidence_figures(plddt: Sequence[np.ndarray], scores: Scores) -> dict[str, Any]:
    """Return how well the confidence ranks and how well it is calibrated.

    Parameters
    ----------
    plddt : sequence of numpy.ndarray
        n times (L,), 0 to 100.
    scores : Scores
        Of the same n structures.

    Returns
    -------
    dict
        ``mean_plddt`` and ``mean_lddt`` (both 0 to 100, means over items), ``spearman_lddt`` and ``spearman_rmsd``
        (of mean pLDDT with mean lDDT, with RMSD; over items), ``most_confident`` (number and RMSD of the 20 % of
        highest mean pLDDT), ``reliability`` (residues by pLDDT in 10 bins). RMSD is that of CA where a structure
        has no more. NaN where there is too little to tell.
    """
    means = np.array([values.mean() for values in plddt])
    reached = 100.0 * scores.mean_lddt
    rmsd = np.where(np.isnan(scores.rmsd), scores.ca_rmsd, scores.rmsd)
    best = np.argsort(-means, kind="stable")[: int(np.ceil(MOST_CONFIDENT * len(means)))]
    return {
        "mean_plddt": means.mean(),
        "mean_lddt": reached.mean(),
        "spearman_lddt": spearman(means, reached),
        "spearman_rmsd": spearman(means, rmsd),
        "most_confident": {
            "n": len(best),
            "rmsd_mean": rmsd[best].mean(),
            "rmsd_median": np.median(rmsd[best]),
        },
        "reliability": reliability(np.concatenate(plddt), 100.0 * np.concatenate(scores.lddt)),
    }


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Return Spearman's rank correlation of (n,) values, equal ones sharing their mean rank.

    NaN with fewer than three values, or where one side is constant.
    """
    if len(first) < 3:
        return float("nan")
    a, b = (_ranks(values) for values in (first, second))
    a, b = a - a.mean(), b - b.mean()
    size = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / size) if size > 0 else float("nan")


def _ranks(values: np.ndarray) -> np.ndarray:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[places.reshape(-1)]


def reliability(predicted: np.ndarray, reached: np.ndarray) -> list[dict[str, Any]]:
    """Return the residues by predicted lDDT in bins of equal width.

    Parameters
    ----------
    predicted, reached : numpy.ndarray
        (n,) pLDDT and lDDT of residues, 0 to 100.

    Returns
    -------
    list of dict
        ``low`` and ``high`` of the bin (the upper end belongs to the next bin, 100 to the last), ``residues``,
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
