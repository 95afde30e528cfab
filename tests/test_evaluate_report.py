"""From scores to figures, JSON and tables."""

import json

import mlx.core as mx
import numpy as np
import pytest
from evaluate_helpers import make_item
from synthetic import make_dataset

from betafold_mlx.evaluate.evaluation import Evaluation, evaluate_model
from betafold_mlx.evaluate.items import split_items
from betafold_mlx.evaluate.report import build_report, plain_values
from betafold_mlx.evaluate.scoring import score_structures
from betafold_mlx.evaluate.tables import render
from betafold_mlx.files import to_json
from betafold_mlx.metrics import ca_distance_error


class Oracle:
    """Stands in for a `Predictor`: answers the experimental structures, displaced by `noise` Angstrom.

    A ring or disulfide that it is not told costs it 5 Angstrom more.
    """

    def __init__(self, items, noise=0.0):
        self.known = {item.peptide.sequence: item for item in items}
        self.rng = np.random.default_rng(0)
        self.noise = noise
        self.loaded = type("Loaded", (), {"name": "oracle", "sha256": "f" * 64})()

    def describe_embedder(self):
        return {"kind": "residue", "label": "none"}

    def fold_many(self, peptides, seed):
        for peptide in peptides:
            item = self.known[peptide.sequence]
            noise = self.noise + 5.0 * (peptide != item.peptide)
            points = item.coordinates + noise * self.rng.normal(size=item.coordinates.shape)
            plddt = np.full((1, len(item)), 100.0)
            yield type("Prediction", (), {"coordinates": points[None], "plddt": plddt})()


@pytest.fixture(scope="module")
def perfect():
    dataset = make_dataset(chains=10, peptides=6)
    items = split_items(dataset, "validation")
    return build_report(evaluate_model(Oracle(items), dataset, items), {"command": {"x": 1}}, seed=0)


def test_a_perfect_model_makes_no_error(perfect):
    assert perfect["judged"] == "model" and perfect["command"] == {"x": 1}
    for group in perfect["groups"]:
        figures = group["figures"]["model"]
        assert figures["rmsd_mean"] < 1e-3 and figures["phi_mae"] < 0.05 and figures["psi_mae"] < 0.05
        assert figures["q3"] == figures["lddt"] == figures["gdt_ts"] == 1
        for other in group["comparisons"].values():
            assert other["rmsd_mean"]["difference"] < 1e-3


def test_what_stated_chemistry_is_worth_is_measured(perfect):
    rmsd = {
        group["name"]: group["figures"]["model_not_told"]["rmsd_mean"]
        for group in perfect["groups"]
        if group["n"]
    }
    assert rmsd["fragments"] < 1e-3  # nothing to tell
    assert rmsd["peptides free, cyclic"] > 2


def test_a_perfect_model_beats_every_baseline_with_certainty_where_there_are_clusters(perfect):
    fragments = perfect["groups"][0]
    assert fragments["name"] == "fragments" and fragments["clusters"] == 10 and fragments["intervals"]
    for name in ("constant_helix", "constant_strand", "type_prior", "nearest_neighbour"):
        entry = fragments["comparisons"][name]["rmsd_mean"]
        assert entry["excludes_zero"] and entry["low"] <= entry["difference"] <= entry["high"] < 0
    few = next(group for group in perfect["groups"] if group["name"] == "peptides free")
    assert few["clusters"] == 2 and not few["intervals"]
    assert few["comparisons"]["type_prior"]["rmsd_mean"]["low"] is None


def test_what_the_model_is_told_beside_the_sequence_is_noted():
    dataset = make_dataset(chains=2, peptides=6)
    items = split_items(dataset, "validation")
    rings = sum(item.peptide.cyclic for item in items)
    report = build_report(evaluate_model(Oracle(items), dataset, items), {})
    assert rings == 3 and len(items) == 8
    assert any("of 3 of 8 items; no baseline uses them" in note for note in report["notes"])
    assert f"note: {report['notes'][0]}" in render(report)


def test_figures_are_means_over_items_and_pooled_over_residues():
    rng = np.random.default_rng(0)
    items = [
        make_item(f"p{n}", kind="free", seed=n, cluster=n, length=length)
        for n, length in enumerate((10, 20, 31))
    ]
    structures = [item.coordinates + rng.normal(size=item.coordinates.shape) for item in items]
    scores = score_structures(items, structures)
    evaluation = Evaluation(items, {"model": scores}, {"model": ""}, None, [{} for _ in items], [])
    report = build_report(evaluation, {})
    group = report["groups"][0]
    figures = group["figures"]["model"]
    assert group["n"] == 3 and group["residues"] == 61 and "confidence" not in group
    assert figures["rmsd_mean"] == pytest.approx(scores.rmsd.mean(), abs=1e-4)
    assert figures["rmsd_median"] == pytest.approx(np.median(scores.rmsd), abs=1e-4)
    errors = np.concatenate([error[np.isfinite(error[:, 1]), 1] for error in scores.torsion_error])
    assert len(errors) == 61 - 3 and figures["psi_mae"] == pytest.approx(errors.mean(), abs=1e-4)
    right = sum(round(q * len(item)) for q, item in zip(scores.q3, items, strict=True))
    assert figures["q3"] == pytest.approx(right / 61, abs=1e-4)
    by_hand = [
        float(ca_distance_error(mx.array(x[:, 1].astype(np.float32)), mx.array(item.coordinates[:, 1])))
        for x, item in zip(structures, items, strict=True)
    ]
    assert figures["ca_distance_error"] == pytest.approx(np.mean(by_hand), abs=1e-3)
    record = report["records"][1]
    assert record["methods"]["model"]["rmsd"] == pytest.approx(scores.rmsd[1], abs=1e-4)
    np.testing.assert_allclose(record["deviation"], scores.deviation[1], atol=1e-4)


def test_records_name_the_neighbour_and_everything_is_json(perfect):
    document = json.loads(to_json(perfect))  # which refuses NaN
    assert document == perfect
    assert document["schema_version"] == 1 and {"betafold-mlx", "mlx", "numpy"} <= set(document["versions"])
    record = document["records"][0]
    assert set(record["neighbour"]) == {"id", "start", "score"} and record["neighbour"]["id"].startswith(
        "train"
    )
    assert len(record["plddt"]) == len(record["lddt"]) == len(record["deviation"]) == record["length"]
    assert set(record["methods"]) == set(document["methods"])


def test_the_same_seed_gives_the_same_report(perfect):
    dataset = make_dataset(chains=10, peptides=6)
    items = split_items(dataset, "validation")
    evaluation = evaluate_model(Oracle(items), dataset, items)
    assert build_report(evaluation, {"command": {"x": 1}}, seed=0) == perfect
    other = build_report(evaluation, {"command": {"x": 1}}, seed=1)
    assert other["groups"][0]["figures"] == perfect["groups"][0]["figures"]
    assert other["groups"][0]["comparisons"] != perfect["groups"][0]["comparisons"]


def test_noise_is_measured():
    dataset = make_dataset(chains=10, peptides=6)
    items = split_items(dataset, "validation")
    items = [item for item in items if item.kind == "fragment"]
    evaluation = evaluate_model(Oracle(items, noise=0.5), dataset, items)
    figures = build_report(evaluation, {})["groups"][0]["figures"]["model"]
    # sqrt(3) * 0.5, less the six degrees of freedom that the superposition takes of 3 * 3 * L
    assert figures["rmsd_mean"] == pytest.approx(0.84, abs=0.04)


def test_tables_show_every_group_and_mark_certain_differences(perfect):
    text = render(perfect)
    for group in perfect["groups"]:
        assert f"{group['name']}: {group['n']} in {group['clusters']} cluster" in text
    assert "reconstruction floor" in text and "too few clusters for intervals" in text
    assert "]*" in text and "reliability, fragments" in text and "GDT_TS" in text
    assert "nan" not in text.lower() and max(map(len, text.splitlines())) < 170


def test_plain_values():
    given = {"a": np.float32("nan"), "b": [np.int64(3), np.bool_(True), np.inf], "c": (1.23456, None, "x")}
    assert plain_values(given) == {"a": None, "b": [3, True, None], "c": [1.2346, None, "x"]}
    assert plain_values(np.array([[0.5, np.nan]])) == [[0.5, None]]


def test_ca_only_structures_have_figures_but_no_backbone_comparison():
    items = [make_item(f"p{n}", kind="free", seed=n, cluster=n) for n in range(6)]
    bare = [np.where(np.arange(3)[:, None] == 1, item.coordinates[:, :3], np.nan) for item in items]
    scores = {
        "model": score_structures(items, bare),
        "native": score_structures(items, [i.coordinates for i in items]),
    }
    report = build_report(Evaluation(items, scores, dict.fromkeys(scores, ""), None, [{}] * 6, []), {})
    figures = report["groups"][0]["figures"]["model"]
    assert figures["rmsd_mean"] is None and figures["phi_mae"] is None and figures["ca_rmsd_mean"] < 1e-3
    assert report["groups"][0]["comparisons"] == {}
    assert "-" in render(report)


def test_details_reach_the_record_and_unclustered_items_are_not_compared():
    item = make_item()
    scores = {"model": score_structures([item], [item.coordinates])}
    report = build_report(
        Evaluation([item], scores, {"model": ""}, None, [{"models": 4}], []), {}, clustered=False
    )
    assert report["records"][0]["models"] == 4 and report["groups"][0]["clusters"] is None
    assert "comparisons" not in report["groups"][0] and report["bootstrap"] is None
