"""Folding: a cold start beside the import of torch, warm folds with and without stated bonds, a library, the server."""

from __future__ import annotations

import http.client
import json
import random
import signal
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import run
from pytest_benchmark.fixture import BenchmarkFixture

from betafold_mlx import Predictor
from betafold_mlx.peptide.sequence import ALPHABET

PEPTIDE = "GIGKFLHSAKKFGKAFVGEIMNS"
LETTERS = ALPHABET.replace("C", "")
COLD, WARM = "cold start, a process", "fold, one peptide at a time"
CHEMISTRY: dict[str, tuple[str, dict[str, Any]]] = {
    "linear": (PEPTIDE, {}),
    "ring": ("GRATKSIPPIAFPD", {"cyclic": True}),
    "two disulfides": ("ICKGCSNPTACRHGC", {"disulfides": [(2, 11), (5, 15)]}),
    "ring and disulfide": ("GRCTKSIPPICFPD", {"cyclic": True, "disulfides": [(3, 11)]}),
}


@pytest.mark.benchmark(group=COLD)
def bench_cold_fold(benchmark: BenchmarkFixture, fold_command: list[str], tmp_path: Path) -> None:
    command = [*fold_command, PEPTIDE, "-o", str(tmp_path)]
    usage = benchmark.pedantic(run, (command,), rounds=5, warmup_rounds=1)
    benchmark.extra_info["MB"] = usage.peak_bytes / 1e6


@pytest.mark.benchmark(group=COLD)
def bench_import_torch_and_transformers(benchmark: BenchmarkFixture, torch: Any) -> None:
    pytest.importorskip("transformers")
    command = [sys.executable, "-c", "import torch, transformers"]
    benchmark.pedantic(run, (command,), rounds=5, warmup_rounds=1)


@pytest.mark.benchmark(group=WARM)
@pytest.mark.parametrize("kind", CHEMISTRY)
def bench_fold(benchmark: BenchmarkFixture, kind: str) -> None:
    predictor = Predictor.load("betafold-mini")
    sequence, chemistry = CHEMISTRY[kind]
    benchmark(predictor.fold, sequence, **chemistry)


@pytest.mark.benchmark(group="library, FASTA to files, 10 to 30 residues")
@pytest.mark.parametrize("count", [1000, 10_000])
def bench_library(
    benchmark: BenchmarkFixture, fold_command: list[str], tmp_path: Path, quick: bool, count: int
) -> None:
    if quick:
        count //= 100
    draw, fasta, out = random.Random(count), tmp_path / "library.fasta", tmp_path / "out"
    fasta.write_text(
        "".join(f">p{n}\n{''.join(draw.choices(LETTERS, k=draw.randint(10, 30)))}\n" for n in range(count))
    )
    usage = benchmark.pedantic(run, ([*fold_command, str(fasta), "-o", str(out)],), rounds=1)
    assert len(list(out.glob("**/*.cif"))) == count
    benchmark.extra_info["peptides a second"] = count / usage.seconds
    benchmark.extra_info["processors busy"] = usage.cpu_seconds / usage.seconds
    benchmark.extra_info["MB of the largest process"] = usage.peak_bytes / 1e6


CLIENTS, MAX_GROWTH = 8, 0.05  # of the server's memory over the second half: the first fills what it keeps


@pytest.mark.benchmark(group=f"serve, {CLIENTS} clients, 10 to 30 residues")
def bench_serve(benchmark: BenchmarkFixture, quick: bool) -> None:
    """Fold by `CLIENTS` clients at once, the page's path and that of the Atlas in turns; any error fails."""
    pytest.importorskip("uvicorn")
    command = [sys.executable, "-m", "betafold_mlx", "serve", "--port", "0", "--model", "betafold-mini"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline().strip().rstrip("/").rpartition(":")[2])
        folds = 5 if quick else 200
        latencies, memory = benchmark.pedantic(load, (port, server.pid, folds), rounds=1)
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
    finally:
        server.kill()
        server.wait()
    ranks = statistics.quantiles(latencies, n=100)
    benchmark.extra_info |= {f"p{rank} ms": 1000 * ranks[rank - 1] for rank in (50, 90, 99)}
    benchmark.extra_info["MB"] = memory[1] / 1e6
    if benchmark.stats is not None:
        benchmark.extra_info["folds a second"] = len(latencies) / benchmark.stats.stats.total
    assert quick or memory[1] / memory[0] - 1 < MAX_GROWTH


def load(port: int, pid: int, folds: int) -> tuple[list[float], tuple[int, int]]:
    """Return the seconds of all answers, and the server's memory in bytes at half of them and at the end."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        halves, memory = [], []
        for half in range(2):
            found = pool.map(
                lambda number: client(port, number, folds // 2), range(CLIENTS * half, CLIENTS * (half + 1))
            )
            halves += [seconds for each in found for seconds in each]
            memory.append(1024 * int(subprocess.check_output(["ps", "-o", "rss=", "-p", str(pid)])))
    return halves, (memory[0], memory[1])


def client(port: int, seed: int, folds: int) -> list[float]:
    """Fold random peptides one after the other, and return the seconds of each."""
    draw, connection, seconds = (
        random.Random(seed),
        http.client.HTTPConnection("127.0.0.1", port, timeout=300),
        [],
    )
    for turn in range(folds):
        sequence = "".join(draw.choices(ALPHABET, k=draw.randint(10, 30)))
        started = time.monotonic()
        if turn % 2:
            connection.request("POST", "/foldSequence/v1/pdb/", sequence)
        else:
            body = json.dumps({"sequence": sequence, "keep": True})
            connection.request("POST", "/api/v1/fold", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read().decode()
        seconds.append(time.monotonic() - started)
        assert response.status == 200, text
        assert (
            text.rstrip().endswith("END") if turn % 2 else json.loads(text)["result"]["sequence"] == sequence
        )
    connection.close()
    return seconds
