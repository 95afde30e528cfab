"""Two ranks train as one does, and stop as one does, whatever becomes of the other."""

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from rank_helpers import ended, free_addresses, run_ranks, start_ranks
from synthetic import make_dataset
from train_helpers import TINY

from betafold_mlx.data.sampling import SamplerConfig
from betafold_mlx.data.store import dataset_sha256
from betafold_mlx.errors import BetafoldError
from betafold_mlx.model.inputs import PADDED_LENGTHS
from betafold_mlx.train.checkpoint import start_run
from betafold_mlx.train.loop import Trainer
from betafold_mlx.train.ranks import Ranks

# 2, 3, 4 or 7 examples a step; two ranks cannot share 3 or 7 evenly; with dropout.
CONFIG = dataclasses.replace(TINY, sampler=SamplerConfig(tokens=112), steps=20, evaluate_every=5, patience=20)


@pytest.fixture(scope="module")
def dataset():
    return make_dataset(held_out=1)


@pytest.fixture(scope="module")
def place(tmp_path_factory, dataset):
    path = tmp_path_factory.mktemp("ranks")
    dataset.save(path / "set")
    return path


@pytest.fixture(scope="module")
def alone(place, dataset):
    """The folder of the run of one process."""
    assert CONFIG.network.dropout > 0
    sha256 = begin(place / "alone", place)
    assert Trainer(place / "alone", dataset, CONFIG, sha256, resume=True).run()
    return place / "alone"


@pytest.fixture(scope="module")
def both(place):
    """The folder of the run of two ranks, and what they said."""
    begin(place / "both", place)
    return place / "both", run_ranks(place, *(command(place / "both", place),) * 2)


def begin(run, place):
    """Make the folder of a run that no confidence is fitted for: that takes longer than the rest."""
    sha256 = dataset_sha256(place / "set")
    start_run(run, CONFIG, sha256)
    return sha256


def command(run, place):
    return ["-m", "betafold_mlx", "train", place / "set", "-o", run, "--resume"]


def interrupted(run, place, act):
    """Start two ranks, do something to them after their first checkpoint; return what became of them."""
    sha256 = begin(run, place)
    processes = start_ranks(place, *(command(run, place),) * 2)
    end = time.monotonic() + 300
    while not (run / "last").exists() and time.monotonic() < end and processes[0].poll() is None:
        time.sleep(0.005)
    act(*processes)
    return sha256, ended(processes)


def weights(run, name="last/model.safetensors"):
    return {key: np.array(value.astype(mx.float32)) for key, value in mx.load(str(run / name)).items()}


def metrics(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def assert_alike(run, other):
    """Check that two runs took the same steps, but for rounding."""
    for a, b in zip(metrics(run), metrics(other), strict=True):
        assert (a["step"], "loss" in a) == (b["step"], "loss" in b)
        if "loss" in a:
            names = [name for name in a if name != "step"]
            # A residue at the edge of two bins of confidence moves that loss: by 0.4 % with one BLAS kernel.
            assert np.allclose([a[name] for name in names], [b[name] for name in names], rtol=1e-2, atol=1e-4)
        else:
            assert a["validation"]["score"] == pytest.approx(b["validation"]["score"], rel=5e-3)
    found, expected = weights(run), weights(other)
    for name in found.keys() - {key for key in found if key.endswith("attention.key.bias")}:
        # The bias of the keys changes nothing, so its gradient is rounding error alone, and Adam makes steps of it.
        # So it is with a few weights that hardly any example uses.
        apart = np.abs(found[name] - expected[name])
        if name.startswith("confidence_head"):  # it learns bins, and a residue may be at the edge of two
            assert np.median(apart) < 2e-3 and apart.max() < 0.1, name
        else:
            assert np.median(apart) < 3e-4 and (apart > 2e-3).mean() < 1e-2 and apart.max() < 0.02, name


def test_two_ranks_take_the_steps_of_one(both, alone):
    run, ((code, out, err), (other_code, other_out, other_err)) = both
    assert (code, other_code) == (0, 0), (err, other_err)
    assert out.startswith(f"{run / 'best'}: validation RMSD ") and "step 20:" in err
    assert (other_out, other_err) == ("", "")  # the other rank keeps silent
    assert_alike(run, alone)
    assert sorted(path.name for path in run.iterdir()) == sorted(path.name for path in alone.iterdir())
    start = Trainer(run, make_dataset(held_out=1), CONFIG, dataset_sha256(run.parent / "set")).model
    moved = np.array(start.torsion_head.linear.weight) - weights(run)["torsion_head.linear.weight"]
    assert np.abs(moved).max() > 1e-2  # far more than what may differ


def test_an_interrupt_of_one_rank_stops_both_and_one_goes_on(tmp_path, place, alone, dataset):
    run = tmp_path / "run"
    sha256, results = interrupted(run, place, lambda first, second: second.send_signal(signal.SIGINT))
    (code, _, err), (other_code, _, other_err) = results
    assert (code, other_code, other_err) == (130, 130, ""), results
    stopped = json.loads((run / "last" / "progress.json").read_text())["step"]
    assert 5 <= stopped < 20 and f"stopped at step {stopped} of 20: continue with --resume" in err
    assert Trainer(run, dataset, CONFIG, sha256, resume=True).run()
    assert_alike(run, alone)


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_a_killed_rank_ends_the_run_which_goes_on_to_the_same_bytes(tmp_path, place, both, lost):
    run = tmp_path / "run"
    _, results = interrupted(run, place, lambda *ranks: ranks[lost].kill())
    (code, _, err), killed = results[1 - lost], results[lost]
    assert (code, killed[0]) == (1, -signal.SIGKILL)
    assert (
        "connection to a peer was lost: continue with --resume, with any number of ranks"
        in err.splitlines()[-1]
    )
    results = run_ranks(place, *(command(run, place),) * 2)
    assert [code for code, _, _ in results] == [0, 0], results
    files = ("last/model", "last/optimizer", "best/model")
    for name in (*(f"{file}.safetensors" for file in files), "metrics.jsonl"):
        assert (run / name).read_bytes() == (both[0] / name).read_bytes(), name


def test_ranks_must_have_the_same_data_and_leave_no_run_behind(tmp_path, place):
    make_dataset(seed=1).save(tmp_path / "other")
    commands = [
        ["-m", "betafold_mlx", "train", folder, "-o", tmp_path / "run", "--width", "32", "--heads", "4"]
        for folder in (place / "set", tmp_path / "other")
    ]
    for code, _, err in run_ranks(tmp_path, *commands):
        assert code == 1 and "the ranks do not have the same data set: give all of them that of rank 0" in err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_launcher_of_mlx_starts_two_ranks_whose_gradient_is_that_of_one(tmp_path, place, dataset):
    """The mean over two ranks with shares of 4 and 3 examples is the gradient of the 7, to float32 rounding."""
    launcher = Path(sys.executable).with_name("mlx.launch")
    port = free_addresses(1)[0].rpartition(":")[2]
    launch = [launcher, "-n", "2", "--backend", "ring", "--starting-port", port, "--", sys.executable]
    program = Path(__file__).with_name("gradient_program.py")
    for command, name in (([*launch, program], "two"), ([sys.executable, program], "one")):
        arguments = [place / "set", tmp_path / f"{name}.safetensors"]
        done = subprocess.run(
            list(map(str, [*command, *arguments])), input="", capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
    one, two = (mx.load(str(tmp_path / f"{name}.safetensors")) for name in ("one", "two"))
    assert one.keys() == two.keys()
    largest = max(float(mx.abs(array).max()) for array in one.values())
    for name, gradient in one.items():
        np.testing.assert_allclose(np.array(two[name]), np.array(gradient), rtol=1e-4, atol=2e-6 * largest)


def test_more_ranks_than_examples_are_refused(place, dataset):
    ranks = Ranks()
    ranks.size = 4
    ranks.check_same = lambda what, value: None
    with pytest.raises(BetafoldError, match=f"--tokens {4 * max(PADDED_LENGTHS)} or more"):
        Trainer(place / "never", dataset, CONFIG, "d" * 64, ranks=ranks)


def test_a_long_way_between_evaluations_is_saved_on_the_way(tmp_path, place, dataset, monkeypatch):
    from betafold_mlx.train import run as run_module

    clock = iter(range(0, 10_000, 50))  # seconds: every look at it is 50 later
    monkeypatch.setattr(
        run_module, "time", type("Clock", (), {"monotonic": staticmethod(lambda: next(clock))})
    )
    config = dataclasses.replace(CONFIG, evaluate_every=20)
    start_run(tmp_path / "run", config, "d" * 64)
    found = []

    def killed(figures):
        saved = tmp_path / "run" / "last" / "progress.json"
        found.append(json.loads(saved.read_text())["step"] if saved.exists() else 0)
        if figures["step"] == 16:
            raise SystemExit

    with pytest.raises(SystemExit):
        Trainer(tmp_path / "run", dataset, config, "d" * 64).run(killed)
    assert found == [0] * 7 + [7] * 7 + [14] * 2
    whole = shutil.copytree(tmp_path / "run", tmp_path / "again")
    assert Trainer(whole, dataset, config, "d" * 64, resume=True).run()
    steps = [line["step"] for line in metrics(whole) if "loss" in line]
    assert steps == list(range(1, 21))
