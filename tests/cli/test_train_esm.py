"""`train`, `fold` and `evaluate` on the features of an ESM-2, as a user calls them."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from cli_esm_helpers import LABEL, MAGAININ, OPTIONS, WINDOWS, make_folder
from cli_helpers import error_line, run, run_process
from esm_helpers import TINY, contents

from betafold_mlx.data.store import Dataset, dataset_sha256
from betafold_mlx.data.windows import SamplerConfig
from betafold_mlx.esm.convert import convert
from betafold_mlx.esm.embedder import EsmEmbedder
from betafold_mlx.esm.hub import read_checkpoint
from betafold_mlx.model.config import ModelConfig
from betafold_mlx.train.features import fill_by_esm
from betafold_mlx.train.loop import Trainer
from betafold_mlx.train.training_config import TrainConfig


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("esm"))


@pytest.fixture
def work(folder, tmp_path):
    """A copy of it to spoil."""
    return shutil.copytree(folder, tmp_path / "work")


def test_a_run_names_its_embedder_everywhere(folder):
    settings = json.loads((folder / "run" / "run.json").read_text())["settings"]
    config = json.loads((folder / "run" / "best" / "config.json").read_text())
    embedder = json.loads((folder / "cache" / "index.json").read_text())["embedder"]
    assert settings["network"]["embedder"] == config["network"]["embedder"] == embedder
    assert (embedder["kind"], embedder["width"], embedder["size"], embedder["label"]) == (
        *("esm2", 24, "2x24"),
        LABEL,
    )
    assert settings["sampler"]["windows"] == WINDOWS and settings["sampler"]["windows_seed"] == 0
    assert LABEL in (folder / "run" / "best" / "README.md").read_text()


WITHOUT_ESM = """\
import sys
from betafold_mlx.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    esm = [name for name in sys.modules if name.startswith("betafold_mlx.esm")]
    assert not esm, esm
    sys.exit(end.code)
"""


def test_training_on_a_whole_cache_needs_no_esm(work):
    """Interrupted half-way, with the ESM-2 gone, a run ends in the bytes of one that never stopped."""
    shutil.rmtree(work / "run")
    arguments = ["train", "set", "--embedder", "tiny", "--cache", "cache", "-o", "run", *OPTIONS]
    stop_after_step_3 = (
        "import os, signal, sys\nfrom betafold_mlx.cli.main import main\nfrom betafold_mlx.train import loop\n"
        "step = loop.Trainer._step\n"
        "def once(self, function):\n"
        "    if self.progress.step == 3: os.kill(os.getpid(), signal.SIGINT)\n"
        "    return step(self, function)\n"
        "loop.Trainer._step = once\nmain(sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", stop_after_step_3, *arguments], cwd=work, capture_output=True
    )
    assert done.returncode == 130, done.stderr
    for name in ("tiny", "other"):
        shutil.rmtree(work / name)
    resumed = [sys.executable, "-c", WITHOUT_ESM, "train", "set", "--cache", "cache", "-o", "run", "--resume"]
    done = subprocess.run(resumed, cwd=work, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    arguments[arguments.index("run")] = "whole"
    convert(read_checkpoint(TINY), work / "tiny", "owner/tiny")
    assert run(*arguments, cwd=work)[0] == 0
    for name in ("last", "best"):
        assert contents(work / "run" / name) == contents(work / "whole" / name)


def test_a_run_goes_on_with_its_own_embedder_and_cache_alone(work):
    resume = ("train", "set", "-o", "run", "--resume")
    for arguments, message in (
        (("--cache", "cache", "--embedder", "other"), "other holds owner/other (1x24"),
        (("--cache", "cache", "--embedder", "residue"), "run reads owner/tiny (2x24"),
        ((), "name it with --cache"),
        (("--cache", "nowhere"), "there is no cache of embeddings at nowhere"),
    ):
        code, _, err = run(*resume, *arguments, cwd=work)
        assert code == 1 and message in error_line(err)
    run("embed", "set", "--embedder", "other", "-o", "others", "--windows", "50", cwd=work)
    code, _, err = run(*resume, "--cache", "others", cwd=work)
    assert code == 1 and "was made by owner/other" in error_line(err)
    run("embed", "set", "--embedder", "tiny", "-o", "fewer", "--windows", "50", cwd=work)
    code, _, err = run(*resume, "--cache", "fewer", cwd=work)
    assert code == 1 and "with windows 50, not 3000" in error_line(err)
    assert not (work / "nowhere").exists()
    code, _, _ = run(*resume, "--cache", "cache", "--embedder", "tiny", cwd=work)
    assert code == 0
    (work / "cache" / "shard-00000.safetensors").unlink()
    shutil.move(work / "tiny", work.parent / "tiny")
    code, _, err = run(*resume, "--cache", "cache", cwd=work)
    assert code == 1 and "reads owner/tiny (2x24" in error_line(err) and "--embedder" in err
    code, _, _ = run(*resume, "--cache", "cache", "--embedder", "../tiny", cwd=work)
    assert code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--cache", "cache"], 2, "--cache goes with --embedder"),
        (["--embedder", "nowhere"], 2, "give 'residue' or a converted ESM-2 directory"),
        (["--embedder", "set"], 1, "make one with convert-esm"),
        (["--embedder", "other", "--cache", "cache"], 1, "was made by owner/tiny"),
        (["--embedder", "tiny", "--cache", "cache", "--windows", "99"], 1, "with windows 3000, not 99"),
        (["--windows", "20"], 2, "windows"),
        (["--embedder", "tiny", "--cache", "cache", "--heads", "7"], 1, "multiple"),
    ],
)
def test_wrong_usage_of_train(folder, tmp_path, arguments, code, message):
    got, out, err = run("train", "set", "-o", tmp_path / "run", *arguments, cwd=folder)
    assert (got, out) == (code, "") and message in error_line(err)
    assert not (tmp_path / "run").exists()


def test_a_run_folder_in_use_is_refused_before_the_embedding(work):
    code, _, err = run("train", "set", "-o", "run", "--embedder", "tiny", cwd=work)
    assert code == 1 and "--resume" in error_line(err)
    assert not list(work.glob("set.esm2-*"))


def test_the_control_trains_on_the_same_windows(work):
    """What the features add is told from what the fixed windows take away."""
    code, _, err = run("train", "set", "-o", "control", "--windows", WINDOWS, *OPTIONS, cwd=work)
    assert code == 0, err
    settings = json.loads((work / "control" / "run.json").read_text())["settings"]
    assert settings["sampler"]["windows"] == WINDOWS and settings["network"]["embedder"]["kind"] == "residue"
    assert run("train", "set", "-o", "control", "--resume", "--cache", "cache", cwd=work)[0] == 2


def test_the_cache_trains_like_the_embedder_itself(folder, tmp_path):
    """The same batches with ESM-2 in the loop: equal losses, but for rounding in other company."""
    data, esm = Dataset.load(folder / "set"), EsmEmbedder.load(folder / "tiny")
    known, sha256 = esm.esm.embedder_config(), dataset_sha256(folder / "set")
    cache = fill_by_esm(folder / "cache", data, sha256, known, lambda: folder / "tiny").cache
    config = TrainConfig(
        network=ModelConfig(width=32, layers=1, heads=4, ffn_width=64, embedder=esm.esm.embedder_config()),
        sampler=SamplerConfig(tokens=192, windows=cache.index.windows, windows_seed=cache.index.seed),
        steps=8,
        warmup=2,
        learning_rate=3e-3,
    )
    losses = {}
    for name, featurizer in (("cache", cache), ("esm", esm)):
        figures = []
        (tmp_path / name).mkdir()
        trainer = Trainer(tmp_path / name, data, config, "d" * 64, featurizer)
        assert trainer.run(figures.append)
        losses[name] = [each["loss"] for each in figures if "loss" in each]
    assert len(set(losses["esm"])) == 8
    np.testing.assert_allclose(losses["cache"], losses["esm"], rtol=1e-2)


# fold and evaluate


def test_fold(folder, tmp_path):
    model = ("--model", folder / "run" / "best")
    code, out, err = run("fold", MAGAININ, *model, "--json", cwd=tmp_path)
    assert code == 1 and out == "" and "--embedder" in error_line(err)
    code, out, err = run("fold", MAGAININ, *model, "--embedder", folder / "other", cwd=tmp_path)
    assert code == 1 and out == "" and "owner/other" in error_line(err) and list(tmp_path.iterdir()) == []
    code, out, err = run("fold", MAGAININ, *model, "--embedder", folder / "tiny", "--json", cwd=tmp_path)
    (result,) = json.loads(out)["results"]
    assert code == 0 and error_line(err) == f"betafold-mlx: folding with best on {LABEL}"
    assert result["embedder"]["label"] == LABEL and result["embedder"]["published"] is False
    shutil.copytree(folder / "tiny", tmp_path / "weights" / "esm2")
    (tmp_path / "in.fasta").write_text(f">a\n{MAGAININ}\n>b\nACDEFGHIKL\n")
    code, _, _ = run_process("fold", "in.fasta", *model, "-o", "out", cwd=tmp_path)
    rows = (tmp_path / "out" / "summary.csv").read_text().splitlines()
    assert code == 0 and rows[0].endswith(",model") and all(LABEL in row for row in rows[1:])
    document = json.loads((tmp_path / "out" / "a.json").read_text())
    assert document["plddt"] == pytest.approx(result["plddt"], abs=0.2)


def test_evaluate(folder):
    model = ("set", "--model", "run/best", "--embedder", "tiny", "--limit", "3")
    code, out, err = run("evaluate", *model, "--beside", "betafold-mini", "--json", cwd=folder)
    report = json.loads(out)
    assert code == 0, err
    assert list(report["methods"])[:7] == [
        *("model", "best_of_5", "mean_of_5", "model_not_told"),
        *("no_templates", "distant_templates", "other_model"),
    ]
    assert LABEL in report["methods"]["model"] and "betafold-mini" in report["methods"]["other_model"]
    assert report["model"]["embedder"]["label"] == LABEL
    assert report["beside"]["name"] == "betafold-mini" and report["beside"]["embedder"]["kind"] == "residue"
    assert any("betafold-mini was trained on other data" in note for note in report["notes"])
    group = report["groups"][0]
    assert (
        group["figures"]["model"] != group["figures"]["other_model"] and "other_model" in group["comparisons"]
    )
    code, out, _ = run("evaluate", *model, cwd=folder)
    assert code == 0 and LABEL in out and "other model" not in out
