"""Side chains on given backbones, beside ProMod3 (Debian's python3-promod3), which runs in Debian's Python."""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from betafold_mlx import Prediction, Predictor
from betafold_mlx.fold.side_chains import add_side_chains
from betafold_mlx.peptide.sequence import ALPHABET, Peptide

COUNT, RESIDUES = 16, 23
pytestmark = pytest.mark.benchmark(group=f"side chains of {COUNT} peptides of {RESIDUES} residues")
DEBIANS_PYTHON = "/usr/bin/python3"


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    """Return the bundled model."""
    return Predictor.load("betafold-mini")


@pytest.fixture(scope="module")
def backbones(predictor: Predictor) -> list[Prediction]:
    """Return predictions without side chains."""
    letters = np.random.default_rng(0).choice(list(ALPHABET.replace("C", "")), (COUNT, RESIDUES))
    peptides = [Peptide.parse("".join(row)) for row in letters]
    return predictor.fold_many(peptides, atoms="backbone", candidates=1)


@pytest.fixture
def promod3(backbones: list[Prediction], tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Start ProMod3 with the backbones; skip where it is not installed."""
    paths = [str(tmp_path / f"{n}.pdb") for n in range(COUNT)]
    for prediction, path in zip(backbones, paths, strict=True):
        prediction.save(path)
    command = [DEBIANS_PYTHON, str(Path(__file__).with_name("promod3_pack.py")), *paths]
    pipe, none = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=none, text=True) as it:
        assert it.stdin and it.stdout
        if it.stdout.readline() != "ready\n":
            pytest.skip(f"needs ProMod3 in {DEBIANS_PYTHON} (apt-get install python3-promod3)")
        yield it
        it.stdin.close()


def bench_side_chains_ours(
    benchmark: BenchmarkFixture, predictor: Predictor, backbones: list[Prediction]
) -> None:
    assert predictor.side_chains is not None
    whole = benchmark(add_side_chains, backbones, predictor.side_chains)
    assert all(each.atoms is not None for each in whole)


def bench_side_chains_promod3(
    benchmark: BenchmarkFixture, promod3: subprocess.Popen[str], backbones: list[Prediction]
) -> None:
    assert promod3.stdin and promod3.stdout
    asked, answered = promod3.stdin, promod3.stdout

    spent = []

    def pack() -> int:
        asked.write("\n")
        asked.flush()
        atoms, seconds = answered.readline().split()
        spent.append(float(seconds))
        return int(atoms)

    assert benchmark.pedantic(pack, rounds=5, warmup_rounds=1) > 6 * COUNT * RESIDUES
    benchmark.extra_info["its processor seconds"] = statistics.median(spent)
