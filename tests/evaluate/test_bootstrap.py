"""Bootstrap intervals: coverage, clusters kept whole, pairing, determinism."""

import numpy as np
import pytest

from betafold_mlx.evaluate.bootstrap import ClusterBootstrap, interval
from betafold_mlx.evaluate.structure_scores import Scores
from betafold_mlx.evaluate.summaries import compare

TRUTH = 0.3


def simulate(rng, clusters):
    """Differences of correlated items: a shared effect for each cluster of one to six."""
    labels = np.repeat(np.arange(clusters), rng.integers(1, 7, clusters))
    return labels, TRUTH + rng.normal(size=clusters)[labels] + 0.5 * rng.normal(size=len(labels))


def test_coverage_with_clusters_and_without():
    rng = np.random.default_rng(7)
    held = {"clusters": 0, "items": 0}
    repeats = 300
    for repeat in range(repeats):
        labels, differences = simulate(rng, clusters=40)
        for name, units in (("clusters", labels), ("items", np.arange(len(labels)))):
            means = ClusterBootstrap(units, repeat, 400).pooled_mean(differences, np.ones(len(labels)))
            low, high = interval(means)
            held[name] += low <= TRUTH <= high
    # 95 % is meant; 300 repeats have a standard error of 1.3 %, and the percentile method lacks some 2 %.
    assert 0.89 <= held["clusters"] / repeats <= 0.98
    assert held["items"] / repeats < 0.80


def test_a_cluster_comes_whole():
    labels = np.array([5, 5, 5, 9])
    values = np.array([0.0, 0.0, 3.0, 9.0])
    means = ClusterBootstrap(labels, 0, 2000).pooled_mean(values, np.ones(4))
    # Two draws of two clusters: one twice, the other twice, or each once. Items alone could give other means.
    np.testing.assert_allclose(np.unique(means.round(6)), [1.0, 3.0, 9.0])
    shares = [np.isclose(means, value).mean() for value in (1, 3, 9)]
    np.testing.assert_allclose(shares, [0.25, 0.5, 0.25], atol=0.05)


def test_pooled_mean_weighs_observations():
    sums, counts = np.array([10.0, 1.0]), np.array([10.0, 2.0])
    means = ClusterBootstrap(np.array([0, 1]), 0, 500).pooled_mean(sums, counts)
    np.testing.assert_allclose(np.unique(means.round(6)), [0.5, 11 / 12, 1.0], atol=1e-6)
    assert np.isnan(ClusterBootstrap(np.array([0]), 0, 3).pooled_mean(np.zeros(1), np.zeros(1))).all()


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_median_is_that_of_the_drawn_items_written_out(count):
    rng = np.random.default_rng(count)
    labels = np.sort(rng.integers(0, 4, size=count))
    values = rng.normal(size=count).round(1)
    bootstrap = ClusterBootstrap(labels, 3, 1500)  # more than one chunk
    medians = bootstrap.median(values)
    numbers = np.unique(labels, return_inverse=True)[1]
    for weights, median in list(zip(bootstrap._weights, medians, strict=True))[::37]:
        drawn = np.repeat(values, weights[numbers].astype(int))
        assert median == pytest.approx(np.median(drawn))


def test_the_seed_decides():
    labels, values = simulate(np.random.default_rng(0), 20)
    ones = np.ones(len(labels))
    first, again, other = (
        ClusterBootstrap(labels, seed, 200).pooled_mean(values, ones) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def scores_of(rmsd, phi_error):
    """Scores with these RMSD values and errors (phi of every defined torsion), nothing else of interest."""
    count = len(rmsd)
    errors = [np.array([[np.nan, e, 0.0], [e, e, 0.0], [e, np.nan, np.nan]]) for e in phi_error]
    ones = np.ones(count)
    return Scores(
        rmsd, ones, [np.ones(3)] * count, errors, ["CCC"] * count, ones, ones, [np.ones(3)] * count, ones
    )


def test_the_comparison_is_paired():
    rng = np.random.default_rng(0)
    hard = rng.uniform(0, 20, size=60)  # what is hard for one method is hard for the other
    noise = 0.2 * rng.normal(size=60)
    first, second = scores_of(hard - 0.1 + noise, hard), scores_of(hard, hard + 3.0)
    table = compare(first, second, ClusterBootstrap(np.arange(60), 0))
    width = table["rmsd_mean"]["high"] - table["rmsd_mean"]["low"]
    assert width == pytest.approx(2 * 1.96 * noise.std() / np.sqrt(60), rel=0.1)  # unpaired: 2.9 and not 0.1
    assert table["rmsd_mean"]["difference"] == pytest.approx(np.mean(noise - 0.1))
    for angle in ("phi_mae", "psi_mae"):
        entry = table[angle]
        assert [entry[key] for key in ("difference", "low", "high")] == pytest.approx([-3.0] * 3)
        assert entry["excludes_zero"]
    back = compare(second, first, ClusterBootstrap(np.arange(60), 0))
    for name, entry in table.items():
        assert entry["difference"] == pytest.approx(-back[name]["difference"])
        assert (entry["low"], entry["high"]) == pytest.approx(
            (-back[name]["high"], -back[name]["low"]), abs=0.02
        )


def test_median_differences_and_no_interval_without_a_bootstrap():
    first, second = (
        scores_of(np.array([1.0, 2.0, 9.0]), np.ones(3)),
        scores_of(np.array([4.0, 4.0, 4.0]), np.ones(3)),
    )
    table = compare(first, second, None)
    assert table["rmsd_median"] == {"difference": -2.0, "low": None, "high": None, "excludes_zero": None}
    assert table["rmsd_mean"]["difference"] == pytest.approx(0.0)
