"""The benchmarks run, each once and small, and write their page."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pytest_benchmark", reason="the extra `bench` is not installed")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "benchmarks"


def bench(*arguments):
    command = [sys.executable, "-m", "pytest", "-c", FOLDER / "pytest.ini", "--quick", *arguments]
    # pytest-benchmark measures nothing inside a worker of pytest-xdist, and knows one by these variables.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_every_benchmark_runs_and_the_machine_is_named():
    printed = bench(FOLDER, "--benchmark-disable", "--deselect", FOLDER / "bench_triangle.py")
    assert " threads, " in printed and "\npython 3." in printed and " passed" in printed


def test_the_page_of_the_pair_trunk_is_written(tmp_path):
    saved, page, picture = tmp_path / "triangle.json", tmp_path / "page.md", tmp_path / "picture.svg"
    bench(FOLDER / "bench_triangle.py", f"--benchmark-json={saved}", "--benchmark-max-time=0.01")
    page.write_text("Before.\n<!-- bench triangle -->\nold\n<!-- /bench triangle -->\nAfter.\n")
    subprocess.run(
        [sys.executable, FOLDER / "pair_trunk_page.py", saved, page, picture], cwd=ROOT, check=True
    )
    text = page.read_text()
    assert text.startswith("Before.\n<!-- bench triangle -->\n`OMP_NUM_THREADS=1 scripts/bench triangle")
    assert text.endswith("<!-- /bench triangle -->\nAfter.\n") and "\nold\n" not in text
    measured = json.loads(saved.read_text())["benchmarks"]
    softmax = [each["extra_info"]["MB"] for each in measured if each["params"]["form"] == "softmax"]
    assert (
        f"| 32 | attention, softmax | {measured[0]['stats']['min'] * 1e3 / 16:.3g} ms, {softmax[0]:.2g} MB |"
        in text
    )
    assert "<svg" in picture.read_text()


def test_the_simulation_of_lost_workers():
    pytest.importorskip("distributed")
    code = (
        "from math import inf; from scale import AWAY, simulated as s\n"
        "assert s(10, 2.0, 5, inf) == 4.0 and s(11, 2.0, 5, inf) == 6.0\n"
        "assert s(4, 10.0, 1, 25.0) == 25.0 + AWAY + 20.0\n"
        "assert s(1000, 60.0, 10, inf) < s(1000, 60.0, 10, 600.0) < 1.2 * s(1000, 60.0, 10, inf)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=FOLDER, check=True)
