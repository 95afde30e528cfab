"""``train-generator``: progress, interrupts, resuming, wrong usage."""

import functools
import json
import signal
import subprocess
import sys
import time
from dataclasses import replace

import cli_helpers
import pytest
from synthetic import make_dataset

from betafold_mlx.generate.generator_config import SamplingConfig
from betafold_mlx.generate.network import load_generator
from betafold_mlx.generate.sampler import SampleSpec, sample_traces

OPTIONS = [
    *("--steps", "8", "--evaluate-every", "4", "--warmup", "2", "--tokens", "96"),
    *("--layers", "1", "--decoder-layers", "1", "--width", "32", "--heads", "4", "--ffn-width", "64"),
]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "set"
    make_dataset(held_out=1).save(path)
    return path


run = functools.partial(cli_helpers.run, "train-generator")


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
    model = load_generator(tmp_path / "run" / "best").model
    assert model.config.scales == 2
    assert sample_traces(model, [SampleSpec(11, 0)], 0, SamplingConfig(4, 2))[0].shape == (11, 3)
    code, _, err = run(dataset, "-o", tmp_path / "run", *OPTIONS)
    assert code == 1 and "--resume" in err and len(err.splitlines()) == 1


@pytest.mark.slow
def test_ctrl_c_saves_and_resume_ends_in_the_same_weights(tmp_path, dataset):
    options = [*OPTIONS, "--steps", "24", "--evaluate-every", "12"]
    assert run(dataset, "-o", tmp_path / "whole", *options)[0] == 0
    command = [sys.executable, "-m", "betafold_mlx", "train-generator", dataset, "-o", tmp_path / "parts"]
    with subprocess.Popen([*map(str, command), *options], stderr=subprocess.PIPE, text=True) as process:
        metrics = tmp_path / "parts" / "metrics.jsonl"
        deadline = time.monotonic() + 60
        while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "--resume" in err and "Traceback" not in err
    code, _, err = run(dataset, "-o", tmp_path / "parts", "--resume")
    assert code == 0, err
    for name in (
        *("last/model.safetensors", "last/optimizer.safetensors"),
        *("best/model.safetensors", "metrics.jsonl"),
    ):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes(), name


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--heads", "7"], 1, "multiple of 7 heads"),
        (["--steps", "0"], 2, "steps"),
        (["--scales", "4"], 2, "scales"),
        (["--resume"], 1, "no run to resume"),
        (["--resume", "--no-noisy-context"], 2, "--resume takes the run's own settings"),
    ],
)
def test_wrong_usage(tmp_path, dataset, arguments, code, message):
    found, _, err = run(dataset, "-o", tmp_path / "run", *arguments)
    assert found == code and message in err and len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_trained_on_leaves_no_run(tmp_path):
    whole = make_dataset(held_out=1)
    records = [replace(r, split="test") if r.split == "validation" else r for r in whole.records]
    fragments = [replace(part, split=records[part.record].split) for part in whole.fragments]
    replace(whole, records=records, fragments=fragments).save(tmp_path / "set")
    code, _, err = run(tmp_path / "set", "-o", tmp_path / "run", *OPTIONS)
    assert code == 1 and "no validation" in err and len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()
