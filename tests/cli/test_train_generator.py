"""`betafold-mlx train-generator` as a process: progress, interrupts, resuming, wrong usage."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from synthetic import make_dataset

from betafold_mlx.generate.network import load_generator
from betafold_mlx.generate.sampler import SampleSpec, sample_traces
from betafold_mlx.generate.settings import SamplingConfig

OPTIONS = [
    *("--steps", "8", "--evaluate-every", "4", "--warmup", "2", "--tokens", "96"),
    *("--layers", "1", "--decoder-layers", "1", "--width", "32", "--heads", "4", "--ffn-width", "64"),
]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "set"
    make_dataset(held_out=1).save(path)
    return path


def command(*arguments):
    return [sys.executable, "-m", "betafold_mlx", "train-generator", *map(str, arguments)]


def run(*arguments):
    done = subprocess.run(command(*arguments), capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def test_train_then_sample(tmp_path, dataset):
    switches = ["--scales", "2", "--no-noisy-context", "--no-scheduled-sampling", "--no-local-distances"]
    switches.append("--no-further-draws")
    code, out, err = run(dataset, "-o", tmp_path / "run", *OPTIONS, *switches)
    assert code == 0, err
    assert "validation loss" in out and "step 8:" in err and "scale_2" in err and "scale_3" not in err
    settings = json.loads((tmp_path / "run" / "run.json").read_text())["settings"]
    assert settings["flow"] == {
        "noisy_context": False, "scheduled_sampling": False, "self_conditioning": True,
        "local_distances": False, "further_draws": False,
    }  # fmt: skip
    loaded = load_generator(tmp_path / "run" / "best")
    assert loaded.config.scales == 2
    assert sample_traces(loaded.model, [SampleSpec(11, 0)], 0, SamplingConfig(4, 2))[0].shape == (11, 3)
    code, _, err = run(dataset, "-o", tmp_path / "run", *OPTIONS)
    assert code == 1 and "--resume" in err and len(err.splitlines()) == 1


def test_ctrl_c_saves_and_resume_ends_in_the_same_weights(tmp_path, dataset):
    options = [*OPTIONS, "--steps", "24", "--evaluate-every", "12"]
    assert run(dataset, "-o", tmp_path / "whole", *options)[0] == 0
    with subprocess.Popen(
        command(dataset, "-o", tmp_path / "parts", *options), stderr=subprocess.PIPE, text=True
    ) as process:
        metrics = tmp_path / "parts" / "metrics.jsonl"
        deadline = time.monotonic() + 60
        while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "go on with --resume" in err and "Traceback" not in err
    code, _, err = run(dataset, "-o", tmp_path / "parts", "--resume")
    assert code == 0, err
    for name in (
        "last/model.safetensors",
        "last/optimizer.safetensors",
        "best/model.safetensors",
        "metrics.jsonl",
    ):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes(), name


def test_killed_and_resumed(tmp_path, dataset):
    options = [*OPTIONS, "--steps", "16", "--evaluate-every", "4"]
    assert run(dataset, "-o", tmp_path / "whole", *options)[0] == 0
    with subprocess.Popen(
        command(dataset, "-o", tmp_path / "parts", *options), stderr=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "parts" / "last").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
    assert run(dataset, "-o", tmp_path / "parts", "--resume")[0] == 0
    for name in ("last/model.safetensors", "best/model.safetensors", "metrics.jsonl"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes(), name


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--heads", "7"], 1, "multiple of 7 heads"),
        (["--steps", "0"], 2, "steps"),
        (["--scales", "4"], 2, "scales"),
        (["--learning-rate", "nan"], 1, "learning_rate must be a number above 0"),
        (["--block-learning-rate", "inf"], 1, "block_learning_rate must be a number from 0"),
        (["--resume"], 1, "no run to resume"),
        (["--resume", "--no-noisy-context"], 2, "--resume takes the run's own settings"),
    ],
)
def test_wrong_usage(tmp_path, dataset, arguments, code, message):
    got, _, err = run(dataset, "-o", tmp_path / "run", *arguments)
    assert got == code and message in err and len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_trained_on_leaves_no_run(tmp_path):
    whole = make_dataset(held_out=1)
    records = [replace(r, split="test") if r.split == "validation" else r for r in whole.records]
    fragments = [replace(part, split=records[part.record].split) for part in whole.fragments]
    replace(whole, records=records, fragments=fragments).save(tmp_path / "set")
    code, _, err = run(tmp_path / "set", "-o", tmp_path / "run", *OPTIONS)
    assert code == 1 and "no validation" in err and len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_one_run_folder_has_one_process(tmp_path, dataset):
    folder = tmp_path / "run"
    with subprocess.Popen(
        command(dataset, "-o", folder, *OPTIONS, "--steps", "5000"), stderr=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 60
        while not (folder / "last").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        code, _, err = run(dataset, "-o", folder, "--resume")
        process.kill()
    assert code == 1 and "another process is training in" in err
