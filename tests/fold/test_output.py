import csv
import io
import json

import mlx.core as mx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import toy_model

from betafold_mlx import Predictor
from betafold_mlx.errors import BetafoldError
from betafold_mlx.fold.output import (
    SUMMARY_COLUMNS,
    csv_text,
    failure_row,
    prepare,
    safe_name,
    summary_row,
)
from betafold_mlx.model.directory import LoadedModel


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


def test_preparing_finds_out_what_cannot_be_written(tmp_path):
    prepare(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "sub"):
        with pytest.raises(BetafoldError, match="cannot write into"):
            prepare(path)


def test_a_failure_tells_the_length_of_what_it_cuts():
    row = dict(zip(SUMMARY_COLUMNS, failure_row("long", "ac\nd" * 1000, "too long"), strict=True))
    assert row["length"] == 3000 and row["sequence"] == ("ACD" * 22)[:64]
    assert (row["id"], row["status"], row["message"]) == ("long", "failed", "too long")


def test_files_and_rows_of_a_prediction(tmp_path, predictor):
    prediction = predictor.fold("GIGKFLHSAKKF", id="mag")
    files = [prediction.save(tmp_path / f"mag.{kind}") for kind in ("cif", "pdb", "json")]
    names = [path.name for path in files]
    assert names == ["mag.cif", "mag.pdb", "mag.json"] and all(path.stat().st_size for path in files)
    text = csv_text(
        [SUMMARY_COLUMNS, summary_row(prediction, names), failure_row("bad", "GIGX", "'X', really")]
    )
    good, bad = csv.DictReader(io.StringIO(text))
    assert (good["id"], good["status"], good["files"]) == ("mag", "ok", "mag.cif mag.pdb mag.json")
    assert (bad["id"], bad["message"]) == ("bad", "'X', really")
    assert float(good["mean_plddt"]) == pytest.approx(prediction.plddt.mean(), abs=0.01)
    assert good["secondary_structure"] == prediction.secondary_structure[0]
    assert json.loads((tmp_path / "mag.json").read_text())["id"] == "mag"


def test_an_unwritable_folder_is_one_line(tmp_path, predictor):
    (tmp_path / "file").write_text("")
    with pytest.raises(BetafoldError, match="cannot write"):
        predictor.fold("GIGKFLHSAKKF").save(tmp_path / "file" / "x.cif")
