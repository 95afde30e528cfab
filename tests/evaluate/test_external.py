"""Anybody's structure files against references: matching, reading, scoring, and what cannot be scored."""

import dataclasses
import gzip
from pathlib import Path

import numpy as np
import pytest
from evaluate_helpers import HELIX_DEGREES, make_item, mirrored, native, write_cif, write_pdb
from synthetic import make_dataset

from betafold_mlx.errors import BetafoldError
from betafold_mlx.evaluate.document import build_document
from betafold_mlx.evaluate.external import (
    PREDICTION,
    ReferenceSet,
    assign_files,
    evaluate_files,
    load_references,
)
from betafold_mlx.evaluate.predicted_files import PredictedChain, plddt_scale, read_predictions
from betafold_mlx.structure.backbone import Backbone
from betafold_mlx.structure.jsonl import write_backbones

BEST, MEAN = "best_of_models", "mean_of_models"


def reference_set(items):
    return ReferenceSet(list(items), {})


def score(folder, items):
    return evaluate_files(folder, reference_set(items))


def helix(name, seed=0, length=16):
    return make_item(name, degrees=HELIX_DEGREES, seed=seed, length=length)


def test_native_structures_come_back_perfect_in_every_format(tmp_path):
    items = [helix(name, seed) for seed, name in enumerate(("1abc_A", "2xyz_B", "pep-3", "pep-4"))]
    write_pdb(tmp_path / "1abc_A.pdb", [native(items[0])])
    write_cif(tmp_path / "2XYZ_b_relaxed.CIF", [native(items[1])])
    write_pdb(tmp_path / "plain.pdb", [native(items[2])])
    (tmp_path / "deep" / "er").mkdir(parents=True)
    with gzip.open(tmp_path / "deep" / "er" / "pep-3.model.pdb.gz", "wb") as handle:
        handle.write((tmp_path / "plain.pdb").read_bytes())
    (tmp_path / "plain.pdb").unlink()
    write_pdb(tmp_path / "any name.ent", [native(items[3])])  # by its sequence
    evaluation, failures = score(tmp_path, items)
    assert failures == [] and [item.id for item in evaluation.items] == [i.id for i in items]
    scores = evaluation.scores[PREDICTION]
    assert scores.rmsd.max() < 2e-3 and scores.gdt_ts.min() == 1  # PDB files have three decimals
    assert list(evaluation.scores) == [
        PREDICTION, "constant_helix", "constant_strand", "reconstruction_floor",
    ]  # fmt: skip


def test_mirror_images_are_wrong(tmp_path):
    item = helix("a", length=20)
    write_pdb(tmp_path / "a.pdb", [mirrored(item)])
    evaluation, failures = score(tmp_path, [item])
    assert failures == [] and evaluation.scores[PREDICTION].rmsd[0] > 2


def test_the_first_model_is_judged_and_the_best_is_told(tmp_path):
    item = helix("a", length=20)
    rng = np.random.default_rng(0)
    noisy = [
        (item.peptide.sequence, item.coordinates + s * rng.normal(size=(20, 4, 3))) for s in (0.5, 0.1, 0.3)
    ]
    write_pdb(tmp_path / "a.pdb", noisy)
    evaluation = score(tmp_path, [item])[0]
    first, best = evaluation.scores[PREDICTION].rmsd[0], evaluation.scores[BEST].rmsd[0]
    assert first == pytest.approx(0.8, abs=0.2) and best == pytest.approx(0.17, abs=0.05)
    every = evaluation.ensembles.scores.rmsd
    assert list(every[:2]) == [first, best] and evaluation.scores[MEAN].rmsd[0] == pytest.approx(every.mean())
    assert evaluation.details[0]["models"] == 3 and "oracle" in evaluation.descriptions[BEST]


def test_the_confidence_of_every_model_ranks_them(tmp_path):
    items = [helix(name, length=20) for name in "abc"]
    rng = np.random.default_rng(0)
    for item in items:
        for rank, noise in enumerate((0.1, 0.4, 1.6)):
            moved = item.coordinates + noise * rng.normal(size=(20, 4, 3))
            model = (item.peptide.sequence, moved)
            write_pdb(
                tmp_path / f"{item.id}_{rank}.pdb", [model], bfactors=np.linspace(90, 80, 20) - 30 * rank
            )
    # better than its first
    write_pdb(tmp_path / "c_1.pdb", [native(items[2])], bfactors=np.linspace(60, 50, 20))
    evaluation, _ = score(tmp_path, items)
    ensembles = evaluation.ensembles
    np.testing.assert_allclose(ensembles.plddt, np.tile([85, 55, 25], 3), atol=0.01)
    report = build_document(evaluation, {}, clustered=False, everything=True)
    ranking = report["groups"][0]["ranking"]
    assert (ranking["n"], ranking["models"], ranking["hit_rate"]) == (3, 9, pytest.approx(2 / 3, abs=1e-4))
    assert ranking["spearman_rmsd"]["mean"] == pytest.approx((-1 - 1 - 0.5) / 3, abs=1e-4)
    assert ranking["spearman_rmsd"]["low"] is None


def test_the_rmsd_of_a_ca_trace_does_not_beat_that_of_a_backbone(tmp_path):
    item = helix("a", length=20)
    trace = item.coordinates.copy()
    trace[:, [0, 2, 3]] = np.nan  # of CA RMSD 0, but no backbone
    noisy = item.coordinates + 0.3 * np.random.default_rng(0).normal(size=(20, 4, 3))
    write_pdb(tmp_path / "a.pdb", [(item.peptide.sequence, noisy), (item.peptide.sequence, trace)])
    scores = score(tmp_path, [item])[0].scores
    assert scores[BEST].rmsd[0] == scores[PREDICTION].rmsd[0] > 0.3
    write_pdb(tmp_path / "a.pdb", [(item.peptide.sequence, trace), (item.peptide.sequence, noisy)])
    scores = score(tmp_path, [item])[0].scores
    assert np.isnan(scores[PREDICTION].rmsd[0]) and scores[BEST].rmsd[0] > 0.3


def test_several_files_are_models_in_natural_order(tmp_path):
    item = helix("a", length=20)
    write_pdb(tmp_path / "a_model_10.pdb", [native(item)])
    write_pdb(tmp_path / "a_model_2.pdb", [mirrored(item)])
    evaluation = score(tmp_path, [item])[0]
    assert evaluation.scores[PREDICTION].rmsd[0] > 2 and evaluation.scores[BEST].rmsd[0] < 2e-3


def chain_of(sequence):
    return PredictedChain(1, sequence, np.zeros((len(sequence), 3, 3)), np.zeros(len(sequence)))


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("1abc_A.pdb", 0), ("1ABC_a.cif.gz", 0), ("1abc_A-rank1.pdb", 0), ("1abc_A_12-30.pdb", 2),
        ("1abc_A_12-30_x.pdb", 2), ("1abc_A_12.pdb", 0), ("1abc.pdb", 3), ("1abcd.pdb", None), ("x1abc_A.pdb", None),
        ("odd_id_.pdb", 4), ("1abc_B.pdb", 1),
    ],
)  # fmt: skip
def test_file_names_and_ids(name, owner):
    ids = ["1abc_A", "1abc_B", "1abc_A_12-30", "1abc", "odd/id*"]
    items = [make_item(name, seed=seed) for seed, name in enumerate(ids)]
    assigned, orphans = assign_files(items, {Path(name): [chain_of("MMMMMMMM")]})
    assert [index for index, files in assigned.items() if files] == ([] if owner is None else [owner])
    assert bool(orphans) == (owner is None)


def test_a_sequence_serves_every_reference_without_a_file_of_its_own():
    items = [make_item(name, sequence="ACDEFGHIKL", seed=seed) for seed, name in enumerate("abc")]
    files = {
        Path("b.pdb"): [chain_of("ACDEFGHIKL")],
        Path("other.pdb"): [chain_of("GG"), chain_of("ACDEFGHIKL")],
    }
    assigned, orphans = assign_files(items, files)
    assert orphans == []
    assert assigned == {0: [Path("other.pdb")], 1: [Path("b.pdb")], 2: [Path("other.pdb")]}


def test_what_cannot_be_scored_is_listed_with_its_reason(tmp_path):
    items = {
        name: helix(name, seed) for seed, name in enumerate(("good", "absent", "changed", "holes", "long"))
    }
    items["long"] = helix("long", seed=9, length=101)
    write_pdb(tmp_path / "good.pdb", [native(items["good"])])
    write_pdb(tmp_path / "long.pdb", [native(items["long"])])
    write_pdb(tmp_path / "changed.pdb", [native(helix("other", seed=50))])
    holes = items["holes"].coordinates.copy()
    holes[3, 1] = np.nan
    write_pdb(tmp_path / "holes.pdb", [(items["holes"].peptide.sequence, holes)])
    write_pdb(tmp_path / "nobody.pdb", [native(helix("nobody", seed=60))])
    (tmp_path / "broken.pdb").write_text("this is no structure\n")
    evaluation, failures = score(tmp_path, items.values())
    assert [item.id for item in evaluation.items] == ["good"]
    found = {failure.name: (failure.what, failure.reason) for failure in failures}
    assert set(found) == {"absent", "changed", "holes", "long", "nobody.pdb", "broken.pdb"}
    assert found["absent"] == ("reference", "no file of this id or sequence")
    assert found["nobody.pdb"] == ("file", "no reference of this id or sequence")
    assert items["changed"].peptide.sequence in found["changed"][1]
    assert "residues without CA" in found["holes"][1] and "at most 100" in found["long"][1]
    assert "broken.pdb" in found["broken.pdb"][1]


def test_nothing_scored_is_a_report_and_no_crash(tmp_path):
    write_pdb(tmp_path / "x.pdb", [native(helix("x", seed=3))])
    evaluation, failures = score(tmp_path, [helix("y")])
    assert len(evaluation.items) == 0 and len(failures) == 2
    (tmp_path / "empty").mkdir()
    with pytest.raises(BetafoldError, match="no structure file"):
        score(tmp_path / "empty", [helix("y")])


def test_ca_traces_are_scored_by_their_ca(tmp_path):
    items = [helix("trace", 1), helix("cut", 2), helix("whole", 3)]
    trace, cut = (item.coordinates.copy() for item in items[:2])
    trace[:, [0, 2, 3]] = np.nan
    cut[0, 0] = np.nan  # one N is missing
    write_pdb(tmp_path / "trace.pdb", [(items[0].peptide.sequence, trace)])
    write_pdb(tmp_path / "cut.pdb", [(items[1].peptide.sequence, cut)])
    write_pdb(tmp_path / "whole.pdb", [(items[2].peptide.sequence, items[2].coordinates[:, :4])])
    evaluation, _ = score(tmp_path, items)
    scores = evaluation.scores[PREDICTION]
    assert np.isnan(scores.rmsd).tolist() == [True, True, False] and scores.ca_rmsd.max() < 2e-3
    assert any("2 predictions lack N or C atoms" in note for note in evaluation.notes)


def test_oxygen_is_not_needed_and_caps_and_other_chains_do_not_disturb(tmp_path):
    item = helix("a")
    bare = item.coordinates.copy()
    bare[:, 3] = np.nan
    write_pdb(tmp_path / "a.pdb", [(item.peptide.sequence, bare)])
    lines = (tmp_path / "a.pdb").read_text().splitlines(keepends=True)
    cap = "HETATM  900  C   ACE A   0      10.000  10.000  10.000  1.00  0.00           C\n"
    water = "HETATM  901  O   HOH B   1      20.000  10.000  10.000  1.00  0.00           O\n"
    first = next(n for n, line in enumerate(lines) if line.startswith("ATOM"))
    (tmp_path / "a.pdb").write_text("".join([*lines[:first], cap, water, *lines[first:]]))
    evaluation, failures = score(tmp_path, [item])
    assert failures == [] and evaluation.scores[PREDICTION].rmsd[0] < 2e-3


def test_a_model_of_another_sequence_is_passed_over_and_noted(tmp_path):
    item = helix("a")
    write_pdb(tmp_path / "a_1.pdb", [native(item)])
    write_pdb(tmp_path / "a_2.pdb", [native(helix("b", seed=7))])
    evaluation, failures = score(tmp_path, [item])
    assert failures == [] and evaluation.details[0]["models"] == 1
    assert any("passed over a_2.pdb, model 1: sequence" in note for note in evaluation.notes)


@pytest.mark.parametrize(("scale", "factor"), [(1.0, 1.0), (0.01, 100.0)])
def test_bfactors_are_plddt_on_either_scale(tmp_path, scale, factor):
    items = [helix("a", 1), helix("b", 2)]
    values = np.linspace(40, 96, 16)
    for item in items:
        write_pdb(tmp_path / f"{item.id}.pdb", [native(item)], bfactors=scale * values)
    evaluation = score(tmp_path, items)[0]
    np.testing.assert_allclose(evaluation.plddt[0], values, atol=0.6 if scale < 1 else 0.01)  # two decimals
    assert any(("0-100" if factor == 1 else "0-1:") in note for note in evaluation.notes)


@pytest.mark.parametrize("values", [[-1.0, 50.0], [10.0, 120.0], [20.0, 20.0], [np.nan, 20.0], []])
def test_other_bfactors_are_no_plddt(values):
    chain = dataclasses.replace(chain_of("A" * len(values)), bfactors=np.array(values))
    factor, reason = plddt_scale([chain])
    assert factor is None and "not read as pLDDT" in reason


def test_unusable_coordinates_and_unknown_residues_are_read_as_such(tmp_path):
    item = helix("a")
    write_pdb(tmp_path / "a.pdb", [native(item)])
    (chain,) = read_predictions(tmp_path / "a.pdb")
    assert chain.sequence == item.peptide.sequence and chain.scorable is chain.atoms
    lines = (tmp_path / "a.pdb").read_text().splitlines(keepends=True)
    atoms = [n for n, line in enumerate(lines) if line.startswith("ATOM")]
    for place in atoms[:4]:  # the first residue
        lines[place] = lines[place][:17] + "DAL" + lines[place][20:]
    lines[atoms[5]] = lines[atoms[5]][:30] + "     nan" + lines[atoms[5]][38:]
    lines[atoms[9]] = lines[atoms[9]][:30] + "99999.99" + lines[atoms[9]][38:]
    (tmp_path / "b.pdb").write_text("".join(lines))
    (chain,) = read_predictions(tmp_path / "b.pdb")
    assert chain.sequence == "X" + item.peptide.sequence[1:]
    assert np.argwhere(np.isnan(chain.atoms).all(axis=-1)).tolist() == [[1, 1], [2, 1]]
    assert chain.scorable is None


def backbones(items):
    return [
        Backbone(item.id, item.peptide.sequence, np.float32(item.coordinates), kind=item.kind, cyclic=False)
        for item in items
    ]


def test_references_of_every_kind(tmp_path):
    items = [helix("a", 1), helix("b", 2)]
    write_backbones(tmp_path / "r.jsonl.gz", backbones(items))
    read = load_references(tmp_path / "r.jsonl.gz", "test")
    assert (
        [item.id for item in read.items] == ["a", "b"]
        and read.dataset is None
        and list(read.sha256) == ["r.jsonl.gz"]
    )
    np.testing.assert_array_equal(read.items[0].coordinates, items[0].coordinates)
    write_pdb(tmp_path / "9xyz.pdb", [native(items[0])])
    assert [item.id for item in load_references(tmp_path / "9xyz.pdb", "test").items] == ["9xyz_A"]
    dataset = make_dataset(chains=2, peptides=3)
    dataset.save(tmp_path / "set")
    read = load_references(tmp_path / "set", "validation")
    assert read.dataset is not None and len(read.items) == 5 and len(read.sha256) == 1
    (tmp_path / "bad.jsonl").write_text('{"id": "x"}\n')
    with pytest.raises(BetafoldError, match=r"no usable reference in .*bad\.jsonl"):
        load_references(tmp_path / "bad.jsonl", "test")
    with pytest.raises(BetafoldError, match="no such file"):
        load_references(tmp_path / "nowhere", "test")


def test_a_bad_reference_record_is_noted_and_the_rest_is_scored(tmp_path):
    item = helix("a")
    write_backbones(tmp_path / "r.jsonl", backbones([item]))
    with (tmp_path / "r.jsonl").open("a") as handle:
        handle.write('{"id": "bad", "seq": "AC", "backbone": [1, 2]}\n')
    (tmp_path / "p").mkdir()
    write_pdb(tmp_path / "p" / "a.pdb", [native(item)])
    evaluation, _ = evaluate_files(tmp_path / "p", load_references(tmp_path / "r.jsonl", "test"))
    assert evaluation.scores[PREDICTION].rmsd[0] < 2e-3
    assert any("bad" in note for note in evaluation.notes)
