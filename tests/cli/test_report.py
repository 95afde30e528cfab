"""``fold --report``: for a peptide and for a library, beside the other files."""

import json
import re

import pytest
from library_helpers import toy_predictor
from report_helpers import data_of, parsed

from betafold_mlx import Predictor
from betafold_mlx.cli.main import main


@pytest.fixture(autouse=True)
def toy(monkeypatch, tmp_path):
    predictor = toy_predictor()
    monkeypatch.setattr(Predictor, "load", lambda *_: predictor)
    monkeypatch.setenv("BETAFOLD_VIEWER", str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path)
    return predictor


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        main(["fold", *arguments])
    return stop.value.code


def made_by(tree):
    return tree.one(id="making").all("code")[-1].text


def test_one_peptide(tmp_path, capsys):
    assert run("GIGKFLHSAKKF", "--report", "--samples", "2", "--json", "-o", "out folder") == 0
    assert sorted(path.name for path in (tmp_path / "out folder").iterdir()) == [
        f"GIGKFLHSAKKF.{suffix}" for suffix in ("cif", "html", "json")
    ]
    tree = parsed((tmp_path / "out folder" / "GIGKFLHSAKKF.html").read_text(encoding="utf-8"))
    assert len(tree.one(id="attention").all("img")) == 4 and len(data_of(tree)["models"]) == 2
    wanted = "betafold-mlx fold GIGKFLHSAKKF --report --samples 2 --json -o 'out folder'"
    assert made_by(tree) == wanted
    out = capsys.readouterr()
    assert json.loads(out.out)["results"][0]["files"][-1].endswith("GIGKFLHSAKKF.html")
    assert len(re.findall("no 3D viewer is installed.*betafold-mlx viewer install", out.err)) == 1


def test_without_it_nothing_more_is_asked_of_the_network(toy, tmp_path, monkeypatch):
    asked = []
    fold = toy.fold
    monkeypatch.setattr(toy, "fold", lambda *a, **o: asked.append(o["details"]) or fold(*a, **o))
    assert run("GIGKFLHSAKKF") == 0 and run("GIGKFLHSAKKF", "--report") == 0
    assert asked == [False, True]


def test_a_library(tmp_path, capsys):
    (tmp_path / "some.fasta").write_text(
        ">a cyclic\nGIGKFLHSAKKF\n>bad\nGX\n>a <b>\nACDEFGHIKLMN\n", encoding="utf-8"
    )
    assert run("some.fasta", "--report", "-o", "out") == 1
    reports = sorted(path.name for path in (tmp_path / "out").glob("*.html"))
    assert reports == ["a.html", "a_2.html"]
    trees = [parsed((tmp_path / "out" / name).read_text(encoding="utf-8")) for name in reports]
    assert [data_of(tree)["sequence"] for tree in trees] == ["GIGKFLHSAKKF", "ACDEFGHIKLMN"]
    assert all(data_of(tree)["attention"] for tree in trees)
    assert {made_by(tree) for tree in trees} == {"betafold-mlx fold some.fasta --report -o out"}
    summary = (tmp_path / "out" / "summary.csv").read_text(encoding="utf-8")
    assert "a.cif a.json a.html" in summary and "a_2.html" in summary
    assert capsys.readouterr().err.count("no 3D viewer") == 1


def test_the_same_bytes_twice(tmp_path):
    texts = []
    for _ in range(2):
        assert run("GIGKFLHSAKKF", "--report", "-o", ".") == 0
        texts.append((tmp_path / "GIGKFLHSAKKF.html").read_bytes())
    assert texts[0] == texts[1]


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_container_has_no_reports(tmp_path, capsys, form):
    (tmp_path / "some.fasta").write_text(">a\nGIGKFLHSAKKF\n", encoding="utf-8")
    assert run("some.fasta", "--report", "--output-format", form, "-o", "out") == 2
    assert "--report is of files of each peptide" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_saving_as_html_is_the_report(toy, tmp_path):
    prediction = toy.fold("GIGKFLHSAKKF", details=True)
    tree = parsed(prediction.save(tmp_path / "x.html").read_text(encoding="utf-8"))
    assert tree.one("h1").text == "GIGKFLHSAKKF" and tree.one(id="attention").all("img")
