"""Processes of this machine that share a library: equal bytes, and an end of all with a reason."""

import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlx.core as mx
import pytest
from library_helpers import Quick, contents, fasta
from toy_models import toy_model

import betafold_mlx
from betafold_mlx import Predictor
from betafold_mlx.cli.main import main
from betafold_mlx.distributed.control import RankLostError
from betafold_mlx.errors import BetafoldError
from betafold_mlx.library import processes
from betafold_mlx.library.journal import STATE_FILE
from betafold_mlx.library.pipe import Pipe
from betafold_mlx.library.processes import Processes, automatic_processes
from betafold_mlx.library.run import fold_library
from betafold_mlx.library.settings import Settings
from betafold_mlx.library.writer import Observer
from betafold_mlx.model.directory import save_model
from betafold_mlx.peptide.fasta import parse_fasta

COUNT = 24
SETTINGS = Settings(batch_size=2)  # windows of 8


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    mx.random.seed(0)
    path = tmp_path_factory.mktemp("models") / "toy"
    save_model(path, toy_model(), "card", {})
    return path


def fold(model, directory, size, count=COUNT, settings=SETTINGS, watch=None):
    predictor = Predictor.load(model)
    with Processes(predictor, settings, size) as ranks:
        fold_library(
            predictor, parse_fasta(fasta(count).splitlines()), directory, settings, watch or Observer(), ranks
        )
        return ranks


def pids(ranks):
    return [helper._process.pid for helper in ranks._helpers.values()]


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_three_processes_write_what_one_writes(model, tmp_path):
    alone = fold(model, tmp_path / "alone", 1)
    shared = fold(model, tmp_path / "shared", 3)
    assert not alone.started and shared.started and 1 <= len(pids(shared)) <= 2
    assert contents(tmp_path / "shared") == contents(tmp_path / "alone")
    assert all(map(gone, pids(shared)))


def test_a_library_of_one_window_starts_no_process(model, tmp_path):
    assert not fold(model, tmp_path, 3, count=8).started


def test_the_helpers_do_a_part(model, tmp_path, monkeypatch):
    """The main process does its first window, and waits there until a helper has done one."""
    ranks = Processes(predictor := Predictor.load(model), SETTINGS, 2)
    answers, own = [], []
    receive = Processes.receive
    monkeypatch.setattr(Processes, "receive", lambda *a: answers.append(receive(*a)) or answers[-1])

    class Slow:
        loaded, embedder = predictor.loaded, None
        describe_embedder = predictor.describe_embedder

        def fold_many(self, peptides, **options):
            own.append(len(peptides))
            end = time.monotonic() + 60
            while not answers and time.monotonic() < end:
                time.sleep(0.01)
            return predictor.fold_many(peptides, **options)

    with ranks:
        done = fold_library(
            Slow(), parse_fasta(fasta(24).splitlines()), tmp_path, SETTINGS, Observer(), ranks
        )
    assert done.records == 24 and answers and len(own) + len(answers) == 3


def test_a_helper_that_is_killed_ends_the_run_which_goes_on_afterwards(model, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "out"
    fold(model, whole, 1, count=32)
    predictor = Predictor.load(model)
    ranks = Processes(predictor, SETTINGS, 2)

    class Killer(Observer):
        def outcomes(self, outcomes):
            for helper in ranks._helpers.values():
                helper._process.kill()

    with (
        pytest.raises(RankLostError, match=r"killed by signal 9\) \(\d+ records are done: the same command"),
        ranks,
    ):
        fold_library(predictor, parse_fasta(fasta(32).splitlines()), out, SETTINGS, Killer(), ranks)
    done = json.loads((out / STATE_FILE).read_text())["done"]["records"]
    assert 0 < done < 32 and all(map(gone, pids(ranks)))
    fold(model, out, 1, count=32)
    assert contents(out) == contents(whole)


def test_a_model_that_is_exchanged_meanwhile_is_noticed(model, tmp_path, monkeypatch):
    predictor = Predictor.load(model)
    other = tmp_path / "other"
    mx.random.seed(1)
    save_model(other, toy_model(), "card", {})
    monkeypatch.setattr(predictor, "loaded", dataclasses.replace(predictor.loaded, path=other))
    records = parse_fasta(fasta(COUNT).splitlines())
    with (
        pytest.raises(BetafoldError, match="was exchanged while a library is folded"),
        Processes(predictor, SETTINGS, 2) as ranks,
    ):
        fold_library(predictor, records, tmp_path / "out", SETTINGS, Observer(), ranks)


def test_an_error_of_the_main_process_ends_the_others(model, tmp_path):
    class Broken(Observer):
        def outcomes(self, outcomes):
            raise BetafoldError("standard output is closed")

    predictor = Predictor.load(model)
    ranks = Processes(predictor, SETTINGS, 3)
    with pytest.raises(BetafoldError, match="standard output is closed"), ranks:
        fold_library(predictor, parse_fasta(fasta(40).splitlines()), tmp_path, SETTINGS, Broken(), ranks)
    assert all(map(gone, pids(ranks)))


def test_a_killed_main_process_leaves_no_helper_behind(model, tmp_path):
    (tmp_path / "in.fasta").write_text(fasta(2000))
    options = ["--processes", "2", "--batch-size", "2", "--model", str(model)]
    command = [sys.executable, "-m", "betafold_mlx", "fold", "in.fasta", "-o", "out", *options]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        tasks = Path(f"/proc/{process.pid}/task")
        if not (tasks / str(process.pid) / "children").exists():
            process.kill()
            pytest.skip("needs Linux's list of child processes")
        end = time.monotonic() + 60
        found = ""
        while not found and time.monotonic() < end:
            time.sleep(0.02)
            found = "".join(file.read_text() for file in tasks.glob("*/children"))
        process.kill()
    helpers = [int(pid) for pid in found.split()]
    assert helpers
    end = time.monotonic() + 60
    while not all(map(gone, helpers)):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_an_interrupt_is_one_line_with_helpers_too(model, tmp_path):
    (tmp_path / "in.fasta").write_text(fasta(4000))
    options = ["--processes", "2", "--batch-size", "2", "--model", str(model)]
    command = [sys.executable, "-m", "betafold_mlx", "fold", "in.fasta", "-o", "out", *options]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    state = tmp_path / "out" / STATE_FILE
    end = time.monotonic() + 60
    while not state.exists() and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(1.0)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    told = [line for line in said.split("\n") if not line.startswith(("betafold-mlx: p", "betafold-mlx: P"))]
    assert "Traceback" not in said and "betafold-mlx: interrupted" in told
    assert json.loads(state.read_text())["done"]["records"] > 0


def test_processes_are_one_a_processor_and_bounded(monkeypatch):
    monkeypatch.setattr(betafold_mlx, "OPENBLAS", True)
    for threads, expected in ((1, 1), (2, 2), (8, 8), (64, processes.MOST_PROCESSES)):
        monkeypatch.setattr(processes, "blas_threads", lambda threads=threads: threads)
        assert automatic_processes() == expected


def test_the_command_takes_a_number_of_processes(model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("in.fasta").write_text(fasta(20))

    def run(folder, size):
        with pytest.raises(SystemExit) as ended:
            main(
                [
                    "fold",
                    "in.fasta",
                    "-o",
                    folder,
                    "--model",
                    str(model),
                    "--batch-size",
                    "2",
                    "--processes",
                    size,
                ]
            )
        return ended.value.code, *capsys.readouterr()

    one, two = run("out", "1"), run("out", "2")  # records that are wrong: exit code 1
    assert one == two and one[0] == 1
    code, _, err = run("no", "0")
    assert code == 2 and "neither auto nor a number from 1 to 64" in err and not Path("no").exists()


def test_a_stand_in_for_the_predictor_is_asked_for_no_model(tmp_path):
    """Nothing of the model is touched before a process starts."""
    with Processes(Quick(), SETTINGS, 1) as ranks:
        fold_library(Quick(), parse_fasta(fasta(20).splitlines()), tmp_path, SETTINGS, Observer(), ranks)
    assert not ranks.started


# The pipe


def test_messages_arrive_whole_and_errors_as_errors():
    stream = io.BytesIO()
    pipe = Pipe(stream, stream)
    for message in (b"", b"abc", bytes(100_000)):
        pipe.send(message)
    pipe.send(b"it broke", failed=True)
    stream.seek(0)
    assert [pipe.receive() for _ in range(3)] == [b"", b"abc", bytes(100_000)]
    with pytest.raises(BetafoldError, match=r"^it broke$"):
        pipe.receive()
    with pytest.raises(EOFError):
        pipe.receive()


def test_half_a_message_is_none():
    stream = io.BytesIO()
    Pipe(stream, stream).send(b"abcdef")
    cut = io.BytesIO(stream.getvalue()[:-1])
    with pytest.raises(EOFError):
        Pipe(cut, cut).receive()
