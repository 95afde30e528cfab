"""Whole processes for ``scripts/bench``: how long one runs, and how much memory it takes."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from betafold_mlx.peptide.sequence import ALPHABET


class Run(NamedTuple):
    """A process that ended: wall seconds, processor seconds, and the most memory it held, bytes."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


def run(command: list[str], environment: dict[str, str]) -> Run:
    """Run a command and account for it.

    Raises
    ------
    RuntimeError
        It failed.
    """
    account = [sys.executable, "-I", str(Path(__file__).with_name("_bench_account.py")), *command]
    done = subprocess.run(account, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {' '.join(done.stderr.split())[-500:]}")
    return Run(*json.loads(done.stdout))


def fold_command(*arguments: str) -> list[str]:
    """Return the command that folds with the bundled model."""
    return [sys.executable, "-m", "betafold_mlx", "fold", "--model", "betafold-mini", *arguments]


def write_fasta(path: Path, count: int) -> None:
    """Write random peptides of 10 to 30 residues without cysteines, nor chemistry."""
    draw = random.Random(count)
    letters = ALPHABET.replace("C", "")
    with path.open("w") as file:
        for number in range(count):
            file.write(f">p{number}\n{''.join(draw.choices(letters, k=draw.randint(10, 30)))}\n")
