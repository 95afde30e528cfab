"""`betafold-mlx train` as a process: progress, interrupts, resuming, wrong usage."""

import json
import signal
import subprocess
import time
from dataclasses import replace

import pytest
from cli_helpers import command, run, run_process
from synthetic import make_dataset
from train_helpers import OPTIONS


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "set"
    make_dataset(held_out=1).save(path)
    return path


def test_train_then_fold(tmp_path, dataset):
    code, out, err = run_process("train", dataset, "-o", tmp_path / "run", *OPTIONS)
    assert code == 0, err
    assert "validation RMSD" in out and "step 12:" in err
    code, out, _ = run("fold", "GIGKFLHSAKKF", "--model", tmp_path / "run" / "best", "--json", cwd=tmp_path)
    assert code == 0 and json.loads(out)["results"][0]["model"]["name"] == "best"
    code, _, err = run("train", dataset, "-o", tmp_path / "run", *OPTIONS)
    assert code == 1 and "--resume" in err and len(err.splitlines()) == 1


@pytest.mark.slow
def test_ctrl_c_saves_and_resume_ends_in_the_same_weights(tmp_path, dataset):
    options = [*OPTIONS, "--steps", "30", "--evaluate-every", "15"]
    assert run("train", dataset, "-o", tmp_path / "whole", *options)[0] == 0
    with subprocess.Popen(
        command("train", dataset, "-o", tmp_path / "parts", *options), stderr=subprocess.PIPE, text=True
    ) as process:
        metrics = tmp_path / "parts" / "metrics.jsonl"
        deadline = time.monotonic() + 60
        while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "continue with --resume" in err and "Traceback" not in err
    stopped = json.loads((tmp_path / "parts" / "last" / "progress.json").read_text())
    assert 0 < stopped["step"] < 30
    code, _, err = run("train", dataset, "-o", tmp_path / "parts", "--resume")
    assert code == 0, err
    for name in (
        "last/model.safetensors",
        "last/optimizer.safetensors",
        "best/model.safetensors",
        "metrics.jsonl",
    ):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes(), name


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--heads", "7"], 1, "multiple"),
        (["--steps", "0"], 2, "steps"),
        (["--loss-weight", "drmsd=nan"], 2, "NAME=WEIGHT"),
        (["--loss-weight", "magic=1"], 2, "torsion, ramachandran, distogram"),
        (["--resume"], 1, "no run to resume"),
        (["--resume", "--steps", "5"], 2, "--resume takes the run's own settings"),
        (["--embedder", "nowhere"], 2, "embedder"),
    ],
)
def test_wrong_usage(tmp_path, dataset, arguments, code, message):
    got, _, err = run("train", dataset, "-o", tmp_path / "run", *arguments)
    assert got == code and message in err and len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_what_is_no_data_set(tmp_path):
    code, _, err = run("train", tmp_path / "nowhere", "-o", tmp_path / "run")
    assert code == 2 and len(err.splitlines()) == 1
    code, _, err = run("train", tmp_path, "-o", tmp_path / "run")
    assert code == 1 and "no data set at" in err and len(err.splitlines()) == 1


@pytest.mark.parametrize("missing", ["train", "validation"])
def test_what_cannot_be_trained_on_leaves_no_run(tmp_path, missing):
    whole = make_dataset(chains=2, peptides=1)
    records = [
        replace(record, split="test") if record.split == missing else record for record in whole.records
    ]
    fragments = [replace(part, split=records[part.record].split) for part in whole.fragments]
    replace(whole, records=records, fragments=fragments).save(tmp_path / "set")
    code, _, err = run("train", tmp_path / "set", "-o", tmp_path / "run", *OPTIONS)
    assert code == 1 and missing[:5] in err and len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_one_run_folder_has_one_process(tmp_path, dataset):
    folder = tmp_path / "run"
    with subprocess.Popen(
        command("train", dataset, "-o", folder, *OPTIONS, "--steps", "5000"), stderr=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 60
        while not (folder / "last").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        code, _, err = run("train", dataset, "-o", folder, "--resume")
        process.kill()
    assert code == 1 and "another process is training in" in err
    steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()[:-1]]
    assert steps == sorted(steps) and len(steps) >= 6
