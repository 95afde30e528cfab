"""How far two sets of chains are apart in what they look like: histograms, and their Jensen-Shannon divergence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from betafold_mlx.generate.validity import radius_of_gyration

STEP = 0.5
"""Angstrom, a bin."""

_RADII = np.arange(0.0, 40.0 + STEP, STEP)
_DISTANCES = np.arange(0.0, 124.0 + STEP, STEP)
SEPARATIONS = range(2, 13)
"""Residues apart along the chain whose distances are compared; neighbours are at bond length."""


def jensen_shannon(first: np.ndarray, second: np.ndarray) -> float:
    """Return the Jensen-Shannon divergence of two histograms, in bits: 0 if they are alike, 1 if nothing is shared.

    J. Lin, IEEE Trans. Inf. Theory 37, 145 (1991).

    Parameters
    ----------
    first, second : numpy.ndarray
        (n,) counts or weights; NaN comes back where one of them is empty.
    """
    if not first.sum() or not second.sum():
        return float("nan")
    p, q = first / first.sum(), second / second.sum()
    middle = (p + q) / 2

    def relative(x: np.ndarray) -> float:
        some = x > 0
        return float((x[some] * np.log2(x[some] / middle[some])).sum())

    return max((relative(p) + relative(q)) / 2, 0.0)


def radius_histogram(traces: Sequence[np.ndarray]) -> np.ndarray:
    """Return how many traces (L, 3) have a radius of gyration in each bin of `STEP`."""
    return np.histogram([radius_of_gyration(trace) for trace in traces], _RADII)[0].astype(float)


def distance_histograms(traces: Sequence[np.ndarray]) -> np.ndarray:
    """Return how many pairs of C-alphas so far apart along the chain are at each distance: (`SEPARATIONS`, bins)."""
    rows = []
    for separation in SEPARATIONS:
        apart = [
            np.linalg.norm(trace[separation:].astype(np.float64) - trace[:-separation], axis=1)
            for trace in traces
            if len(trace) > separation
        ]
        rows.append(np.histogram(np.concatenate([np.zeros(0), *apart]), _DISTANCES)[0])
    return np.array(rows, dtype=float)


def distance_divergence(first: np.ndarray, second: np.ndarray) -> float:
    """Return the mean divergence of two `distance_histograms` over the separations that both have."""
    each = [jensen_shannon(a, b) for a, b in zip(first, second, strict=True)]
    known = [value for value in each if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
