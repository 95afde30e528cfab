"""From scores to figures, JSON and tables."""

import json

import mlx.core as mx
import numpy as np
import pytest
from evaluate_helpers import make_item, prediction_of
from synthetic import make_dataset

from betafold_mlx.evaluate.display import blocks
from betafold_mlx.evaluate.document import build_document, plain_values
from betafold_mlx.evaluate.items import split_items
from betafold_mlx.evaluate.layout import plain_text
from betafold_mlx.evaluate.methods import Evaluation, evaluate_model
from betafold_mlx.evaluate.structure_scores import score_structures
from betafold_mlx.files import to_json
from betafold_mlx.fold.disulfides import DisulfidePattern
from betafold_mlx.geometry.metrics import ca_distance_error
from betafold_mlx.structure.secondary import assign_secondary_structure


class Oracle:
    """Stands in for a `Predictor`: answers the experimental structures, displaced by `noise` Angstrom.

    Model k has k * `spread` Angstrom more, and 10 points less of confidence. A ring or disulfide that it is not told
    costs 5 Angstrom more; of two ways to bond four cysteines it prefers the second of `PAIRINGS`.
    """

    def __init__(self, items, noise=0.0, spread=0.5):
        self.known = {item.peptide.sequence: item for item in items}
        self.rng = np.random.default_rng(0)
        self.noise, self.spread, self.folded = noise, spread, []
        self.loaded = type("Loaded", (), {"name": "oracle", "sha256": "f" * 64})()
        self.templates = None

    def describe_embedder(self):
        return {"kind": "residue", "label": "none"}

    def fold_many(self, peptides, samples, seed, atoms="all"):
        for peptide in peptides:
            self.folded.append(peptide)
            item = self.known[peptide.sequence]
            noise = self.noise + 5.0 * (peptide != item.peptide) + self.spread * np.arange(samples)
            shifts = self.rng.normal(size=(samples, *item.coordinates.shape))
            models = item.coordinates + noise[:, None, None, None] * shifts
            pairings = () if peptide.disulfides or "C" not in peptide.sequence else PAIRINGS
            yield prediction_of(peptide, models, 100.0 - 10 * np.arange(samples), pairings)


PAIRINGS = (DisulfidePattern(((1, 6), (3, 8)), 0.7), DisulfidePattern(((1, 3), (6, 8)), 0.2))


@pytest.fixture(scope="module")
def perfect():
    dataset = make_dataset(chains=10, peptides=6)
    items = split_items(dataset, "validation")
    return build_document(evaluate_model(Oracle(items), dataset, items), {"command": {"x": 1}}, seed=0)


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
    report = build_document(evaluate_model(Oracle(items), dataset, items, samples=1), {})
    assert rings == 3 and len(items) == 8
    assert any("of 3 of 8 items; no baseline uses them" in note for note in report["notes"])
    assert f"note: {report['notes'][0]}" in plain_text(blocks(report))


def test_figures_are_means_over_items_and_pooled_over_residues():
    rng = np.random.default_rng(0)
    items = [
        make_item(f"p{n}", kind="free", seed=n, cluster=n, length=length)
        for n, length in enumerate((10, 20, 31))
    ]
    structures = [item.coordinates + rng.normal(size=item.coordinates.shape) for item in items]
    scores = score_structures(items, structures)
    evaluation = Evaluation(items, {"model": scores}, {"model": ""}, None, [{} for _ in items], [])
    report = build_document(evaluation, {})
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
    assert build_document(evaluation, {"command": {"x": 1}}, seed=0) == perfect
    other = build_document(evaluation, {"command": {"x": 1}}, seed=1)
    assert other["groups"][0]["figures"] == perfect["groups"][0]["figures"]
    assert other["groups"][0]["comparisons"] != perfect["groups"][0]["comparisons"]


def test_the_best_and_the_mean_of_the_models_stand_beside_the_first(perfect):
    assert list(perfect["methods"])[:4] == ["model", "best_of_5", "mean_of_5", "model_not_told"]
    assert "oracle" in perfect["methods"]["best_of_5"] and "first of 5" in perfect["methods"]["model"]
    for group in perfect["groups"]:
        figures = group["figures"]
        # the first is perfect
        assert figures["best_of_5"]["rmsd_mean"] == figures["model"]["rmsd_mean"] < 1e-3
        # sqrt(3) times the mean of 0, 0.5, 1, 1.5, 2, less what the superposition takes
        assert figures["mean_of_5"]["rmsd_mean"] == pytest.approx(np.sqrt(3), abs=0.25)
        assert group["comparisons"]["mean_of_5"]["rmsd_mean"]["difference"] < -1
    record = perfect["records"][0]
    ensemble = record["ensemble"]
    assert ensemble["mean_plddt"] == [100, 90, 80, 70, 60] and ensemble["rmsd"] == sorted(ensemble["rmsd"])
    assert record["methods"]["mean_of_5"]["rmsd"] == pytest.approx(np.mean(ensemble["rmsd"]), abs=1e-3)
    assert record["methods"]["mean_of_5"]["secondary_structure"] is None
    assert len(ensemble["lddt"]) == len(ensemble["ca_rmsd"]) == 5
    fragments = perfect["groups"][0]
    ranking = fragments["ranking"]
    assert ranking["hit_rate"] == 1 and ranking["chance"] == 0.2 and ranking["n"] == fragments["n"]
    assert ranking["first_minus_mean"]["high"] < 0


def test_one_model_of_each_item_is_no_ensemble():
    dataset = make_dataset(chains=2, peptides=6)
    items = split_items(dataset, "validation")
    report = build_document(evaluate_model(Oracle(items), dataset, items, samples=1), {})
    assert list(report["methods"])[:2] == ["model", "model_not_told"]
    assert all("ranking" not in group and "confidence" in group for group in report["groups"])
    assert "ensemble" not in report["records"][0] and "within a peptide" not in plain_text(blocks(report))


def test_only_what_has_chemistry_is_folded_a_second_time():
    dataset = make_dataset(chains=2, peptides=6)
    items = split_items(dataset, "validation")
    oracle = Oracle(items)
    evaluate_model(oracle, dataset, items, samples=1)
    rings = [item.peptide for item in items if item.peptide.cyclic]
    again = oracle.folded[len(items) :]
    assert sorted(p.sequence for p in again) == sorted(p.sequence for p in rings) and len(rings) == 3
    assert not any(peptide.cyclic or peptide.disulfides for peptide in again)


def test_stated_bonds_and_preferred_disulfides_are_counted():
    bonds = ((1, 6), (3, 8))
    others = [((1, 3), (6, 8)), ((1, 6),), ()]  # not preferred; with free cysteines; nothing to find
    items = [
        make_item(f"p{n}", sequence=f"CACA{'DEFGH'[n]}CACA", disulfides=pairs, seed=n, cluster=n)
        for n, pairs in enumerate([bonds, *others])
    ]
    dataset = make_dataset(chains=2, peptides=0)
    items.append(make_item("p4", sequence="AAAAAAAAAA", cyclic=True, seed=9, cluster=9))
    report = build_document(evaluate_model(Oracle(items), dataset, items), {})
    group = next(group for group in report["groups"] if group["name"] == "peptides free")
    assert group["pairing"] == {
        "n": 2, "right": 0.5, "chance": 0.3333, "mean_probability": 0.7, "single": 0, "unanswerable": 1
    }  # fmt: skip
    made = {kind: figures["items"] for kind, figures in group["bonds"].items()}
    assert made == {"ring": 1, "disulfide": 3} and group["bonds"]["ring"]["models"] == 5
    records = {record["id"]: record for record in report["records"]}
    assert records["p0"]["pairing"]["right"] and not records["p1"]["pairing"]["right"]
    assert not records["p2"]["pairing"]["answerable"] and "pairing" not in records["p3"]
    assert [len(bonds) for bonds in records["p0"]["stated_bonds"]] == [2] * 5
    measured = records["p4"]["stated_bonds"][0][0]
    span = np.linalg.norm(items[4].coordinates[-1, 2] - items[4].coordinates[0, 0])
    assert measured["kind"] == "ring" and measured["distance"] == pytest.approx(span, abs=0.01)
    assert "stated_bonds" not in records["p3"]
    text = plain_text(blocks(report))
    assert "peptides free: disulfide" in text and "disulfides not stated" in text


def test_classes_and_native_structure_are_told(perfect):
    classes = {entry["name"]: entry for entry in perfect["classes"]}
    assert classes["fragments, linear"]["n"] == 10 and classes["fragments, linear"]["clusters"] == 10
    assert classes["peptides, cyclic"]["rmsd_median"]["model"] < 1e-3
    assert set(classes["peptides free, cyclic"]["rmsd_median"]) == set(perfect["methods"])
    items = split_items(make_dataset(chains=10, peptides=6), "validation")
    for record, item in zip(perfect["records"], items, strict=True):
        assert record["secondary_structure"] == assign_secondary_structure(item.coordinates[:, 1])


def test_the_scope_is_in_the_report_and_the_tables():
    class Knowing(Oracle):
        def fold_many(self, peptides, samples, seed, atoms="all"):
            for peptide in peptides:
                strange = make_item(sequence=peptide.sequence)
                self.known.setdefault(peptide.sequence, strange)
            return list(super().fold_many(peptides, samples, seed))

    dataset = make_dataset(chains=3, peptides=6)
    items = split_items(dataset, "validation")
    report = build_document(evaluate_model(Knowing(items), dataset, items, samples=2, scope=4), {})
    counts = {entry["name"]: entry["n"] for entry in report["scope"]["sets"]}
    assert counts == {
        "fragments": 3, "peptides": 6, "free peptides": 2, "random": 4,
        "shuffled fragments": 3, "shuffled free peptides": 2, "disordered": 25,
    }  # fmt: skip
    text = plain_text(blocks(report))
    assert "confidence where there is no fold" in text and "tau 275-304, repeat 2" in text
    assert json.loads(to_json(report)) == report


def test_noise_is_measured():
    dataset = make_dataset(chains=10, peptides=6)
    items = split_items(dataset, "validation")
    items = [item for item in items if item.kind == "fragment"]
    evaluation = evaluate_model(Oracle(items, noise=0.5), dataset, items, samples=1)
    figures = build_document(evaluation, {})["groups"][0]["figures"]["model"]
    # sqrt(3) * 0.5, less the six degrees of freedom that the superposition takes of 3 * 3 * L
    assert figures["rmsd_mean"] == pytest.approx(0.84, abs=0.04)


def test_tables_show_every_group_and_mark_certain_differences(perfect):
    text = plain_text(blocks(perfect))
    for group in perfect["groups"]:
        assert f"{group['name']}: {group['n']} in {group['clusters']} cluster" in text
    assert "reconstruction floor" in text and "too few clusters for intervals" in text
    assert "]*" in text and "reliability, fragments" in text and "GDT_TS" in text
    assert "best of 5 (oracle)" in text and "within a peptide" in text and "RMSD of the surest" in text
    assert "fragments, 10-15 residues" in text and "100 %" in text and "confidence where" not in text
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
    report = build_document(Evaluation(items, scores, dict.fromkeys(scores, ""), None, [{}] * 6, []), {})
    figures = report["groups"][0]["figures"]["model"]
    assert figures["rmsd_mean"] is None and figures["phi_mae"] is None and figures["ca_rmsd_mean"] < 1e-3
    assert report["groups"][0]["comparisons"] == {}
    assert "-" in plain_text(blocks(report))


def test_details_reach_the_record_and_unclustered_items_are_not_compared():
    item = make_item()
    scores = {"model": score_structures([item], [item.coordinates])}
    report = build_document(
        Evaluation([item], scores, {"model": ""}, None, [{"models": 4}], []), {}, clustered=False
    )
    assert report["records"][0]["models"] == 4 and report["groups"][0]["clusters"] is None
    assert "comparisons" not in report["groups"][0] and report["bootstrap"] is None
