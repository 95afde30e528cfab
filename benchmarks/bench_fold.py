"""Folding: a cold start beside the import of torch, warm folds with and without stated bonds, a library."""

from __future__ import annotations

import random
import sys
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
