"""Ranking and calibration of a confidence."""

import numpy as np
import pytest

from betafold_mlx.evaluate.confidence import confidence_figures, reliability, spearman
from betafold_mlx.evaluate.scoring import Scores


def scores_of(rmsd, lddt, ca_rmsd=None):
    count = len(rmsd)
    ones, lists = np.ones(count), [np.ones(4)] * count
    ca_rmsd = ones if ca_rmsd is None else ca_rmsd
    return Scores(
        np.array(rmsd), ca_rmsd, lists, [np.ones((4, 3))] * count, ["CCCC"] * count, ones, ones, lddt, ones
    )


def counted_ranks(values):
    return [np.sum(values < value) + np.sum(values == value) / 2 for value in values]


@pytest.mark.parametrize("decimals", [8, 0])  # without and with ties
def test_spearman_is_the_correlation_of_ranks_with_ties_shared(decimals):
    rng = np.random.default_rng(0)
    for _ in range(20):
        a = rng.normal(size=15).round(decimals)
        b = (a + rng.normal(size=15)).round(decimals)
        assert spearman(a, b) == pytest.approx(np.corrcoef(counted_ranks(a), counted_ranks(b))[0, 1])


def test_spearman_where_it_cannot_be_told():
    assert np.isnan(spearman(np.array([1.0, 2.0]), np.array([1.0, 2.0])))
    assert np.isnan(spearman(np.array([1.0, 1.0, 1.0]), np.array([1.0, 2.0, 3.0])))


def test_reliability_table():
    predicted = np.array([0.0, 5.0, 9.99, 10.0, 55.0, 95.0, 100.0])
    reached = np.array([10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0])
    table = reliability(predicted, reached)
    assert [entry["residues"] for entry in table] == [3, 1, 0, 0, 0, 1, 0, 0, 0, 2]
    assert [(entry["low"], entry["high"]) for entry in table][:2] == [(0, 10), (10, 20)]
    assert table[0]["mean_lddt"] == pytest.approx(20) and table[9]["mean_plddt"] == pytest.approx(97.5)
    assert np.isnan(table[3]["mean_lddt"])


def test_an_honest_confidence():
    rng = np.random.default_rng(1)
    lddt = [rng.uniform(0, 1, size=rng.integers(10, 30)) for _ in range(40)]
    rmsd = [10 - 5 * values.mean() for values in lddt]
    figures = confidence_figures([100 * values for values in lddt], scores_of(rmsd, lddt))
    assert figures["spearman_lddt"] == pytest.approx(1) and figures["spearman_rmsd"] == pytest.approx(-1)
    assert figures["mean_plddt"] == pytest.approx(figures["mean_lddt"])
    assert all(
        e["mean_plddt"] == pytest.approx(e["mean_lddt"]) for e in figures["reliability"] if e["residues"]
    )
    assert figures["most_confident"]["n"] == 8
    assert figures["most_confident"]["rmsd_mean"] == pytest.approx(np.sort(rmsd)[:8].mean())
    assert figures["most_confident"]["rmsd_median"] == pytest.approx(np.median(np.sort(rmsd)[:8]))


def test_a_boastful_confidence_shows_and_ca_stands_in_for_the_backbone():
    lddt = [np.full(10, 0.4), np.full(10, 0.5), np.full(10, 0.6)]
    scores = scores_of([np.nan, 2.0, 3.0], lddt, ca_rmsd=np.array([1.0, 9.0, 9.0]))
    figures = confidence_figures([np.full(10, value) for value in (95.0, 90.0, 85.0)], scores)
    assert figures["mean_plddt"] - figures["mean_lddt"] == pytest.approx(40)
    assert figures["spearman_lddt"] == pytest.approx(-1)
    assert figures["most_confident"] == {"n": 1, "rmsd_mean": 1.0, "rmsd_median": 1.0}
