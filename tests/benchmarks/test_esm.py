"""`scripts/bench-esm` measures what it says: tried with a tiny ESM-2."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from esm_helpers import TINY
from synthetic import make_dataset

from betafold_mlx.esm.checkpoint import read_checkpoint
from betafold_mlx.esm.convert import convert

SCRIPT = Path(__file__).parents[2] / "scripts" / "_bench_esm.py"


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    make_dataset(chains=3, peptides=3).save(folder / "set")
    convert(read_checkpoint(TINY), folder / "tiny", "owner/tiny")

    def call(*arguments):
        command = [sys.executable, str(SCRIPT), "set", "--embedder", "tiny", "--windows", "21", *arguments]
        command += ["--batches", "1,3", "--repeats", "1", "--steps", "2", "--rounds", "1", "--tokens", "192"]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True)

    return call


def test_the_figures(bench):
    done = bench("--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0 and "Traceback" not in done.stderr
    assert report["embedder"]["label"] == "owner/tiny (2x24, not checked against the published ESM-2 weights)"
    assert [(row["length"], row["batch"]) for row in report["embedding"]] == [
        (length, batch) for length in (10, 20, 30) for batch in (1, 3)
    ]
    assert all(row["milliseconds_per_sequence"] > 0 for row in report["embedding"])
    small, *_, large = (row["peak_bytes_beside_the_weights"] for row in report["embedding"])
    assert 0 < small < large < report["process_peak_bytes"]
    cache = report["cache"]
    assert 2 * 24 < cache["bytes_per_residue"] < 3 * 24 and cache["bytes"] > 48 * cache["residues"]
    training = report["training"]
    steps = training["seconds_per_step"]
    assert training["speed_up"] == pytest.approx(steps["esm_in_the_loop"] / steps["cache"])
    assert training["largest_difference_of_losses"] < 1e-2 < training["largest_loss"]  # the same batches
    assert {"mlx", "numpy", "python", "betafold-mlx"} <= set(report["machine"]["versions"])


def test_a_table_and_wrong_usage(bench):
    done = bench()
    assert done.returncode == 0 and "bytes a residue" in done.stdout and "times faster" in done.stdout
    assert done.stdout.startswith("owner/tiny (2x24, not checked against the published ESM-2 weights)\n")
    for arguments in (("--batches", "0"), ("--windows", "3")):
        failed = subprocess.run(
            [sys.executable, str(SCRIPT), str(TINY), "--embedder", "x", *arguments],
            capture_output=True,
            text=True,
        )
        assert failed.returncode == 2 and "Traceback" not in failed.stderr
    failed = subprocess.run(
        [sys.executable, str(SCRIPT), str(TINY), "--embedder", "x"], capture_output=True, text=True
    )
    assert failed.returncode == 1 and len(failed.stderr.splitlines()) == 1
