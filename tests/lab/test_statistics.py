import math

import numpy as np
import pytest

pytest.importorskip("scipy", reason="needs SciPy")

from betafold_mlx.errors import BetafoldError
from betafold_mlx.lab.budget import PRESETS, parse_budget
from betafold_mlx.lab.statistics import (
    Interval,
    clustered_difference,
    compared,
    mean_interval,
    paired_difference,
    seeds_and_clusters,
)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    draws = rng.normal(2.0, 3.0, (4000, 3))
    inside = [low <= 2.0 <= high for _, low, high, *_ in map(mean_interval, draws.tolist())]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.012)  # 3.5 standard errors


def test_pairs_take_out_what_a_seed_does_to_both():
    seeds = [10.0, 50.0, -20.0]
    found = paired_difference([s + d for s, d in zip(seeds, (0.9, 1.0, 1.1), strict=True)], seeds)
    assert found.mean == pytest.approx(1.0) and found.sign == 1
    half = 4.30265 * 0.1 / math.sqrt(3)
    assert (found.low, found.high) == pytest.approx((1 - half, 1 + half), rel=1e-4)


@pytest.mark.parametrize(
    ("interval", "quality", "word"),
    [
        (Interval(1.0, 0.5, 1.5, 3), True, "worse"),
        (Interval(-1.0, -1.5, -0.5, 3), True, "better"),
        (Interval(1.0, 0.5, 1.5, 3), False, "higher"),
        (Interval(-1.0, -1.5, -0.5, 3), False, "lower"),
        (Interval(1.0, -0.5, 2.5, 3), True, "no difference seen"),
        (Interval(1.0, None, None, 1), True, "no verdict"),
        (Interval(math.nan, None, None, 0), True, "nothing to compare"),
    ],
)
def test_verdicts(interval, quality, word):
    finding = compared("a", "b", "RMSD", "Å", interval, quality)
    judged = finding.verdict.rsplit(":", 1)[1]
    assert word in judged
    assert sum(other in judged for other in ("worse", "better", "higher", "lower")) <= 1


def test_repeats_that_agree_by_chance_are_no_certainty():
    assert mean_interval([-1.19, -1.19]) == Interval(-1.19, None, None, 2)
    assert mean_interval([0.0, 0.0]).sign == 0


def test_repeats_that_are_not_numbers_do_not_count():
    assert mean_interval([math.nan, 2.0]) == Interval(2.0, None, None, 1)
    assert mean_interval([]).repeats == 0


def test_minutes_become_steps_by_a_fixed_rate():
    assert parse_budget("quick") is PRESETS["quick"]
    assert parse_budget("4").steps == PRESETS["normal"].steps // 2
    assert parse_budget("0.001").steps == 10
    for text in ("fast", "0", "-1", "nan", "1e9"):
        with pytest.raises(BetafoldError, match="minutes"):
            parse_budget(text)


def test_an_interval_over_seeds_and_clusters_is_wider_than_either_and_holds_the_truth():
    """A true difference of 1, an error of each seed and one of each cluster of two structures."""
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(60), 2)
    inside, wider = [], []
    for repeat in range(150):
        seeds, structures = rng.normal(0, 0.3, (5, 1)), np.repeat(rng.normal(0, 2.0, 60), 2)
        values = 1.0 + seeds + structures + rng.normal(0, 0.1, (5, 120))
        found = seeds_and_clusters(values, np.zeros((5, 120)), clusters, repeat)
        alone = (
            mean_interval(values.mean(axis=1).tolist()),
            clustered_difference(values.mean(axis=0), np.zeros(120), clusters, repeat),
        )
        inside.append(found.low <= 1.0 <= found.high)
        wider.append(all(found.low <= one.low and one.high <= found.high for one in alone))
        expected = math.hypot(alone[0].high - found.mean, alone[1].high - found.mean)
        assert found.high - found.mean == pytest.approx(expected)
    assert all(wider) and np.mean(inside) >= 0.93


def test_one_seed_has_no_interval():
    found = seeds_and_clusters(np.ones((1, 4)), np.zeros((1, 4)), np.arange(4), 0)
    assert found.low is None and found.mean == 1.0
