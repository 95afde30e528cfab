"""`scripts/bench-distributed` measures what it says: tried with a tiny network and a tiny ESM-2."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from esm_helpers import TINY
from synthetic import make_dataset

from betafold_mlx.esm.checkpoint import read_checkpoint
from betafold_mlx.esm.convert import convert

SCRIPT = Path(__file__).parents[2] / "scripts" / "_bench_distributed.py"


def script():
    spec = importlib.util.spec_from_file_location("bench_distributed", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_figures(tmp_path):
    make_dataset(held_out=1).save(tmp_path / "set")
    convert(read_checkpoint(TINY), tmp_path / "tiny", "owner/tiny")
    options = ["--steps", "4", "--rounds", "1", "--tokens", "64", "--width", "32", "--windows", "500"]
    options += ["--peptides", "24", "--batch-size", "2"]
    command = [sys.executable, str(SCRIPT), "set", "--embedder", "tiny", *options, "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    report = json.loads(done.stdout)
    train, embedded = report["training"], report["embedding"]
    for name in (
        "one_rank",
        "two_ranks",
        "half_a_batch",
        "one_process_on_all_cores",
        "draw",
        "sum",
        "gather",
    ):
        assert 0 < train[f"seconds_{name}"] < 10, name
    assert train["seconds_gather"] < train["seconds_two_ranks"] and train["bytes_of_gradient"] % 4 == 0
    assert train["seconds_shared"] + train["seconds_fixed"] == pytest.approx(train["seconds_one_rank"])
    assert embedded["days_for_a_billion_on_one_core"] == pytest.approx(
        1e9 / embedded["sequences_a_second_one_rank"] / 86_400
    )
    folded = report["folding"]
    for name in ("one_rank", "two_ranks"):
        assert 0 < folded[f"peptides_a_second_{name}"] < 1e4
    assert folded["speed_up"] == pytest.approx(
        folded["peptides_a_second_two_ranks"] / folded["peptides_a_second_one_rank"]
    )
    assert 1e3 < folded["bytes_of_a_peptide"] < 1e5 and 0 < folded["seconds_to_write_a_peptide"] < 1
    slow, fast = folded["most_peptides_a_second"].values()
    assert slow <= fast <= 1 / folded["seconds_to_write_a_peptide"]
    assert slow <= 125e6 / folded["bytes_of_a_peptide"]
    lines = script().table(report).splitlines()
    assert len(lines) == 9 and f"{train['speed_up']:.2f} times as fast" in lines[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set", "tiny"]


def test_the_cost_model():
    bench = script()
    assert bench.transfer(125_000_000, 2, 1) == pytest.approx(
        1.0
    )  # each sends the half, and the sum of the other
    assert bench.transfer(125_000_000, 1000, 10) == pytest.approx(0.2, rel=2e-3)
    one = {"steps": [1.0, 1.2, 1.0], "draw": 0.1, "bytes": 125_000_000, "sum": 0.1, "gather": 1e-3}
    found = bench.training(
        [one], [{**one, "steps": [0.6, 0.6, 0.8]}], [{**one, "steps": [0.6, 0.6, 0.6]}], 3072
    )
    assert found["speed_up"] == pytest.approx(1 / 0.6)
    assert found["seconds_shared"] == pytest.approx(0.7) and found["seconds_fixed"] == pytest.approx(0.3)
    assert found["predicted_speed_up"]["10 Gbit/s"]["4"] == pytest.approx(1 / (0.3 + 0.7 / 4 + 0.15))
