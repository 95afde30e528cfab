import csv
import json

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from betafold_mlx import Predictor
from betafold_mlx.errors import BetafoldError
from betafold_mlx.model.config import ModelConfig
from betafold_mlx.model.directory import LoadedModel
from betafold_mlx.model.folding import FoldingModel
from betafold_mlx.output import OutputFolder, safe_name


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    mx.random.seed(0)
    model = FoldingModel(ModelConfig(width=32, layers=1, heads=4, ffn_width=64))
    return Predictor(LoadedModel(model, "toy", "0" * 64, tmp_path_factory.mktemp("toy")))


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.text(max_size=300))
def test_a_name_stays_in_its_folder(tmp_path_factory, text):
    name = safe_name(text)
    assert name and len(name) <= 100 and name.isascii()
    assert not set(name) & set('/\\:*?"<>|\0\n ') and not name.startswith((".", "-"))


@pytest.mark.parametrize(
    ("identifier", "name"),
    [
        ("1le0_A", "1le0_A"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("/root/x", "_root_x"),
        ("sp|P01501|MEL", "sp_P01501_MEL"),
        ("mélittine", "melittine"),
        ("..", "peptide"),
        ("", "peptide"),
        ("肽", "_"),
    ],
)
def test_known_names(identifier, name):
    assert safe_name(identifier) == name


def test_equal_names_never_meet(tmp_path):
    folder = OutputFolder(tmp_path)
    names = [folder.claim(x) for x in ("a", "a", "A", "a_2", "a/b", "a b", "a_b")]
    assert names == ["a", "a_2", "A_3", "a_2_2", "a_b", "a_b_2", "a_b_3"]
    assert len({name.casefold() for name in names}) == len(names)


def test_files_of_a_folder(tmp_path, predictor):
    folder = OutputFolder(tmp_path / "out", "both")
    prediction = predictor.fold("GIGKFLHSAKKF", id="mag")
    files = folder.save(prediction)
    assert [path.name for path in files] == ["mag.cif", "mag.pdb", "mag.json"]
    folder.note_failure("bad", "GIGX", "'X' is wrong, really")
    folder.write_summary()
    with (tmp_path / "out" / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["id"], row["status"], row["files"]) for row in rows] == [
        ("mag", "ok", "mag.cif mag.pdb mag.json"),
        ("bad", "failed", ""),
    ]
    assert float(rows[0]["mean_plddt"]) == pytest.approx(prediction.plddt.mean(), abs=0.01)
    assert json.loads((tmp_path / "out" / "mag.json").read_text())["id"] == "mag"


def test_an_unwritable_folder_is_one_line(tmp_path, predictor):
    (tmp_path / "file").write_text("")
    with pytest.raises(BetafoldError, match="cannot write"):
        OutputFolder(tmp_path / "file").save(predictor.fold("GIGKFLHSAKKF"))


# Predictions


def test_what_a_python_user_sees(predictor):
    prediction = predictor.fold("gigkflhsakkf gkafvgeimns", samples=3)
    assert prediction.coordinates.shape == (3, 23, 5, 3)
    assert prediction.plddt.shape == (3, 23)
    assert prediction.torsions.shape == (3, 23, 3)
    glycine = np.array([letter == "G" for letter in prediction.sequence])
    assert np.isnan(prediction.coordinates[:, glycine, 4]).all()
    assert np.isfinite(prediction.coordinates[:, ~glycine]).all()
    assert np.isfinite(prediction.coordinates[:, :, :4]).all()
    undefined = np.isnan(prediction.torsions)
    assert undefined[:, 0, 0].all() and undefined[:, -1, 1:].all() and undefined.sum() == 9
    assert len(prediction.secondary_structure[0]) == 23
    assert all(np.diff(prediction.plddt.mean(axis=1)) <= 0)  # best first


def test_the_same_seed_gives_the_same_bytes(predictor):
    first, second = (predictor.fold("GIGKFLHSAKKF", samples=3, seed=4) for _ in range(2))
    assert first.to_mmcif() == second.to_mmcif() and first.to_pdb() == second.to_pdb()
    assert first.to_dict() == second.to_dict()
    assert predictor.fold("GIGKFLHSAKKF", samples=3, seed=5).to_pdb() != first.to_pdb()


def test_a_sample_does_not_depend_on_how_many_there_are(predictor):
    few, many = (predictor.fold("GIGKFLHSAKKF", samples=n).coordinates for n in (2, 6))
    for model in few:
        assert any(np.array_equal(model, other, equal_nan=True) for other in many)


def test_a_sample_does_not_depend_on_its_company(predictor):
    from betafold_mlx.sequence import Peptide

    peptides = [Peptide(s) for s in ("GIGKFLHSAKKF", "ACDEFGHIKLMNPQRSTVWY", "WWWW")]
    together = predictor.fold_many(peptides, samples=2)
    for peptide, prediction in zip(peptides, together, strict=True):
        alone = predictor.fold(peptide, samples=2)
        assert prediction.sequence == peptide.sequence
        np.testing.assert_allclose(prediction.coordinates, alone.coordinates, atol=1e-3)


def test_stated_bonds_are_measured(predictor):
    prediction = predictor.fold("GRCTKSIPPICFPD", cyclic=True, disulfides=[(3, 11)])
    ring, bond = prediction.bonds[0]
    c, n = prediction.coordinates[0, -1, 2], prediction.coordinates[0, 0, 0]
    assert ring.kind == "ring" and ring.distance == pytest.approx(np.linalg.norm(c - n), abs=1e-3)
    cb = prediction.coordinates[0, [2, 10], 4]
    assert bond.residues == (3, 11) and bond.distance == pytest.approx(
        np.linalg.norm(cb[0] - cb[1]), abs=1e-3
    )
    assert not prediction.constraints_met and any("head-to-tail" in w for w in prediction.warnings)
    assert prediction.to_dict()["models"][0]["stated_bonds"][0]["distance"] == ring.distance


def test_files_state_only_bonds_that_every_model_has(predictor):
    import dataclasses

    from betafold_mlx.closure import Bond

    prediction = predictor.fold("GRCTKSIPPICFPD", cyclic=True, disulfides=[(3, 11)], samples=2)
    ring, bond = Bond("ring", (1, 14), 1.33, True), Bond("disulfide", (3, 11), 3.9, True)
    for bonds, links in (
        (((ring, bond), (ring, bond)), {"SSBOND", "LINK"}),
        (((ring, bond), (ring, dataclasses.replace(bond, formed=False))), {"LINK"}),
        (((dataclasses.replace(ring, formed=False), bond), (ring, bond)), {"SSBOND"}),
    ):
        text = dataclasses.replace(prediction, bonds=bonds).to_pdb()
        assert {line.split()[0] for line in text.splitlines()} & {"SSBOND", "LINK"} == links


def test_lengths_outside_the_trained_ones_carry_a_warning(predictor):
    assert predictor.fold("GIGKFLHSAK").warnings == ()
    for sequence in ("GIGKFLHSA", "A" * 31):
        assert any("trained on 10 to 30" in warning for warning in predictor.fold(sequence).warnings)


def test_save_by_suffix(tmp_path, predictor):
    prediction = predictor.fold("GIGKFLHSAKKF")
    assert prediction.save(tmp_path / "x.pdb").read_text().startswith(("HEADER", "TITLE", "EXPDTA"))
    assert prediction.save(str(tmp_path / "x.cif")).read_text().startswith("data_")
    assert json.loads(prediction.save(tmp_path / "x.json").read_text())["schema_version"] == 1
    with pytest.raises(BetafoldError, match="must end in"):
        prediction.save(tmp_path / "x.xyz")


@pytest.mark.parametrize("arguments", [{"samples": 0}, {"seed": -1}, {"seed": 2**31}])
def test_numbers_out_of_range(predictor, arguments):
    with pytest.raises(BetafoldError, match=next(iter(arguments))):
        predictor.fold("GIGKFLHSAKKF", **arguments)
