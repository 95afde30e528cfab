"""What all benchmarks share: options, the machine and versions at the head, and figures beside the times."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
from decimal import Decimal
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core  # noqa: F401 - gets its BLAS, which is named
import pytest

from betafold_mlx._blas import blas_name, blas_threads
from betafold_mlx._machine import usable_processors

PACKAGES = ("mlx", "numpy", "gemmi", "torch", "transformers", "biotite", "PeptideBuilder", "mp-nerf")


class Usage(NamedTuple):
    """A process that ended: wall seconds, processor seconds, and the largest memory it held, bytes."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="small sizes and few rounds: a first look")
    parser.addoption("--minutes", type=float, default=1, help="of the mix of requests to the server")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--quick"):
        config.option.benchmark_min_rounds = 2
        config.option.benchmark_max_time = Decimal("0.2")


@pytest.fixture(scope="session")
def quick(pytestconfig: pytest.Config) -> bool:
    """Return whether only a first look is wanted."""
    return bool(pytestconfig.getoption("--quick"))


@pytest.fixture(scope="session")
def torch() -> Any:
    """Return PyTorch, with as many threads as OpenBLAS has for us; skip where it is not installed."""
    module = pytest.importorskip("torch")
    module.set_num_threads(blas_threads())
    return module


def machine() -> dict[str, Any]:
    """Return what a figure depends on: processor, BLAS and its kernels, threads, versions."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return {
        "processor": _processor(),
        "usable_processors": usable_processors(),
        "threads": blas_threads(),
        "blas": blas_name(),
        "load": os.getloadavg()[0],
        "versions": versions,
    }


def _processor() -> str:
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.machine())


def pytest_report_header() -> list[str]:
    found = machine()
    return [
        "{processor}, {usable_processors} usable processors, {threads} threads, {blas}, load {load:.1f}".format(
            **found
        ),
        " ".join(f"{name} {number}" for name, number in found["versions"].items()),
    ]


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    machine_info["betafold"] = machine()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print what a benchmark noted in its ``extra_info``: rates, memory, percentiles; and the peers beside ours."""
    benchmarks = config._benchmarksession.benchmarks  # type: ignore[attr-defined]
    rows = ["", "| | ours, ms | peer | ms | peer / ours |", "|---|---|---|---|---|"]
    ours = {each.group: each for each in benchmarks if "_ours" in each.name}  # the last of several sizes
    for each in benchmarks:
        own = ours.get(each.group)
        if own and "_ours" not in each.name:
            peer = each.name.partition("[")[0].rpartition("_")[2]
            ratio = in_milliseconds(each)[0] / in_milliseconds(own)[0]
            rows.append(f"| {each.group} | {spread(own)} | {peer} | {spread(each)} | {ratio:.3g} |")
    for line in rows if len(rows) > 3 else []:
        terminalreporter.write_line(line)
    for each in benchmarks:
        if each.extra_info:
            figures = ", ".join(f"{name} {value:.4g}" for name, value in each.extra_info.items())
            terminalreporter.write_line(f"{each.group}, {each.name}: {figures}")


def in_milliseconds(benchmark: Any) -> list[float]:
    """Return median and quartiles, of one peptide where it was done with several.

    What a peer does in a process of its own, a timer of this process's processor time does not see.
    """
    found, own = benchmark.stats, benchmark.extra_info.get("its processor seconds", 0.0)
    several = benchmark.extra_info.get("microseconds a peptide")
    unit = several / found.median / 1e3 if several else 1e3
    return [unit * max(value, own) for value in (found.median, found.q1, found.q3)]


def spread(benchmark: Any) -> str:
    """Return median and quartiles as text."""
    return "{:.3g} ({:.3g}-{:.3g})".format(*in_milliseconds(benchmark))


def run(command: list[str], well: tuple[int, ...] = (0,)) -> Usage:
    """Run a command to its end and account for it; raise with its last words where no `well` exit code ends it."""
    account = [sys.executable, str(Path(__file__).with_name("account.py")), *command]
    done = subprocess.run(account, capture_output=True, text=True)
    if done.returncode not in well:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr[-500:]}")
    return Usage(*json.loads(done.stdout))


@pytest.fixture(scope="session")
def fold_command() -> list[str]:
    """Return the start of a command that folds with the bundled model."""
    return [sys.executable, "-m", "betafold_mlx", "fold", "--model", "betafold-mini"]
