"""First, best and mean of the models of an item, and whether confidence ranks them."""

import numpy as np
import pytest
from evaluate_helpers import make_item
from hypothesis import given, settings
from hypothesis import strategies as st

from betafold_mlx.evaluate.bootstrap import ClusterBootstrap
from betafold_mlx.evaluate.ensembles import Ensembles, ranking_figures, score_ensembles
from betafold_mlx.evaluate.structure_scores import Scores, score_structures
from betafold_mlx.evaluate.summaries import method_figures


@pytest.fixture(scope="module")
def three():
    """Items of 10, 14 and 21 residues with 2, 4 and 3 models, the best of them second, last and first."""
    rng = np.random.default_rng(0)
    items = [make_item(f"p{n}", seed=n, cluster=n, length=length) for n, length in enumerate((10, 14, 21))]
    noise = [(0.9, 0.2), (1.5, 1.0, 2.0, 0.1), (0.3, 0.8, 1.6)]
    models = [
        [item.coordinates + size * rng.normal(size=item.coordinates.shape) for size in sizes]
        for item, sizes in zip(items, noise, strict=True)
    ]
    plddt = [[80, 60], [70, 60, 50, 40], [90, 50, 30]]
    return items, models, score_ensembles(items, models, plddt)


def single(items, models, chosen):
    """Scores of one model of each item, made without ensembles."""
    return score_structures(items, [of[index] for of, index in zip(models, chosen, strict=True)])


@pytest.mark.parametrize(("method", "chosen"), [("first", (0, 0, 0)), ("best", (1, 3, 0))])
def test_first_and_best_are_models_of_the_item(three, method, chosen):
    items, models, ensembles = three
    scores, alone = getattr(ensembles, method)(), single(items, models, chosen)
    np.testing.assert_allclose(scores.rmsd, alone.rmsd, atol=1e-5)
    np.testing.assert_allclose(scores.gdt_ts, alone.gdt_ts)
    assert scores.secondary_structure == alone.secondary_structure
    for ours, theirs in zip(scores.torsion_error, alone.torsion_error, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_the_mean_is_that_of_the_models_of_each_item(three):
    items, models, ensembles = three
    mean = ensembles.mean()
    for index, (item, of) in enumerate(zip(items, models, strict=True)):
        each = score_structures([item] * len(of), of)
        assert mean.rmsd[index] == pytest.approx(each.rmsd.mean(), abs=1e-5)
        assert mean.ca_rmsd[index] == pytest.approx(each.ca_rmsd.mean(), abs=1e-5)
        assert mean.q3[index] == pytest.approx(each.q3.mean())
        assert mean.mean_lddt[index] == pytest.approx(each.mean_lddt.mean(), abs=1e-6)
        np.testing.assert_allclose(mean.deviation[index], np.mean(each.deviation, axis=0), atol=1e-5)
        errors = np.stack(each.torsion_error)
        assert np.isnan(mean.torsion_error[index][0, 0])  # phi of the first residue
        np.testing.assert_allclose(mean.torsion_error[index], errors.mean(axis=0), atol=1e-3)
    assert all(np.isfinite(value) for value in method_figures(mean).values())


def test_items_keep_their_models_when_some_are_selected(three):
    _, _, ensembles = three
    part = ensembles.select(np.array([2, 0]))
    assert list(part.counts) == [3, 2] and list(part.plddt) == [90, 50, 30, 80, 60]
    np.testing.assert_array_equal(part.first().rmsd, ensembles.first().rmsd[[2, 0]])
    np.testing.assert_array_equal(part.best().rmsd, ensembles.best().rmsd[[2, 0]])
    np.testing.assert_array_equal(part.mean().rmsd, ensembles.mean().rmsd[[2, 0]])
    assert part.table(1)["mean_plddt"].tolist() == [80, 60] == ensembles.table(0)["mean_plddt"].tolist()
    np.testing.assert_array_equal(part.table(1)["rmsd"], ensembles.table(0)["rmsd"])
    assert len(ensembles.select(np.zeros(0, int)).scores) == 0


def bare(item, structure):
    return np.where(np.arange(4)[:, None] == 1, structure, np.nan)


def test_ca_traces_are_averaged_apart_and_never_beat_a_backbone(three):
    items, models, _ = three
    traces = [[bare(item, of[0]), *of[1:]] for item, of in zip(items[:2], models[:2], strict=True)]
    traces.append([bare(items[2], model) for model in models[2]])
    ensembles = score_ensembles(items, traces, None)
    assert ensembles.plddt is None and np.isnan(ensembles.first().rmsd).all()
    full = score_ensembles(items, models, None)
    np.testing.assert_allclose(ensembles.best().rmsd[:2], full.best().rmsd[:2])
    mean = ensembles.mean()
    assert mean.rmsd[0] == pytest.approx(full.scores.rmsd[1], abs=1e-6)  # the only one that has a backbone
    assert np.isnan(mean.rmsd[2]) and np.isnan(mean.torsion_error[2]).all()
    assert mean.ca_rmsd[2] == pytest.approx(full.scores.ca_rmsd[6:9].mean(), abs=1e-5)
    assert ensembles.rmsd[2].tolist() == ensembles.scores.ca_rmsd[6:9].tolist()


def ensembles_of(rmsd, plddt):
    """Ensembles of which nothing but RMSD and pLDDT is known: one row an item."""
    counts = np.array([len(row) for row in rmsd])
    flat = np.concatenate([np.asarray(row, float) for row in rmsd])
    lists = [np.zeros(4)] * len(flat)
    scores = Scores(
        flat, flat, lists, [np.zeros((4, 3))] * len(flat), ["CCCC"] * len(flat), flat, flat, lists, flat
    )
    return Ensembles(scores, counts, np.concatenate([np.asarray(row, float) for row in plddt]))


def test_a_perfect_a_reversed_and_a_silent_ranking():
    rmsd = np.sort(np.random.default_rng(0).uniform(1, 5, size=(12, 5)), axis=1)
    bootstrap = ClusterBootstrap(np.arange(12), seed=0)
    right = ranking_figures(ensembles_of(rmsd, -rmsd), bootstrap)
    assert right["spearman_rmsd"]["mean"] == pytest.approx(-1) and right["spearman_n"] == right["n"] == 12
    assert right["hit_rate"] == 1 and right["chance"] == pytest.approx(0.2) and right["models"] == 60
    assert right["rmsd_first"] == right["rmsd_best"] == pytest.approx(rmsd[:, 0].mean())
    assert right["rmsd_mean"] == pytest.approx(rmsd.mean())
    gain = right["first_minus_mean"]
    assert gain["mean"] == pytest.approx(rmsd[:, 0].mean() - rmsd.mean())
    assert gain["low"] < gain["mean"] < gain["high"] < 0 and gain["excludes_zero"]
    # Twelve times the same outcome: no interval of width zero is made of it.
    assert right["hit_rate_minus_chance"]["mean"] == pytest.approx(0.8)
    assert right["hit_rate_minus_chance"]["low"] is right["spearman_rmsd"]["excludes_zero"] is None

    wrong = ranking_figures(ensembles_of(rmsd[:, ::-1], -rmsd), bootstrap)
    assert wrong["spearman_rmsd"]["mean"] == pytest.approx(1) and wrong["hit_rate"] == 0
    assert wrong["first_minus_mean"]["excludes_zero"] and wrong["first_minus_mean"]["mean"] > 0
    silent = ranking_figures(ensembles_of(rmsd, np.full_like(rmsd, 50.0)), bootstrap)
    assert silent["spearman_n"] == 0 and np.isnan(silent["spearman_rmsd"]["mean"])


def test_a_blind_ranking_hits_as_often_as_chance_and_its_intervals_hold_zero():
    rng = np.random.default_rng(3)
    rmsd, plddt = rng.uniform(1, 5, size=(400, 4)), rng.uniform(size=(400, 4))
    figures = ranking_figures(ensembles_of(rmsd, plddt), ClusterBootstrap(np.arange(400) // 2, seed=0))
    assert figures["chance"] == pytest.approx(0.25) and figures["hit_rate"] == pytest.approx(0.25, abs=0.06)
    for name in ("spearman_rmsd", "hit_rate_minus_chance", "first_minus_mean"):
        entry = figures[name]
        assert entry["low"] < entry["mean"] < entry["high"] and not entry["excludes_zero"]


def test_the_interval_is_that_of_resampled_clusters():
    rng = np.random.default_rng(4)
    rmsd, clusters = rng.uniform(1, 5, size=(20, 3)), np.repeat(np.arange(10), 2)
    entry = ranking_figures(ensembles_of(rmsd, -rmsd), ClusterBootstrap(clusters, seed=0))["first_minus_mean"]
    difference = (rmsd[:, 0] - rmsd.mean(axis=1)).reshape(10, 2).mean(axis=1)  # of each cluster
    draws = difference[rng.integers(0, 10, size=(20_000, 10))].mean(axis=1)
    low, high = np.percentile(draws, [2.5, 97.5])
    assert entry["low"] == pytest.approx(low, abs=0.03) and entry["high"] == pytest.approx(high, abs=0.03)


def test_items_with_fewer_than_three_models_are_not_ranked():
    rmsd = [[1.0, 2.0], [1.0, 2.0, 3.0], [4.0, 3.0, 2.0, 1.0]]
    plddt = [[9.0, 8.0], [9.0, 8.0, 7.0], [9.0, 8.0, 7.0, 6.0]]
    figures = ranking_figures(ensembles_of(rmsd, plddt), None)
    assert (figures["n"], figures["models"]) == (2, 7)
    assert figures["spearman_rmsd"]["mean"] == pytest.approx(0) and figures["hit_rate"] == 0.5
    assert figures["chance"] == pytest.approx((1 / 3 + 1 / 4) / 2) and figures["rmsd_first"] == 2.5
    assert figures["spearman_rmsd"]["low"] is None
    assert ranking_figures(ensembles_of(rmsd[:1], plddt[:1]), None) is None
    few = ranking_figures(ensembles_of(rmsd, plddt), ClusterBootstrap(np.array([0, 1, 1]), seed=0))
    assert few["first_minus_mean"]["low"] is None  # too few clusters
    holes = [[np.nan, 1.0, 2.0, 3.0], [1.0, np.nan, 2.0, 3.0]]  # the first has no first, the second enough
    left = ranking_figures(ensembles_of(holes, [[4.0, 3, 2, 1]] * 2), None)
    assert (left["n"], left["models"], left["rmsd_mean"]) == (1, 3, 2.0)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=6), min_size=1, max_size=6), st.integers(0, 99)
)
def test_ranking_against_counting(rows, seed):
    rng = np.random.default_rng(seed)
    figures = ranking_figures(ensembles_of(rows, [rng.normal(size=len(row)) for row in rows]), None)
    ranked = [row for row in rows if len(row) >= 3]
    if not ranked:
        assert figures is None
        return
    assert figures["n"] == len(ranked)
    assert figures["hit_rate"] == pytest.approx(np.mean([row[0] == min(row) for row in ranked]))
    assert figures["chance"] == pytest.approx(np.mean([row.count(min(row)) / len(row) for row in ranked]))
    assert (
        figures["rmsd_best"] <= figures["rmsd_mean"] + 1e-12 and figures["rmsd_best"] <= figures["rmsd_first"]
    )
    assert figures["first_minus_mean"]["mean"] == pytest.approx(figures["rmsd_first"] - figures["rmsd_mean"])
