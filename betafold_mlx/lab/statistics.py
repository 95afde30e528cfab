"""What repeats allow to say: intervals of means and of paired differences, and a verdict in words.

The intervals are Student's, at 95 % each. Who compares k variants with the same baseline expects k / 20 of them to
differ by chance.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from betafold_mlx.evaluate import bootstrap
from betafold_mlx.lab.experiment import Finding

_GRID = 200_001
_RESAMPLES = 2000


class Interval(NamedTuple):
    """A mean and the ends of its 95 % interval; None where the repeats show no spread, as one alone.

    `of` says in the plural what was repeated.
    """

    mean: float
    low: float | None
    high: float | None
    repeats: int
    of: str = "repeats"

    @property
    def sign(self) -> int:
        """-1 or 1 where the whole interval lies on one side of zero, else 0."""
        if self.low is None or self.high is None:
            return 0
        return (self.low > 0) - (self.high < 0)


@functools.lru_cache
def t_quantile(probability: float, freedom: int) -> float:
    """Return the quantile of Student's t distribution.

    With t = sqrt(f) tan(a) its density is that of a, proportional to cos(a)^(f - 1) between -pi/2 and pi/2.

    Parameters
    ----------
    probability : float
        In (0, 1).
    freedom : int
        Degrees of freedom f, from 1.

    Examples
    --------
    >>> round(t_quantile(0.975, 2), 2)
    4.3
    """
    edges = np.linspace(-math.pi / 2, math.pi / 2, _GRID)
    middle = 0.5 * (edges[1:] + edges[:-1])
    below = np.concatenate([[0.0], np.cumsum(np.cos(middle) ** (freedom - 1))])
    return float(math.sqrt(freedom) * math.tan(np.interp(probability, below / below[-1], edges)))


def mean_interval(values: Sequence[float]) -> Interval:
    """Return the mean of independent repeats with Student's interval.

    Parameters
    ----------
    values : sequence of float
        One a repeat; those that are not finite do not count.
    """
    known = np.array([value for value in values if math.isfinite(value)], dtype=np.float64)
    if not len(known):
        return Interval(math.nan, None, None, 0)
    mean = float(known.mean())
    if len(known) < 2:
        return Interval(mean, None, None, len(known))
    spread = float(known.std(ddof=1))
    if spread <= 1e-9 * abs(mean):  # few structures that are counted, say: chance, and not certainty
        return Interval(mean, None, None, len(known))
    half = t_quantile(0.975, len(known) - 1) * spread / math.sqrt(len(known))
    return Interval(mean, mean - half, mean + half, len(known))


def paired_difference(values: Sequence[float], baseline: Sequence[float]) -> Interval:
    """Return the mean of `values` - `baseline`, which share a seed pair by pair."""
    return mean_interval([a - b for a, b in zip(values, baseline, strict=True)])


def clustered_difference(
    values: np.ndarray, baseline: np.ndarray, clusters: np.ndarray, seed: int
) -> Interval:
    """Return the mean of `values` - `baseline`, (n,) over the same structures, with a bootstrap over clusters."""
    difference = values - baseline
    resamples = bootstrap.ClusterBootstrap(clusters, seed, _RESAMPLES)
    low, high = bootstrap.interval(resamples.pooled_mean(difference, np.ones(len(difference))))
    return Interval(float(difference.mean()), low, high, resamples.count, "clusters")


def seeds_and_clusters(values: np.ndarray, baseline: np.ndarray, clusters: np.ndarray, seed: int) -> Interval:
    """Return the mean of `values` - `baseline`, with an interval for other seeds and for other structures.

    Parameters
    ----------
    values, baseline : numpy.ndarray
        (seeds, n) over the same seeds and structures.
    clusters : numpy.ndarray
        (n,) of the structures.
    seed : int
        Of the bootstrap.

    Returns
    -------
    Interval
        Its halves are those of Student's interval over the seeds and of the bootstrap over the clusters, added in
        quadrature as independent errors are.
    """
    over_seeds = paired_difference(values.mean(axis=1).tolist(), baseline.mean(axis=1).tolist())
    over_clusters = clustered_difference(values.mean(axis=0), baseline.mean(axis=0), clusters, seed)
    if None in (over_seeds.low, over_seeds.high, over_clusters.low, over_clusters.high):
        return over_seeds._replace(low=None, high=None)
    below, above = (
        math.hypot(*(getattr(part, end) - part.mean for part in (over_seeds, over_clusters)))
        for end in ("low", "high")
    )
    return over_seeds._replace(low=over_seeds.mean - below, high=over_seeds.mean + above)


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return Spearman's rank correlation of (n,) and (n,); equal values share their mean rank. NaN without spread."""
    ranks = [_ranks(np.asarray(values, dtype=np.float64)) for values in (first, second)]
    if len(ranks[0]) < 2 or any(r.std() == 0 for r in ranks):
        return math.nan
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[place.reshape(-1)]


def words(interval: Interval, unit: str, digits: int = 2) -> str:
    """Return an interval as text.

    >>> words(Interval(0.5, 0.25, 0.75, 3), "A")
    '+0.50 A (95 % +0.25 to +0.75, 3 repeats)'
    """
    spaced = f" {unit}" if unit else ""
    if interval.low is None or interval.high is None:
        return (
            f"{interval.mean:+.{digits}f}{spaced} "
            f"({interval.repeats} {interval.of if interval.repeats > 1 else interval.of[:-1]})"
        )
    ends = f"{interval.low:+.{digits}f} to {interval.high:+.{digits}f}"
    return f"{interval.mean:+.{digits}f}{spaced} (95 % {ends}, {interval.repeats} {interval.of})"


def compared(
    what: str, baseline: str, measure: str, unit: str, interval: Interval, quality: bool = True
) -> Finding:
    """Return the verdict on a difference `what` - `baseline`; of a `quality`, less is better."""
    if interval.low is None:
        judged = "no spread, so no verdict" if interval.repeats else "nothing to compare"
    elif interval.sign == 0:
        judged = "no difference seen"
    else:
        judged = (("better", "worse") if quality else ("lower", "higher"))[interval.sign > 0]
    numbers = words(interval, unit) if interval.repeats else "not measured"
    verdict = f"{what} against {baseline}, {measure}: {numbers}: {judged}."
    return Finding(
        f"{measure}, {what} - {baseline}",
        unit,
        interval.mean,
        interval.low,
        interval.high,
        interval.repeats,
        verdict,
    )
