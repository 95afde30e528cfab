"""Figures of generated chains against plain sums, and against chains whose figures are known."""

import math

import numpy as np
import oracles
import pytest
from generate_fakes import chain_of
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import HELIX, STRAND, make_dataset

from betafold_mlx.generate.assessment_report import method_table, prompt_table, report_text
from betafold_mlx.generate.fit import fit_traces
from betafold_mlx.generate.fit_problem import Fit
from betafold_mlx.generate.measures import (
    SEPARATIONS,
    Chains,
    TrainingReferences,
    chain_figures,
    distance_divergence,
    distance_histograms,
    diversity,
    jensen_shannon,
    mean_estimate,
    nearest,
    radius_histogram,
)
from betafold_mlx.generate.training_split import favoured_region, training_angles
from betafold_mlx.generate.validity import radius_of_gyration, trace_validity

DATA = make_dataset(chains=8, peptides=4)
RNG = np.random.default_rng(0)


def entropy(p):
    return -sum(x * math.log2(x) for x in p if x > 0)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=8))
def test_divergence_is_the_entropy_of_the_mixture_less_that_of_its_parts(pairs):
    first, second = np.array(pairs, float).T
    found = jensen_shannon(first, second)
    if not first.sum() or not second.sum():
        assert math.isnan(found)
        return
    p, q = first / first.sum(), second / second.sum()
    expected = entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2
    assert found == pytest.approx(expected, abs=1e-9) and 0 <= found <= 1 + 1e-9
    assert jensen_shannon(second, first) == pytest.approx(found, abs=1e-12)


def test_histograms_count_what_they_should():
    traces = [RNG.normal(size=(length, 3)) * 6 for length in (5, 9, 9)]
    radii = radius_histogram(traces)
    for trace in traces:
        centre = trace.mean(axis=0)
        expected = math.sqrt(sum(float((x - centre) @ (x - centre)) for x in trace) / len(trace))
        assert radius_of_gyration(trace) == pytest.approx(expected)
        assert radii[int(expected / 0.5)] >= 1
    assert radii.sum() == 3
    counts = distance_histograms(traces)
    for row, separation in enumerate(SEPARATIONS):
        expected = np.zeros(counts.shape[1])
        for trace in traces:
            for i in range(len(trace) - separation):
                expected[int(np.linalg.norm(trace[i + separation] - trace[i]) / 0.5)] += 1
        assert np.array_equal(counts[row], expected)


def test_helices_are_far_from_strands_and_near_helices():
    def some(shape, seed):
        rng = np.random.default_rng(seed)
        return [
            chain_of(np.tile(shape, (14, 1)) + 0.1 * rng.normal(size=(14, 3)))[:, 1].astype(np.float64)
            for _ in range(20)
        ]

    helices, more, strands = (
        distance_histograms(some(*each)) for each in ((HELIX, 0), (HELIX, 1), (STRAND, 2))
    )
    assert distance_divergence(helices, more) < 0.3 < 0.9 < distance_divergence(helices, strands)
    assert math.isnan(distance_divergence(helices, 0 * helices))


def test_diversity_against_all_pairs():
    backbones = [chain_of(RNG.uniform(-3, 3, (length, 3))) for length in (8, 8, 8, 11, 11)]
    backbones.append(backbones[0] + 5.0)  # the same, elsewhere
    found = diversity(backbones)
    apart = [
        oracles.kabsch(backbones[i][:, :3].reshape(-1, 3), backbones[j][:, :3].reshape(-1, 3))[2]
        for i in range(6)
        for j in range(i + 1, 6)
        if len(backbones[i]) == len(backbones[j])
    ]
    assert found["pairs"] == len(apart) == 7 and found["mean_rmsd"] == pytest.approx(np.mean(apart), abs=1e-6)
    assert found["clusters"] == 5
    assert math.isnan(diversity(backbones[3:4])["mean_rmsd"]) and diversity([])["clusters"] == 0


def test_the_nearest_of_a_library(monkeypatch):
    library = [chain_of(RNG.uniform(-3, 3, (length, 3)))[:, :4] for length in [9] * 5 + [12] * 3]
    backbones = [chain_of(RNG.uniform(-3, 3, (length, 3))) for length in (9, 12, 9, 10)]
    backbones[2] = library[3] @ oracles.random_rotation(RNG) + 4.0
    for together in (4096, 1):
        monkeypatch.setattr("betafold_mlx.generate.measures._CHUNK", together)
        found = nearest(backbones, library)
        assert math.isnan(found[3])
        for row in range(3):
            each = [
                oracles.kabsch(backbones[row][:, :3].reshape(-1, 3), other[:, :3].reshape(-1, 3))[2]
                for other in library
                if len(other) == len(backbones[row])
            ]
            assert found[row] == pytest.approx(min(each), abs=2e-3)
    assert found[2] < 2e-3


def test_a_trace_is_judged_by_its_bonds_and_its_way():
    straight = np.arange(10)[:, None] * np.array([3.8, 0, 0])
    assert trace_validity(straight) == {
        "bonds_ok": 1.0, "worst_bond": 3.8, "nearest_approach": 7.6, "valid": True
    }  # fmt: skip
    torn = straight + [[0.5, 0, 0]] * (np.arange(10)[:, None] > 4)
    assert trace_validity(torn)["bonds_ok"] == pytest.approx(8 / 9, abs=1e-4)
    assert trace_validity(torn)["worst_bond"] == 4.3 and not trace_validity(torn)["valid"]
    folded = straight.copy()
    folded[6:] = straight[4::-1][:4] + np.array([0, 3.0, 0])
    folded[5] = (folded[4] + folded[6]) / 2 + [3.5, 0, 0]
    found = trace_validity(folded)
    assert found["nearest_approach"] == pytest.approx(3.0) and not found["valid"]


def test_an_estimate_has_an_interval_where_there_are_samples():
    values = np.random.default_rng(2).normal(5.0, 1.0, size=400)
    found = mean_estimate(values, seed=0)
    assert found["value"] == pytest.approx(values.mean(), abs=1e-4)
    half = 1.96 * values.std() / 20
    assert found["low"] == pytest.approx(values.mean() - half, abs=0.03)
    assert found["high"] == pytest.approx(values.mean() + half, abs=0.03)
    assert mean_estimate([1, 0], [2, 2], seed=0) == {"value": 0.25, "low": None, "high": None}
    assert mean_estimate([], seed=0)["value"] is None


def references():
    traces = [DATA.coordinates[record.start : record.start + 12, 1] for record in DATA.records]
    return TrainingReferences(
        radius_histogram(traces),
        distance_histograms(traces),
        favoured_region(training_angles(DATA)),
        [DATA.coordinates[record.start : record.start + 12] for record in DATA.records],
    )


def test_what_a_sample_does_not_have_is_left_out():
    known = mean_estimate([1.0, 2.0, 3.0, 4.0, 5.0], [1, 1, 1, 1, 2], seed=0)
    assert mean_estimate([1.0, float("nan"), 2.0, 3.0, 4.0, 5.0], [1, 9, 1, 1, 1, 2], seed=0) == known
    assert mean_estimate([float("nan")], None, seed=0) == {"value": None, "low": None, "high": None}


def test_figures_of_helices_and_of_what_is_broken():
    rng = np.random.default_rng(3)
    helices = [
        chain_of(np.tile(HELIX, (12, 1)) + 0.03 * rng.normal(size=(12, 3)))[:, 1].astype(np.float64)
        for _ in range(6)
    ]
    torn = helices[0] + [[9.0, 0, 0]] * (np.arange(12)[:, None] > 5)
    fits = fit_traces([*helices, torn])
    found = chain_figures(Chains([*helices, torn], fits), references(), seed=0)
    assert found["samples"] == 7
    assert found["trace"]["bonds_ok"]["value"] == pytest.approx((6 + 10 / 11) / 7, abs=1e-3)
    assert found["trace"]["valid"]["value"] == pytest.approx(6 / 7, abs=1e-3)
    assert found["backbone"]["valid"]["value"] == pytest.approx(6 / 7, abs=1e-3)
    assert found["backbone"]["bonds_ok"]["value"] == 1.0  # the fit cannot tear a bond
    region, inside = references().favoured, 0
    for fit in fits[:6]:
        for phi, psi in np.degrees(fit.torsions[1:-1, :2].astype(float)):
            inside += region.density[int((phi + 180) // 5) % 72, int((psi + 180) // 5) % 72] >= region.level
    assert inside > 30 and found["ramachandran_favoured"]["value"] == pytest.approx(inside / 60, abs=1e-4)
    assert found["secondary_structure"]["helix"]["value"] > 0.7
    assert found["secondary_structure"]["strand"]["value"] == 0.0
    assert found["diversity"]["clusters"] == 1 and found["diversity"]["pairs"] == 15
    radii = [radius_of_gyration(fit.coordinates[:, 1]) for fit in fits[:6]]
    assert found["radius_of_gyration"]["value"] == pytest.approx(np.mean(radii), abs=1e-3)
    assert 0 < found["radius_divergence"] < 1 and 0 < found["distance_divergence"] < 1
    assert found["nearest_training_rmsd"]["median"] > 0
    broken = Fit(fits[0].torsions, fits[0].coordinates + 20 * (np.arange(12) > 5)[:, None, None], 0.1, 0.0)
    assert (
        chain_figures(Chains(helices[:1], [broken]), references(), 0)["backbone"]["bonds_ok"]["value"] == 0.0
    )


def test_where_nothing_is_valid_there_are_dashes_and_no_error():
    torn = np.arange(12)[:, None] * np.array([9.0, 0, 0])
    found = chain_figures(Chains([torn], fit_traces([torn])), references(), 0)
    assert found["backbone"]["valid"]["value"] == 0.0
    assert found["radius_of_gyration"]["value"] is None and found["distance_divergence"] is None
    report = {
        "samples": 1, "lengths": [12, 12], "methods": {"model": found}, "prompts": {},
        "speed": {"draw_per_second": 1.0, "fit_per_second": 2.0}, "notes": ["a note"],
    }  # fmt: skip
    rows = {row[0]: row[1] for row in method_table(report).rows}
    assert rows["backbone: valid"] == "0 %" and rows["helix"] == "-"
    text = report_text(report)
    assert text.startswith("note: a note\n") and "1.0 traces drawn" in text and prompt_table(report) is None
