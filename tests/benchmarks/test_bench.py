"""`scripts/bench` runs, compares like with like, and says what is missing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))

from _bench_measure import measure  # noqa: E402
from _bench_processes import run, write_fasta  # noqa: E402
from _bench_report import table  # noqa: E402

from betafold_mlx.peptide.fasta import parse_fasta  # noqa: E402


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Return what it prints of one section, with one of two peers missing."""
    folder = tmp_path_factory.mktemp("bench")
    (folder / "biotite").mkdir()
    (folder / "biotite/__init__.py").write_text("raise ModuleNotFoundError(name='biotite')\n")
    command = [
        sys.executable,
        str(SCRIPTS / "_bench.py"),
        "--quick",
        "--only",
        "superpose",
        "--threads",
        "1",
        "--json",
    ]
    environment = os.environ | {"PYTHONPATH": str(folder)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    return json.loads(done.stdout)


def test_a_section_with_a_missing_peer(report):
    section = report["sections"]["superpose"]
    assert list(section["left_out"]) == ["biotite"] and "not installed" in section["left_out"]["biotite"]
    (case,) = section["cases"]
    ours, theirs = case["seconds"]["betafold-mlx"], case["seconds"]["gemmi"]
    assert 0 < ours["low"] <= ours["median"] <= ours["high"] and ours["repeats"] == 2
    assert case["times_faster"]["gemmi"]["median"] == pytest.approx(theirs["median"] / ours["median"])
    assert case["times_faster"]["gemmi"]["by_cpu_time"] > 0 and "biotite" not in case["times_faster"]


def test_the_machine_is_named(report):
    machine = report["machine"]
    assert machine["threads"] == 1 and machine["usable_processors"] >= 1 and machine["blas"]
    assert {"betafold-mlx", "mlx", "python", "gemmi", "numpy"} <= set(machine["versions"])


def test_the_table(report):
    goal = {"median": 3.0, "low": 2.0, "high": 4.0, "repeats": 2, "by_cpu_time": 2.5, "goal": 2.0}
    report["sections"]["superpose"]["cases"][0]["times_faster"]["gemmi"] = goal
    text = table(report)
    assert "3.00 x ours (2.00 to 4.00; by processor time 2.50), goal 2: met" in text
    goal["goal"] = 3.5
    assert "goal 3.5: MISSED" in table(report)
    assert "left out: biotite (biotite is not installed" in text and report["machine"]["blas"] in text


def test_a_call_is_repeated():
    calls = []
    times = measure(lambda: calls.append(sum(range(10_000))), quick=True)
    assert len(calls) == 3 and len(times) == 2  # the first is not counted
    assert all(time.wall > 0 and time.cpu >= 0 for time in times)


def test_a_process_is_accounted_for():
    code = "import time; block = bytearray(200_000_000); block[::4096] = b'x' * len(block[::4096]); time.sleep(0.1)"
    large = run([sys.executable, "-c", code], dict(os.environ))
    small = run([sys.executable, "-c", "pass"], dict(os.environ))
    assert large.seconds > 0.1 and large.peak_bytes - small.peak_bytes > 150e6
    with pytest.raises(RuntimeError, match="no such thing"):
        run([sys.executable, "-c", "raise SystemExit('no such thing')"], dict(os.environ))


def test_the_library_can_be_folded(tmp_path):
    write_fasta(tmp_path / "x.fasta", 40)
    with (tmp_path / "x.fasta").open() as file:
        records = list(parse_fasta(file))
    assert len(records) == 40 and all(10 <= len(record.text) <= 30 for record in records)


@pytest.mark.filterwarnings("ignore")
def test_the_network_in_torch_is_the_same():
    torch = pytest.importorskip("torch")
    import mlx.core as mx
    import numpy as np
    from _bench_ours import random_batch
    from _bench_torch_head import Network
    from mlx.utils import tree_flatten

    from betafold_mlx.model.config import ModelConfig
    from betafold_mlx.model.folding import FoldingModel
    from betafold_mlx.train.losses import LossWeights, total_loss

    mx.random.seed(3)
    config = ModelConfig(width=32, heads=4, layers=2, ffn_width=64)
    ours, theirs, batch = FoldingModel(config), Network(config), random_batch(5)
    theirs.load({name: torch.from_numpy(np.array(x)) for name, x in tree_flatten(ours.parameters())})
    tensors = {
        name: torch.from_numpy(np.array(x))
        for part in batch
        for name, x in part._asdict().items()
        if x is not None
    }

    def loss(network):
        return total_loss(network(batch.inputs), batch.targets, batch.inputs.mask, LossWeights())[0]

    value, gradients = mx.value_and_grad(lambda weights: loss(ours.update(weights)))(
        ours.trainable_parameters()
    )
    their_value = theirs.eval().loss(tensors)
    their_value.backward()
    assert value.item() == pytest.approx(their_value.item(), abs=1e-4)
    expected = dict(theirs.named_parameters())
    compared = 0
    for name, gradient in tree_flatten(gradients):
        if name in expected and expected[name].grad is not None:
            np.testing.assert_allclose(
                np.array(gradient), expected[name].grad.numpy(), atol=1e-4, err_msg=name
            )
            compared += 1
    assert compared > 40
