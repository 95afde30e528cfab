"""Libraries in processes of their own: killed at random, interrupted, and two at once."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlx.core as mx
import pytest
from library_helpers import contents
from toy_models import toy_model

from betafold_mlx.library.journal import STATE_FILE
from betafold_mlx.model.directory import save_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    mx.random.seed(0)
    path = tmp_path_factory.mktemp("models") / "toy"
    save_model(path, toy_model(), "card", {})
    return path


def wait_for(condition, process, seconds=60):
    end = time.monotonic() + seconds
    while not condition() and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.002)


PROGRAM = """
import sys
from pathlib import Path
from library_helpers import Quick, fasta, fold
fold(Quick(), fasta(480), Path(sys.argv[1]), output=sys.argv[2])
"""


@pytest.mark.parametrize("output", ["files", "jsonl", "parquet"])
def test_a_run_that_is_killed_again_and_again_ends_in_the_same_bytes(tmp_path, output):
    if output == "parquet":
        pytest.importorskip("pyarrow")

    def start(folder):
        command = [sys.executable, "-c", PROGRAM, str(tmp_path / folder), output]
        return subprocess.Popen(command, cwd=Path(__file__).parents[1])

    rng = random.Random(output)
    state = tmp_path / "out" / STATE_FILE
    whole = start("whole")
    done = []
    for _ in range(3):
        before = state.read_bytes() if state.exists() else b""
        with start("out") as process:
            wait_for(lambda: state.exists() and state.read_bytes() != before, process)  # noqa: B023 - used at once
            time.sleep(rng.uniform(0, 0.05))
            process.kill()
        done.append(json.loads(state.read_text())["done"]["records"] if state.exists() else 480)
    assert 0 < done[0] < 480 and done == sorted(done)  # else the library is too short to be killed in
    with start("out") as process:
        assert process.wait(timeout=60) == whole.wait(timeout=60) == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_an_interrupt_is_one_line_and_keeps_what_is_done(model, tmp_path):
    def start(*options):
        command = [sys.executable, "-m", "betafold_mlx", "fold", "-", "-o", "out", "--model", model, *options]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        return subprocess.Popen(command, cwd=tmp_path, text=True, **pipes)

    out = tmp_path / "out"
    process = start("--batch-size", "2")
    process.stdin.write("".join(f">p{k}\nGIGKFLHSAKKF\n" for k in range(9)))
    process.stdin.flush()  # a whole window and the head of another, then silence
    wait_for((out / STATE_FILE).exists, process)
    second = start()
    _, said = second.communicate(">x\nGIGKFLHSAKKF\n", timeout=60)
    assert second.returncode == 1
    assert said == "betafold-mlx: another fold writes into out: wait for it, or choose another folder (-o)\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.split("\n") == ["", "betafold-mlx: interrupted", ""]  # first leave the ^C line
    assert len((out / "summary.csv").read_text().splitlines()) == 9
    assert len(list(out.glob("*.cif"))) == len(list(out.glob("*.json"))) - 1 == 8  # and the state
