"""What a second rank brings: started by ``scripts/bench-distributed``."""

from __future__ import annotations

import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from betafold_mlx import OPENBLAS, __version__
from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import to_json

RANK = Path(__file__).with_name("_bench_distributed_rank.py")
NETWORKS = [1, 10]
"""Gigabits a second of the networks that the scaling is predicted for."""
LIBRARY = 10**9


@click.command()
@click.argument("dataset", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--embedder", type=click.Path(path_type=Path), help="Converted ESM-2: measure embed too.")
@click.option("--windows", type=click.IntRange(21), default=1000, help="Of the cache.")
@click.option("--steps", type=click.IntRange(2), default=12, help="Training steps of a round.")
@click.option("--tokens", type=click.IntRange(64), default=3072, help="Residues of a training batch.")
@click.option("--peptides", type=click.IntRange(1), default=1024, help="Of the library that is folded.")
@click.option("--batch-size", type=click.IntRange(1), default=16, help="Of them, folded together.")
@click.option("--rounds", type=click.IntRange(1), default=3, help="Of one rank, two ranks and half a batch.")
@click.option("--width", type=click.IntRange(8), help="Of the network, instead of the usual one.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def bench(
    dataset: Path,
    embedder: Path | None,
    windows: int,
    steps: int,
    tokens: int,
    peptides: int,
    batch_size: int,
    rounds: int,
    width: int | None,
    as_json: bool,
) -> None:
    """Measure a training step with one rank and with two, each on one core, and predict more machines."""
    network = {} if width is None else {"width": width, "ffn_width": 4 * width}
    task = {"what": "train", "dataset": str(dataset), "steps": steps, "network": network}
    one, two, half, free = [], [], [], []
    for number in range(rounds):
        click.echo(f"training, round {number + 1} of {rounds}", err=True)
        one.append(run({**task, "tokens": tokens}, 1))
        two.append(run({**task, "tokens": tokens}, 2))
        half.append(run({**task, "tokens": tokens // 2}, 1))
        free.append(run({**task, "tokens": tokens}, 1, all_cores=True))
    report: dict[str, Any] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, one a rank",
        "versions": {"betafold-mlx": __version__, "mlx": version("mlx"), "openblas": OPENBLAS},
        "training": training(one, two, half, tokens)
        | {"seconds_one_process_on_all_cores": _median(free, "steps")},
        "folding": folding(str(dataset), peptides, batch_size, rounds),
    }
    if embedder is not None:
        report["embedding"] = embedding(dataset, embedder, windows, rounds)
    click.echo(to_json(report) if as_json else table(report), nl=False)


def training(one: list[Any], two: list[Any], half: list[Any], tokens: int) -> dict[str, Any]:
    """Return the medians, the speed-up step by step, and what more machines would bring."""
    pairs = [
        a / b
        for single, double in zip(one, two, strict=True)
        for a, b in zip(single["steps"], double["steps"], strict=True)
    ]
    quartiles = statistics.quantiles(pairs, n=4)
    figures = {
        "tokens": tokens,
        "seconds_one_rank": _median(one, "steps"),
        "seconds_two_ranks": _median(two, "steps"),
        "seconds_half_a_batch": _median(half, "steps"),
        "speed_up": statistics.median(pairs),
        "speed_up_quartiles": [quartiles[0], quartiles[2]],
        "bytes_of_gradient": one[0]["bytes"],
        "seconds_draw": statistics.median(run["draw"] for run in one),
        "seconds_sum": statistics.median(run["sum"] for run in two),
        "seconds_gather": statistics.median(run["gather"] for run in two),
    }
    # t(n) = fixed + shared / n + communication, a line through the whole and the half batch; every rank draws all.
    whole, draw = figures["seconds_one_rank"], figures["seconds_draw"]
    shared = min(2 * (whole - figures["seconds_half_a_batch"]), whole) - draw
    fixed = whole - shared
    figures |= {"seconds_shared": shared, "seconds_fixed": fixed}
    figures["predicted_speed_up"] = {
        f"{gigabits} Gbit/s": {
            str(n): whole / (fixed + shared / n + transfer(figures["bytes_of_gradient"], n, gigabits))
            for n in (2, 4, 8)
        }
        for gigabits in NETWORKS
    }
    return figures


def transfer(size: int, ranks: int, gigabits: float) -> float:
    """Return the seconds in which a ring adds `size` bytes: each rank sends and receives 2 (n - 1) / n of them."""
    return 2 * (ranks - 1) / ranks * size * 8 / (gigabits * 1e9)


def embedding(dataset: Path, embedder: Path, windows: int, rounds: int) -> dict[str, Any]:
    """Return the sequences a second of one rank and of two."""
    task = {"what": "embed", "dataset": str(dataset), "embedder": str(embedder), "windows": windows}
    one, two = [], []
    for number in range(rounds):
        click.echo(f"embedding, round {number + 1} of {rounds}", err=True)
        one.append(run(task, 1)["rate"])
        two.append(run(task, 2)["rate"])
    rate = statistics.median(one)
    return {
        "sequences_a_second_one_rank": rate,
        "sequences_a_second_two_ranks": statistics.median(two),
        "speed_up": statistics.median(b / a for a, b in zip(one, two, strict=True)),
        "days_for_a_billion_on_one_core": LIBRARY / rate / 86_400,
    }


def folding(dataset: str, peptides: int, batch_size: int, rounds: int) -> dict[str, Any]:
    """Return the peptides a second of one rank and of two into files, and what bounds more of them.

    The main rank writes what the others fold, so n machines make min(n r, 1 / w, B / b) peptides a second: r is the
    rate of one, w the seconds that it takes the main one to unpack and write a peptide, b its bytes on the way, and B
    the bytes a second of the network.
    """
    task = {
        "what": "fold",
        "dataset": dataset,
        "peptides": peptides,
        "batch_size": batch_size,
        "output": "files",
    }
    one, two = [], []
    for number in range(rounds):
        click.echo(f"folding, round {number + 1} of {rounds}", err=True)
        one.append(run(task, 1))
        two.append(run(task, 2))
    rate = statistics.median(single["rate"] for single in one)
    writing = statistics.median(single["writing"] for single in one)
    size = one[0]["bytes"]
    return {
        "peptides_a_second_one_rank": rate,
        "peptides_a_second_two_ranks": statistics.median(double["rate"] for double in two),
        "speed_up": statistics.median(
            double["rate"] / single["rate"] for single, double in zip(one, two, strict=True)
        ),
        "seconds_to_write_a_peptide": writing,
        "bytes_of_a_peptide": size,
        "most_peptides_a_second": {
            f"{gigabits} Gbit/s": min(1 / writing, gigabits * 1e9 / 8 / size) for gigabits in NETWORKS
        },
        "days_for_a_billion_on_one_core": LIBRARY / rate / 86_400,
    }


def run(task: dict[str, Any], size: int, all_cores: bool = False) -> Any:
    """Run a task with so many ranks, each on one core or on all, and return what the main one printed."""
    with tempfile.TemporaryDirectory() as folder:
        hosts = Path(folder) / "hosts.json"
        hosts.write_text(json.dumps([[f"127.0.0.1:{port}"] for port in free_ports(size)]))
        arguments = [sys.executable, str(RANK), json.dumps({**task, "folder": folder})]
        threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1")
        limits = {} if all_cores else threads
        processes = [
            subprocess.Popen(
                arguments,
                env={**os.environ, **limits, "MLX_HOSTFILE": str(hosts), "MLX_RANK": str(rank)},
                stdout=subprocess.PIPE,
                text=True,
            )
            for rank in range(size)
        ]
        outputs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise BetafoldError("a rank failed: what it said is above")
    return json.loads(outputs[0])


def free_ports(count: int) -> list[int]:
    """Return ports that are free now."""
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return ports


def table(report: dict[str, Any]) -> str:
    """Return the report as text."""
    train = report["training"]
    low, high = train["speed_up_quartiles"]
    lines = [
        f"{report['machine']}; " + ", ".join(f"{name} {text}" for name, text in report["versions"].items()),
        f"training step of {train['tokens']} residues: {train['seconds_one_rank']:.3f} s with one rank, "
        f"{train['seconds_two_ranks']:.3f} s with two; {train['speed_up']:.2f} times as fast "
        f"(quartiles of the steps {low:.2f} to {high:.2f}); "
        f"{train['seconds_one_process_on_all_cores']:.3f} s with one process that may use all cores",
        f"half a batch with one rank: {train['seconds_half_a_batch']:.3f} s; so {train['seconds_shared']:.3f} s of a "
        f"step are shared and {train['seconds_fixed']:.3f} s are not ({train['seconds_draw']:.3f} s of them drawing)",
        f"gradient: {train['bytes_of_gradient'] / 1e6:.1f} MB, added in {1e3 * train['seconds_sum']:.1f} ms; "
        f"a word with the others: {1e3 * train['seconds_gather']:.2f} ms",
    ]
    for network, speeds in train["predicted_speed_up"].items():
        told = ", ".join(f"{n} machines {speed:.2f}" for n, speed in speeds.items())
        lines.append(f"predicted, machines of one core over {network}: {told}")
    found = report["folding"]
    most = ", ".join(f"{rate:.0f} over {name}" for name, rate in found["most_peptides_a_second"].items())
    lines.append(
        f"fold: {found['peptides_a_second_one_rank']:.0f} peptides a second with one rank, "
        f"{found['peptides_a_second_two_ranks']:.0f} with two ({found['speed_up']:.2f} times as fast); "
        f"a billion would take one core {found['days_for_a_billion_on_one_core']:.0f} days"
    )
    lines.append(
        f"the first rank takes {1e3 * found['seconds_to_write_a_peptide']:.2f} ms to write a peptide that another "
        f"folded, {found['bytes_of_a_peptide'] / 1e3:.1f} kB: at most {most} peptides a second, however many ranks"
    )
    if "embedding" in report:
        found = report["embedding"]
        lines.append(
            f"embed: {found['sequences_a_second_one_rank']:.0f} sequences a second with one rank, "
            f"{found['sequences_a_second_two_ranks']:.0f} with two ({found['speed_up']:.2f} times as fast); "
            f"a billion would take one core {found['days_for_a_billion_on_one_core']:.0f} days"
        )
    return "\n".join(lines) + "\n"


def _median(runs: list[Any], name: str) -> float:
    return statistics.median(value for run in runs for value in run[name])


if __name__ == "__main__":
    try:
        bench()
    except BetafoldError as error:
        sys.exit(f"bench-distributed: {error}")
