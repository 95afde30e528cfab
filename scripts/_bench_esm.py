"""What ESM-2 costs: started by ``scripts/bench-esm``."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

import betafold_mlx  # loads OpenBLAS: before anything imports mlx.core

import mlx.core as mx  # isort: skip
import numpy as np

from betafold_mlx.data.fill import fill_cache
from betafold_mlx.data.plan import FEWEST_WINDOWS, MOST_WINDOWS
from betafold_mlx.data.store import Dataset, dataset_sha256
from betafold_mlx.data.windows import SamplerConfig
from betafold_mlx.errors import BetafoldError
from betafold_mlx.esm.features import EsmEmbedder
from betafold_mlx.esm.tokenizer import encode
from betafold_mlx.files import to_json
from betafold_mlx.model.config import ModelConfig
from betafold_mlx.peptide.sequence import ALPHABET
from betafold_mlx.train.batches import Featurizer
from betafold_mlx.train.config import TrainConfig
from betafold_mlx.train.loop import Trainer

LENGTHS = (10, 20, 30)
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, bytes


@click.command()
@click.argument("dataset", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--embedder", type=click.Path(path_type=Path), required=True, help="Converted ESM-2 directory.")
@click.option(
    "--windows", type=click.IntRange(FEWEST_WINDOWS, MOST_WINDOWS), default=2000, help="Of the cache."
)
@click.option("--batches", default="1,32,128", help="Batch sizes of the embedding, with commas.")
@click.option("--repeats", type=click.IntRange(1), default=5, help="Of each embedding; the median counts.")
@click.option("--steps", type=click.IntRange(2), default=20, help="Training steps; the first is not counted.")
@click.option("--tokens", type=click.IntRange(32), default=3072, help="Residues of a training batch.")
@click.option("--rounds", type=click.IntRange(1), default=2, help="Of the training, in turns.")
@click.option(
    "--seed", type=click.IntRange(0, 2**31 - 1), default=0, help="Of sequences, weights and batches."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def bench(
    dataset: Path,
    embedder: Path,
    windows: int,
    batches: str,
    repeats: int,
    steps: int,
    tokens: int,
    rounds: int,
    seed: int,
    as_json: bool,
) -> None:
    """Measure what a converted ESM-2 costs, and what its cache saves."""
    try:
        sizes = [int(size) for size in batches.split(",")]
    except ValueError as error:
        raise click.UsageError("--batches: whole numbers with commas between them") from error
    if min(sizes) < 1:
        raise click.UsageError("--batches: at least 1")
    data = Dataset.load(dataset)
    fingerprint = dataset_sha256(dataset)
    esm = EsmEmbedder.load(embedder)
    load_before = os.getloadavg()
    report: dict[str, Any] = {
        "schema_version": 1,
        "embedder": esm.esm.to_dict(),
        "dataset_sha256": fingerprint,
        "machine": _machine(),
        "embedding": [_embedding(esm, length, size, repeats, seed) for length in LENGTHS for size in sizes],
        "process_peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT,
    }
    with tempfile.TemporaryDirectory(prefix="bench-esm-") as folder:
        _say(f"a cache of {windows} windows")
        start = time.perf_counter()
        filled = fill_cache(
            Path(folder) / "cache",
            data,
            fingerprint,
            esm.esm.embedder_config(),
            lambda: esm.embed,
            windows,
            seed,
        )
        index, seconds = filled.cache.index, time.perf_counter() - start
        report["cache"] = {
            "windows": windows,
            "sequences": index.sequences,
            "residues": index.residues,
            "bytes": filled.cache.bytes,
            "bytes_per_residue": filled.cache.bytes / index.residues,
            "seconds": seconds,
            "sequences_per_second": index.sequences / seconds,
        }
        config = TrainConfig(
            network=ModelConfig(embedder=esm.esm.embedder_config()),
            sampler=SamplerConfig(tokens=tokens, windows=windows, windows_seed=seed),
            seed=seed,
            steps=steps,
            evaluate_every=steps,
            calibrate=False,
        )
        ways: dict[str, Featurizer] = {"cache": filled.cache, "esm_in_the_loop": esm}
        report["training"] = _training(Path(folder), data, fingerprint, config, ways, rounds)
    report["load_average"] = {"before": load_before[0], "after": os.getloadavg()[0]}
    click.echo(to_json(report) if as_json else _table(report), nl=False)


def _machine() -> dict[str, Any]:
    threads = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    return {
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "usable_processors": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "device": str(mx.default_device()),
        "openblas": betafold_mlx.OPENBLAS,
        "threads": {name: os.environ.get(name) for name in threads},
        "versions": {
            "betafold-mlx": betafold_mlx.__version__,
            "mlx": version("mlx"),
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }


def _embedding(esm: EsmEmbedder, length: int, batch: int, repeats: int, seed: int) -> dict[str, Any]:
    """Time the network alone on one batch."""
    rng = np.random.default_rng([seed, length, batch])
    letters = rng.choice(list(ALPHABET), size=(batch, length))
    tokens = mx.array(encode(["".join(row) for row in letters]))
    mx.eval(esm.esm.model.embed(tokens))  # the first run allocates
    mx.clear_cache()
    mx.reset_peak_memory()
    held = mx.get_active_memory()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        mx.eval(esm.esm.model.embed(tokens))
        times.append(time.perf_counter() - start)
    _say(f"embedding, batch {batch}, {length} residues: {statistics.median(times):.3f} s")
    return {
        "length": length,
        "batch": batch,
        "padded_tokens": tokens.shape[1],
        "milliseconds_per_sequence": 1000 * statistics.median(times) / batch,
        "peak_bytes": mx.get_peak_memory(),
        "peak_bytes_beside_the_weights": mx.get_peak_memory() - held,
    }


class _StepLog:
    """When each step of a run ended, and its loss."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.losses: list[float] = []

    def __call__(self, figures: dict[str, Any]) -> None:
        if "loss" in figures:
            self.times.append(time.perf_counter())
            self.losses.append(figures["loss"])


def _training(
    folder: Path,
    data: Dataset,
    fingerprint: str,
    config: TrainConfig,
    ways: dict[str, Featurizer],
    rounds: int,
) -> dict[str, Any]:
    """Train on the same batches in each way, and time the steps."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    losses: dict[str, list[float]] = {}
    for number in range(rounds):
        for name, featurizer in ways.items():
            run = folder / f"{name}-{number}"
            run.mkdir()
            trainer = Trainer(run, data, config, fingerprint, featurizer)
            log = _StepLog()
            trainer.run(log)
            times, losses[name] = log.times, log.losses
            seconds[name] += np.diff(times).tolist()
            _say(f"{config.steps} steps, {name.replace('_', ' ')}: {np.median(np.diff(times)):.3f} s a step")
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    cached, live = (losses[name] for name in ways)
    return {
        "steps": config.steps,
        "rounds": rounds,
        "seed": config.seed,
        "tokens_per_batch": config.sampler.tokens,
        "network": config.network.to_dict(),
        "seconds_per_step": medians,
        "seconds_of_all_steps": seconds,
        "speed_up": medians["esm_in_the_loop"] / medians["cache"],
        "largest_difference_of_losses": float(np.abs(np.subtract(cached, live)).max()),
        "largest_loss": max(cached),
    }


def _table(report: dict[str, Any]) -> str:
    machine, cache, training = report["machine"], report["cache"], report["training"]
    steps = training["seconds_per_step"]
    lines = [
        report["embedder"]["label"],
        f"{machine['platform']}, {machine['usable_processors']} processors, {machine['device']}, "
        f"OpenBLAS {'loaded' if machine['openblas'] else 'not loaded'}, load {report['load_average']['before']:.1f} "
        f"to {report['load_average']['after']:.1f}",
        " ".join(f"{name} {number}" for name, number in machine["versions"].items()),
        "",
        "residues  batch  ms a sequence  peak MB beside the weights",
    ]
    for row in report["embedding"]:
        lines.append(
            f"{row['length']:>8}  {row['batch']:>5}  {row['milliseconds_per_sequence']:>13.2f}  "
            f"{row['peak_bytes_beside_the_weights'] / 1e6:>26.1f}"
        )
    lines += [
        f"peak of the process after these: {report['process_peak_bytes'] / 1e6:,.0f} MB",
        "",
        f"cache: {cache['sequences']:,} sequences, {cache['residues']:,} residues, {cache['bytes'] / 1e6:.1f} MB, "
        f"{cache['bytes_per_residue']:.1f} bytes a residue, {cache['sequences_per_second']:.0f} sequences a second",
        "",
        f"a training step of {training['tokens_per_batch']} residues: {steps['cache']:.3f} s on the cache, "
        f"{steps['esm_in_the_loop']:.3f} s with ESM-2 in the loop: {training['speed_up']:.1f} times faster",
        f"the same batches: losses differ by at most {training['largest_difference_of_losses']:.1e} "
        f"of {training['largest_loss']:.2f}",
    ]
    return "\n".join(lines) + "\n"


def _say(text: str) -> None:
    click.echo(text, err=True)


if __name__ == "__main__":
    try:
        bench()
    except BetafoldError as error:
        sys.exit(f"bench-esm: {error}")
