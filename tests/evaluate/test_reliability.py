"""Ranking and calibration of a confidence."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from betafold_mlx.evaluate.reliability import (
    chance_above,
    confidence_figures,
    expected_calibration_error,
    partial_spearman,
    reliability,
    risk_coverage,
    spearman,
)
from betafold_mlx.evaluate.structure_scores import Scores


def scores_of(rmsd, lddt, ca_rmsd=None, states=None):
    count = len(rmsd)
    ones, lists = np.ones(count), [np.ones(4)] * count
    ca_rmsd = ones if ca_rmsd is None else ca_rmsd
    states = ["CCCC"] * count if states is None else states
    return Scores(np.array(rmsd), ca_rmsd, lists, [np.ones((4, 3))] * count, states, ones, ones, lddt, ones)


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


@pytest.mark.parametrize("decimals", [8, 0])
def test_partial_spearman_is_minus_the_scaled_inverse_of_the_rank_correlations(decimals):
    rng = np.random.default_rng(1)
    for count in (1, 2, 3):
        for _ in range(10):
            values = (rng.normal(size=(40, count + 2)) @ rng.normal(size=(count + 2, count + 2))).round(
                decimals
            )
            ranks = np.array([counted_ranks(column) for column in values.T])
            inverse = np.linalg.inv(np.corrcoef(ranks))
            expected = -inverse[0, 1] / np.sqrt(inverse[0, 0] * inverse[1, 1])
            assert partial_spearman(values[:, 0], values[:, 1], list(values.T[2:])) == pytest.approx(expected)


def test_what_length_alone_explains_is_taken_away():
    rng = np.random.default_rng(2)
    length = rng.integers(10, 31, size=3000).astype(float)
    confidence, error = -length + rng.normal(size=3000), length + rng.normal(size=3000)
    assert spearman(confidence, error) < -0.9
    assert abs(partial_spearman(confidence, error, [length])) < 0.1
    informed = confidence - 2 * (error - length)
    assert partial_spearman(informed, error, [length]) < -0.8


def test_partial_spearman_where_it_cannot_be_told():
    values = np.random.default_rng(3).normal(size=(6, 3))
    assert np.isnan(partial_spearman(values[:4, 0], values[:4, 1], [values[:4, 2], values[:4, 1]]))  # too few
    # nothing left of the second
    assert np.isnan(partial_spearman(values[:, 0], values[:, 1], [values[:, 1]]))
    assert np.isfinite(partial_spearman(values[:, 0], values[:, 1], [np.ones(6)]))  # a constant takes nothing
    assert partial_spearman(values[:, 0], values[:, 1], [np.ones(6)]) == pytest.approx(
        spearman(values[:, 0], values[:, 1])
    )


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), min_size=1, max_size=5))
def test_risk_coverage_is_the_mean_over_all_orders_of_equal_confidences(pairs):
    confidence, risk = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
    curve, number = risk_coverage(confidence, risk), np.arange(1, len(risk) + 1)
    orders = [
        sorted(order, key=lambda index: -confidence[index])
        for order in itertools.permutations(range(len(risk)))
    ]
    running = np.mean([np.cumsum(risk[order]) / number for order in orders], axis=0)
    kept = [math.ceil(len(risk) * tenths / 10) - 1 for tenths in range(1, 11)]
    np.testing.assert_allclose(curve["rmsd"], running[kept], atol=1e-9)
    assert curve["coverage"] == list(range(10, 101, 10)) and curve["rmsd"][-1] == pytest.approx(risk.mean())
    assert curve["area"] == pytest.approx(running.mean())
    reversed_area = (np.cumsum(np.sort(risk)[::-1]) / number).mean()
    assert curve["area_perfect"] - 1e-9 <= curve["area"] <= reversed_area + 1e-9


def test_the_area_of_perfect_silent_and_reversed_confidences():
    risk = np.array([4.0, 1.0, 3.0, 2.0])
    perfect = risk_coverage(-risk, risk)
    assert perfect["area"] == perfect["area_perfect"] == pytest.approx((1 + 1.5 + 2 + 2.5) / 4)
    assert list(perfect["rmsd"]) == [1, 1, 1.5, 1.5, 1.5, 2, 2, 2.5, 2.5, 2.5]
    assert risk_coverage(np.ones(4), risk)["area"] == pytest.approx(2.5)
    assert risk_coverage(risk, risk)["area"] == pytest.approx((4 + 3.5 + 3 + 2.5) / 4)


def test_expected_calibration_error_by_hand():
    predicted = np.array([12.0, 18.0, 95.0, 100.0, 55.0])
    reached = np.array([20.0, 20.0, 75.0, 100.0, 55.0])
    # bins: 10-20 off by 5 (2 residues), 90-100 by 10 (2), 50-60 by 0 (1)
    assert expected_calibration_error(predicted, reached) == pytest.approx((2 * 5 + 2 * 10 + 0) / 5)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=1, max_size=40))
def test_expected_calibration_error_lies_between_the_bias_and_the_mean_error(pairs):
    predicted, reached = (np.array(column) for column in zip(*pairs, strict=True))
    error = expected_calibration_error(predicted, reached)
    assert abs(predicted.mean() - reached.mean()) - 1e-9 <= error <= np.abs(predicted - reached).mean() + 1e-9


@given(st.lists(st.integers(0, 5), max_size=8), st.lists(st.integers(0, 5), max_size=8))
def test_chance_above_by_counting_pairs(first, second):
    chance = chance_above(np.array(first, float), np.array(second, float))
    if not first or not second:
        assert np.isnan(chance)
    else:
        wins = [float(a > b) + 0.5 * (a == b) for a in first for b in second]
        assert chance == pytest.approx(np.mean(wins))


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
    assert figures["expected_calibration_error"] == {"residues": pytest.approx(0), "models": pytest.approx(0)}
    assert figures["risk_coverage"]["area"] == pytest.approx(figures["risk_coverage"]["area_perfect"])
    assert figures["most_confident"]["n"] == 8
    assert figures["most_confident"]["mean_ratio"] == pytest.approx(np.sort(rmsd)[:8].mean() / np.mean(rmsd))
    assert figures["most_confident"]["median_ratio"] == pytest.approx(
        np.median(np.sort(rmsd)[:8]) / np.median(rmsd)
    )
    assert figures["most_confident"]["rmsd_mean"] == pytest.approx(np.sort(rmsd)[:8].mean())
    assert figures["most_confident"]["rmsd_median"] == pytest.approx(np.median(np.sort(rmsd)[:8]))


def test_a_boastful_confidence_shows_and_ca_stands_in_for_the_backbone():
    lddt = [np.full(10, 0.4), np.full(10, 0.5), np.full(10, 0.6)]
    scores = scores_of([np.nan, 2.0, 3.0], lddt, ca_rmsd=np.array([1.0, 9.0, 9.0]))
    figures = confidence_figures([np.full(10, value) for value in (95.0, 90.0, 85.0)], scores)
    assert figures["mean_plddt"] - figures["mean_lddt"] == pytest.approx(40)
    assert figures["spearman_lddt"] == pytest.approx(-1)
    assert figures["expected_calibration_error"] == {
        "residues": pytest.approx(40),
        "models": pytest.approx(40),
    }
    assert figures["most_confident"] == {
        "n": 1, "rmsd_mean": 1.0, "rmsd_median": 1.0, "mean_ratio": 0.5, "median_ratio": 0.5
    }  # fmt: skip


def test_length_and_helix_content_of_the_prediction_are_removed():
    """A confidence that only knows the helix content, or the length, ranks well until that is removed."""
    rng = np.random.default_rng(5)
    turns = rng.integers(0, 20, size=200)
    states = ["H" * count + "C" * (20 - count) for count in turns]
    lddt = [np.full(20, 0.3 + 0.02 * count + 0.01 * rng.normal()) for count in turns]
    rmsd = [10 - 0.3 * count + 0.1 * rng.normal() for count in turns]
    plddt = [np.full(20, 20 + 3.0 * count + rng.normal()) for count in turns]
    figures = confidence_figures(plddt, scores_of(rmsd, lddt, states=states))
    assert figures["spearman_lddt"] > 0.95 and figures["spearman_rmsd"] < -0.95
    assert abs(figures["partial_spearman_lddt"]) < 0.2 and abs(figures["partial_spearman_rmsd"]) < 0.2
    lengths = rng.integers(10, 31, size=200)
    lddt = [np.full(size, 0.9 - 0.02 * size + 0.01 * rng.normal()) for size in lengths]
    rmsd = [0.3 * size + 0.1 * rng.normal() for size in lengths]
    plddt = [np.full(size, 95 - 2.0 * size + rng.normal()) for size in lengths]
    figures = confidence_figures(plddt, scores_of(rmsd, lddt, states=["C" * size for size in lengths]))
    assert figures["spearman_lddt"] > 0.95 and figures["spearman_rmsd"] < -0.95
    assert abs(figures["partial_spearman_lddt"]) < 0.2 and abs(figures["partial_spearman_rmsd"]) < 0.2
