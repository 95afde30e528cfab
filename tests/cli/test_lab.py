import functools
import html
import json
import sys

import cli_helpers
import pytest
from lab_helpers import TINY, tiny_lab
from synthetic import make_dataset

from betafold_mlx.lab import budget, runner
from betafold_mlx.lab.runner import Finding, LabReport

run = functools.partial(cli_helpers.run, "lab")


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(budget.PRESETS, "quick", TINY)


@pytest.mark.parametrize("experiment", ["norm", "failures", "all"])
def test_without_data_it_says_how_to_make_some(experiment, tmp_path):
    code, out, err = run(experiment, "-o", tmp_path / "lab")
    assert code == 2 and not out and "dataset build" in err and err.count("\n") == 1
    assert not (tmp_path / "lab").exists()


def test_wrong_usage(tmp_path):
    assert run("cooking")[0] == 2
    code, _, err = run("toy", "--budget", "soon")
    assert code == 2 and "minutes for each experiment" in err
    code, _, err = run("toy", "GIGKF")
    assert code == 2 and "takes peptides" in err


def test_without_matplotlib_it_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, out, err = run("toy", "-o", tmp_path / "lab")
    assert code == 1 and not out and "pip install 'betafold-mlx[lab]'" in err and err.count("\n") == 1


def test_a_damaged_data_set_is_one_line(tmp_path):
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    code, out, err = run("norm", "--data", tmp_path, "-o", tmp_path / "lab")
    assert code == 1 and not out and "there is no data set" in err and "Traceback" not in err


@pytest.mark.slow
def test_a_verdict_is_printed_and_a_page_written(tmp_path, tiny):
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    make_dataset(chains=6, peptides=6).save(tmp_path / "data set")
    options = ("--data", tmp_path / "data set", "-o", tmp_path / "lab", "--budget", "quick")
    code, out, err = run("dropout", *options)
    assert code == 0
    assert "dropout 0.3 against dropout 0.1, backbone RMSD" in out and "no verdict" in out
    assert out.endswith(f"{tmp_path / 'lab' / 'dropout' / 'index.html'}\n") and "run 3 of 3" in err
    code, document, err = run("dropout", *options, "--json")
    assert err.count("done before") == 3
    parsed = json.loads(document)
    assert code == 0 and parsed["experiment"] == "dropout"
    assert [f["verdict"] for f in parsed["findings"]] == out.splitlines()[: len(parsed["findings"])]
    page = (tmp_path / "lab" / "dropout" / "index.html").read_text()
    assert parsed["command"] in html.unescape(page)


def test_all_goes_on_after_a_failure(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    from betafold_mlx.errors import BetafoldError

    def experiment(name, lab):
        if name == "mask":
            raise BetafoldError("the mask slipped")
        return LabReport([Finding(name, "Å", 1.0, None, None, 1, f"{name} says.")])

    monkeypatch.setattr(runner, "run_experiment", experiment)
    data = tiny_lab(tmp_path).data
    code, out, err = run("all", "--data", data, "-o", tmp_path / "lab")
    assert code == 1 and "lab mask: the mask slipped" in err
    assert "toy says." in out and "embeddings says." in out and "mask says." not in out
    code, out, _ = run("all", "--data", data, "-o", tmp_path / "lab", "--json")
    assert code == 1 and [d["experiment"] for d in json.loads(out) if "error" in d] == ["mask"]
