"""Libraries in worker processes: the same bytes with any number of them, and after kills and interrupts."""

import dataclasses
import os
import random
import signal
import subprocess
import sys
import time

import mlx.core as mx
import psutil
import pytest
from library_helpers import contents, fasta, fold
from synthetic import toy_model
from template_helpers import library_of

from betafold_mlx import Predictor
from betafold_mlx.errors import BetafoldError
from betafold_mlx.executors import cluster
from betafold_mlx.library import work
from betafold_mlx.library.folder import STATE_FOLDER
from betafold_mlx.library.settings import LibrarySettings
from betafold_mlx.library.work import Job, fold_part
from betafold_mlx.model.directory import save_model

TEXT = fasta(40)
FOLD = [sys.executable, "-m", "betafold_mlx", "fold"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    mx.random.seed(0)
    path = tmp_path_factory.mktemp("models") / "toy"
    save_model(path, toy_model(), "card", {})
    return path


@pytest.fixture(scope="module")
def predictor(model):
    return Predictor.load(model)


@pytest.fixture(scope="module")
def expected(predictor, tmp_path_factory):
    """Return the files of a run in this process alone."""
    folder = tmp_path_factory.mktemp("expected")
    return {
        output: contents_of(fold, predictor, TEXT, folder / output, output=output, report=report)
        for output, report in (("files", "betafold-mlx fold"), ("jsonl", None))
    }


def contents_of(function, predictor, text, folder, **options):
    function(predictor, text, folder, **options)
    return contents(folder)


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_worker_with_another_model_refuses(predictor, model, tmp_path):
    mx.random.seed(1)
    save_model(tmp_path / "toy", toy_model(), "card", {})
    job = Job.of(predictor, LibrarySettings())
    other = dataclasses.replace(job, model=tmp_path / "toy")
    with pytest.raises(BetafoldError, match="a worker has another model"):
        fold_part(other, [])


def test_a_worker_finds_the_template_library_and_refuses_another_one(model, tmp_path, monkeypatch):
    path = tmp_path / "own.safetensors"
    library_of(["ACDEFGHIKL"]).save(path)
    monkeypatch.chdir(tmp_path)
    job = Job.of(Predictor.load(model, templates="own.safetensors"), LibrarySettings())
    monkeypatch.setattr(work, "_loaded", {})  # as in another process
    monkeypatch.chdir("/")  # and another folder
    assert fold_part(job, []).records == []
    library_of(["ACDEFGHIKM"]).save(path)
    monkeypatch.setattr(work, "_loaded", {})
    with pytest.raises(BetafoldError, match=r"another .*template library"):
        fold_part(job, [])


def test_a_scheduler_that_is_not_there_is_one_line(monkeypatch):
    distributed = pytest.importorskip("distributed")

    def refused(*_, **__):
        raise OSError("Timed out trying to connect")

    monkeypatch.setattr(distributed, "Client", refused)
    with pytest.raises(BetafoldError, match="cannot reach a Dask scheduler at tcp://nowhere:1"):
        cluster("tcp://nowhere:1").__enter__()


def test_a_cluster_needs_dask(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(BetafoldError, match=r"pip install 'betafold-mlx\[cluster\]'"):
        cluster("tcp://nowhere:1").__enter__()


@pytest.mark.slow
@pytest.mark.parametrize(("output", "processes"), [("files", 2), ("jsonl", 3)])
def test_any_number_of_processes_writes_the_same_bytes(predictor, expected, tmp_path, output, processes):
    report = "betafold-mlx fold" if output == "files" else None
    fold(predictor, TEXT, tmp_path, output=output, report=report, processes=processes)
    assert contents(tmp_path) == expected[output]


@pytest.mark.slow
def test_a_killed_worker_ends_the_run_in_one_line_and_it_goes_on(predictor, expected, tmp_path):
    def kill_one(records):
        random.choice(psutil.Process().children(recursive=True)[-2:]).kill()

    options = {"output": "jsonl", "processes": 2}
    with pytest.raises(BetafoldError, match="killed or ran out of memory: run the same command to resume"):
        fold(predictor, TEXT, tmp_path, written=kill_one, **options)
    said = []
    fold(predictor, TEXT, tmp_path, resumed=said.append, **options)
    assert said and contents(tmp_path) == expected["jsonl"]


def parts_done(folder):
    return len(list((folder / STATE_FOLDER / "parts").glob("*.json")))


@pytest.mark.slow
@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_run_that_is_killed_again_and_again_ends_in_the_same_bytes(model, tmp_path, processes):
    (tmp_path / "in.fasta").write_text(fasta(200))
    options = ["--model", str(model), "--batch-size", "2", "--processes", processes]
    command = [*FOLD, "in.fasta", *options, "--output-format", "jsonl", "-o"]

    def start(folder):
        return subprocess.Popen([*command, folder], cwd=tmp_path, stdout=subprocess.DEVNULL)

    whole = start("whole")
    assert whole.wait(timeout=120) == 1  # some records are bad
    rng, out, before = random.Random(0), tmp_path / "out", 0
    for _ in range(3):
        process = start("out")
        wait_for(lambda: parts_done(out) > before or process.poll() is not None)  # noqa: B023 - used at once
        workers = psutil.Process(process.pid).children(recursive=True)
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        process.wait()
        assert parts_done(out) >= before
        before = parts_done(out)
        _, alive = psutil.wait_procs(workers, timeout=20)
        assert not alive  # workers end with their parent
    assert 0 < before < 25  # else the library is too short to be killed in
    assert start("out").wait(timeout=120) == 1
    assert contents(out) == contents(tmp_path / "whole")


@pytest.mark.slow
def test_an_interrupt_is_one_line_and_keeps_what_is_done(model, tmp_path):
    out = tmp_path / "out"

    def start(*options):
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        command = [*FOLD, "-", "-o", "out", "--model", str(model), *options]
        return subprocess.Popen(command, cwd=tmp_path, text=True, **pipes)

    process = start("--batch-size", "2", "--processes", "1")
    process.stdin.write("".join(f">p{k}\nGIGKFLHSAKKF\n" for k in range(25)))
    process.stdin.flush()  # whole parts and the head of another, then silence
    wait_for(lambda: parts_done(out) == 1)
    second = start()
    _, said = second.communicate(">x\nGIGKFLHSAKKF\n", timeout=60)
    assert second.returncode == 1
    assert said == "betafold-mlx: another fold writes into out: wait for it, or choose another folder (-o)\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.split("\n") == ["", "betafold-mlx: interrupted", ""]  # first leave the ^C line
    assert parts_done(out) >= 1


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_writes_the_same_bytes(predictor, tmp_path):
    distributed = pytest.importorskip("distributed")
    text = fasta(120)
    fold(predictor, text, tmp_path / "alone")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
    ) as local:
        killed = []

        def kill_one(records):
            if not killed:
                killed.append(local.workers[0].pid)
                os.kill(killed[0], signal.SIGKILL)

        done = fold(predictor, text, tmp_path / "out", scheduler=local.scheduler_address, written=kill_one)
    assert killed and done.records == 120
    assert contents(tmp_path / "out") == contents(tmp_path / "alone")
