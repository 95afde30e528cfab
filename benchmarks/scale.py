"""What large libraries cost: Dask workers on this machine, measured; many more of them, and lost ones, simulated.

    .venv/bin/python benchmarks/scale.py [PEPTIDES [BATCH]]        # needs the extra `cluster`; 1,000 in batches of 16

Backbones of 10 to 30 residues, one candidate and no templates, into one container, by the library in one process and
by clusters, one of which loses a worker. A row is printed when its library is folded: 1,000 peptides take half a minute
with one worker on a quiet processor, and twenty times as long where others keep it busy.
"""

from __future__ import annotations

import heapq
import math
import os
import random
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

from conftest import run
from distributed import Client, LocalCluster

from betafold_mlx._blas import blas_name
from betafold_mlx.peptide.sequence import ALPHABET

PART = 4 * 128  # peptides of a part with the default --batch-size
OPTIONS = "--candidates=1 --templates=none --atoms=backbone --output-format=jsonl"
LOST_EVERY, AWAY = 600.0, 30.0  # seconds: a worker of the cluster is lost; another one takes its place
FEW = 256  # folded first: the workers load the model, and the start of the process that writes is known
LARGE = ((10**6, 2, 1), (10**6, 8, 1), (10**9, 1000, 100))  # peptides, workers, libraries with a writer each


class Measured(NamedTuple):
    """One run of a library."""

    seconds: float
    of_workers: float  # processor seconds of all workers
    of_writer: float  # processor seconds of the process that reads and writes
    written: bytes


def fold(client: Client | None, fasta: Path, out: Path, batch: int) -> Measured:
    """Fold a library with the workers of a cluster, or in one process."""
    options = [*OPTIONS.split(), f"--batch-size={batch}"]
    options += ["--scheduler", str(client.scheduler_info()["address"])] if client else ["--processes=1"]

    def spent_by_workers() -> float:
        return sum(client.run(time.process_time).values()) if client else 0.0

    before = spent_by_workers()
    command = [sys.executable, "-m", "betafold_mlx", "fold", str(fasta), "-o", str(out), *options]
    usage = run(command, well=(0, 1))  # 1: of so many random chains one may run through itself
    spent = spent_by_workers() - before
    return Measured(usage.seconds, spent, usage.cpu_seconds, (out / "predictions.jsonl").read_bytes())


def simulated(parts: int, seconds: float, workers: int, lost_every: float, seed: int = 0) -> float:
    """Return the seconds in which workers fold parts, where one of them at a time is lost and its part begun anew."""
    draw, lost, left = random.Random(seed), lost_every, parts - workers
    ends = dict.fromkeys(range(workers), seconds)
    queue, now = [(seconds, worker) for worker in range(workers)], 0.0
    while queue:
        end, worker = heapq.heappop(queue)
        if ends[worker] != end:
            continue  # it was lost before
        while lost < end:
            unlucky = draw.randrange(workers)
            if ends[unlucky] > lost >= ends[unlucky] - seconds:  # else it is done, or away
                ends[unlucky] = lost + AWAY + seconds
                heapq.heappush(queue, (ends[unlucky], unlucky))
            lost += lost_every
        if ends[worker] != end:
            continue
        now = end
        if left > 0:
            left -= 1
            ends[worker] = end + seconds
            heapq.heappush(queue, (ends[worker], worker))
    return now


def main(peptides: int, batch: int = 16) -> None:
    """Measure and simulate, and print the tables of docs/libraries.md."""
    draw = random.Random(0)
    letters = ALPHABET.replace("C", "")
    load = os.getloadavg()[0]
    print(
        f"{peptides} peptides, batches of {batch}, {blas_name()}, a thread for each worker, load {load:.0f}"
    )
    heading(
        "workers", "seconds", "peptides a second", "processor time of workers, ms a peptide", "of the command"
    )
    done: list[Measured] = []
    with tempfile.TemporaryDirectory() as folder:
        few, all_ = Path(folder) / "few.fasta", Path(folder) / "all.fasta"
        records = [
            f">p{n}\n{''.join(draw.choices(letters, k=draw.randint(10, 30)))}\n"
            for n in range(FEW + peptides)
        ]
        few.write_text("".join(records[:FEW]))
        all_.write_text("".join(records[FEW:]))
        done.append(fold(None, all_, Path(folder) / "alone", batch))
        row("no cluster, one process", done[-1], peptides)
        for workers in (1, 2, 4):
            with (
                LocalCluster(workers, threads_per_worker=1, dashboard_address=":0") as here,
                Client(here) as client,
            ):
                start = fold(client, few, Path(folder) / f"few{workers}", batch).of_writer
                done.append(fold(client, all_, Path(folder) / f"all{workers}", batch))
                row(workers, done[-1], peptides)
                if workers == 2:
                    killer = threading.Timer(
                        done[-1].seconds / 2, os.kill, (here.workers[0].pid, signal.SIGKILL)
                    )
                    killer.start()
                    done.append(fold(client, all_, Path(folder) / "lost", batch))
                    row("2, one killed halfway", done[-1]._replace(of_workers=-1.0), peptides)
    assert len({each.written for each in done}) == 1, "the number of workers changes the result"
    worker, writer = done[1].of_workers / peptides, (done[-1].of_writer - start) / (peptides - FEW)
    size = len(done[0].written) / peptides
    print(
        f"\nAll runs wrote the same bytes, {size:.0f} a peptide. Reading and writing: {1e3 * writer:.2f} ms a peptide."
    )
    heading("peptides", "workers", "hours", "a worker lost every 10 minutes", "processor hours", "GB")
    for count, workers, libraries in LARGE:
        writing, parts = count * writer / libraries, -(-count // PART)
        hours = [
            max(simulated(parts, PART * worker, workers, every), writing) / 3600
            for every in (math.inf, LOST_EVERY)
        ]
        print(
            f"| {count:,} | {workers:,} | {hours[0]:.2f} | {hours[1]:.2f} "
            f"| {count * (worker + writer) / 3600:,.1f} | {count * size / 1e9:,.0f} |"
        )


def heading(*names: str) -> None:
    """Print the head of a table."""
    print(f"\n| {' | '.join(names)} |\n{'|---' * len(names)}|", flush=True)


def row(workers: int | str, run: Measured, peptides: int) -> None:
    """Print a measured run."""
    of_workers, own = (1e3 * spent / peptides for spent in (run.of_workers, run.of_writer))
    known = "" if of_workers < 0 else f"{of_workers:.1f}"  # not where a worker was lost
    rate = peptides / run.seconds
    print(f"| {workers} | {run.seconds:.1f} | {rate:.0f} | {known} | {own:.1f} |", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:] or ["1000"]))
