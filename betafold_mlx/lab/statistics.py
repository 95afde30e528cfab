"""Intervals of means and of paired differences, and verdicts in words.

The intervals of repeats are Student's, at 95 % each. Of k variants compared with the same baseline, k / 20 are expected
to differ by chance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from betafold_mlx.evaluate import bootstrap
from betafold_mlx.lab.runner import Finding

RESAMPLES = 2000


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


def mean_interval(values: Sequence[float]) -> Interval:
    """Return the mean of independent repeats with Student's interval; those that are not finite do not count."""
    known = np.array([value for value in values if math.isfinite(value)], dtype=np.float64)
    mean = float(known.mean()) if len(known) else math.nan
    if len(known) < 2:
        return Interval(mean, None, None, len(known))
    spread = float(known.std(ddof=1))
    if spread <= 1e-9 * abs(mean):  # few structures that are counted, say: chance, and not certainty
        return Interval(mean, None, None, len(known))
    half = float(stats.t.ppf(0.975, len(known) - 1)) * spread / math.sqrt(len(known))
    return Interval(mean, mean - half, mean + half, len(known))


def paired_difference(values: Sequence[float], baseline: Sequence[float]) -> Interval:
    """Return the mean of `values` - `baseline`, which share a seed pair by pair."""
    return mean_interval([a - b for a, b in zip(values, baseline, strict=True)])


def clustered_mean(sums: np.ndarray, counts: np.ndarray, resamples: bootstrap.ClusterBootstrap) -> Interval:
    """Return sum / count over (n,) structures, with a bootstrap over their clusters."""
    low, high = bootstrap.interval(resamples.pooled_mean(sums, counts))
    return Interval(float(sums.sum() / counts.sum()), low, high, resamples.count, "clusters")


def clustered_difference(
    values: np.ndarray, baseline: np.ndarray, clusters: np.ndarray, seed: int
) -> Interval:
    """Return the mean of `values` - `baseline`, (n,) over the same structures, with a bootstrap over clusters."""
    resamples = bootstrap.ClusterBootstrap(clusters, seed, RESAMPLES)
    return clustered_mean(values - baseline, np.ones(len(values)), resamples)


def seeds_and_clusters(values: np.ndarray, baseline: np.ndarray, clusters: np.ndarray, seed: int) -> Interval:
    """Return the mean of `values` - `baseline`, (seeds, n), with an interval for other seeds and other structures.

    Its halves are those of Student's interval over the seeds and of the bootstrap over the (n,) clusters, added in
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


def interval_text(interval: Interval, unit: str, digits: int = 2) -> str:
    """Return an interval as text.

    >>> interval_text(Interval(0.5, 0.25, 0.75, 3), "A")
    '+0.50 A (95 % +0.25 to +0.75, 3 repeats)'
    """
    number = f"{interval.mean:+.{digits}f}{f' {unit}' if unit else ''}"
    if interval.low is None or interval.high is None:
        return f"{number} ({interval.repeats} {interval.of if interval.repeats > 1 else interval.of[:-1]})"
    ends = f"{interval.low:+.{digits}f} to {interval.high:+.{digits}f}"
    return f"{number} (95 % {ends}, {interval.repeats} {interval.of})"


def found(measure: str, unit: str, interval: Interval, verdict: str) -> Finding:
    """Return an interval as a finding."""
    return Finding(measure, unit, interval.mean, interval.low, interval.high, interval.repeats, verdict)


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
    numbers = interval_text(interval, unit) if interval.repeats else "not measured"
    verdict = f"{what} against {baseline}, {measure}: {numbers}: {judged}."
    return found(f"{measure}, {what} - {baseline}", unit, interval, verdict)
