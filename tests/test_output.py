import csv
import json

import mlx.core as mx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_models import toy_model

from betafold_mlx import Predictor
from betafold_mlx.errors import BetafoldError
from betafold_mlx.model.directory import LoadedModel
from betafold_mlx.output import OutputFolder, safe_name


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    mx.random.seed(0)
    model = toy_model()
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
        ("CON", "_CON"),
        ("nul.1", "_nul.1"),
        ("com1", "_com1"),
        ("console", "console"),
    ],
)
def test_known_names(identifier, name):
    assert safe_name(identifier) == name


def test_equal_names_never_meet(tmp_path):
    folder = OutputFolder(tmp_path)
    names = [folder.claim(x) for x in ("a", "a", "A", "a_2", "a/b", "a b", "a_b")]
    assert names == ["a", "a_2", "A_3", "a_2_2", "a_b", "a_b_2", "a_b_3"]
    assert len({name.casefold() for name in names}) == len(names)


def test_many_equal_names_take_no_longer_each(tmp_path):
    folder = OutputFolder(tmp_path)
    names = [folder.claim("same") for _ in range(20_000)]  # by counting from 1 each time: minutes
    assert len(set(names)) == 20_000 and names[-1] == "same_20000"


def test_preparing_finds_out_what_cannot_be_written(tmp_path):
    folder = OutputFolder(tmp_path / "a" / "b")
    folder.prepare()
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "sub"):
        with pytest.raises(BetafoldError, match="cannot write into"):
            OutputFolder(path).prepare()


def test_a_failure_tells_the_length_of_what_it_cuts(tmp_path):
    folder = OutputFolder(tmp_path)
    folder.note_failure("long", "ac\nd" * 1000, "too long")
    with folder.write_summary().open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["length"] == "3000" and row["sequence"] == ("ACD" * 22)[:64]


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
