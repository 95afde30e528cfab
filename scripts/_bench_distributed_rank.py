"""One rank of ``scripts/bench-distributed``: the main one prints what it measured as JSON."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import betafold_mlx  # loads OpenBLAS: before anything imports mlx.core

import mlx.core as mx  # isort: skip

from betafold_mlx.data.fill import fill_cache
from betafold_mlx.data.store import Dataset, dataset_sha256
from betafold_mlx.data.windows import SamplerConfig
from betafold_mlx.distributed.ranks import Ranks, join
from betafold_mlx.esm.directory import describe_esm
from betafold_mlx.esm.features import EsmEmbedder
from betafold_mlx.fold.predictor import Predictor
from betafold_mlx.library.run import fold_library
from betafold_mlx.library.settings import Settings
from betafold_mlx.library.share import help_main
from betafold_mlx.library.sinks import make_sink
from betafold_mlx.library.wire import pack_folded, unpack_folded
from betafold_mlx.library.work import Folded, Task, Work
from betafold_mlx.library.writer import Observer
from betafold_mlx.model.config import ModelConfig
from betafold_mlx.model.directory import named_arrays
from betafold_mlx.peptide.fasta import FastaRecord
from betafold_mlx.peptide.sequence import ALPHABET, Peptide
from betafold_mlx.train.checkpoint import start_run
from betafold_mlx.train.config import TrainConfig
from betafold_mlx.train.loop import Trainer

REPEATS = 30  # of what takes milliseconds


def train(ranks: Ranks, folder: Path, dataset: Path, task: dict[str, Any]) -> dict[str, Any]:
    """Return the seconds of each training step but the first."""
    config = TrainConfig(
        network=dataclasses.replace(ModelConfig(), **task["network"]),
        sampler=SamplerConfig(tokens=task["tokens"]),
        steps=10**6,
        evaluate_every=10**6,
    )
    sha256 = dataset_sha256(dataset)
    trainer = Trainer(folder / "run", Dataset.load(dataset), config, sha256, ranks=ranks)
    ranks.from_main(lambda: start_run(folder / "run", config, sha256))
    times: list[float] = []

    def report(figures: dict[str, Any]) -> None:
        times.append(time.perf_counter())
        if len(times) == task["steps"] + 1:
            os.kill(os.getpid(), signal.SIGINT)

    trainer.run(report)
    steps = [later - earlier for earlier, later in itertools.pairwise(times)][: task["steps"]]
    begin = time.perf_counter()
    for step in range(1, task["steps"] + 1):
        trainer.sampler.batch(step)
    drawing = (time.perf_counter() - begin) / task["steps"]
    gradient = [mx.zeros_like(array) for array in named_arrays(trainer.model.trainable_parameters()).values()]
    mx.eval(gradient)
    return {
        "steps": steps,
        "draw": drawing,
        "bytes": sum(array.nbytes for array in gradient),
        "sum": _seconds(lambda: mx.eval(ranks.sum(gradient))),
        "gather": _seconds(lambda: ranks.gather(False)),
    }


def embed(ranks: Ranks, folder: Path, dataset: Path, task: dict[str, Any]) -> dict[str, Any]:
    """Return the sequences a second that go into a cache; loading the ESM-2 does not count."""
    embedder = EsmEmbedder.load(Path(task["embedder"]))
    embedder.embed(["ACDEFGHIKLMNPQRSTVWY"])
    known = describe_esm(Path(task["embedder"])).embedder_config()
    data, sha256 = Dataset.load(dataset), dataset_sha256(dataset)
    ranks.barrier()
    begin = time.perf_counter()
    filled = fill_cache(
        folder / "cache",
        data,
        sha256,
        known,
        lambda: embedder.embed,
        task["windows"],
        shard_size=256,
        ranks=ranks,
    )
    return {"rate": filled.cache.index.sequences / (time.perf_counter() - begin)}


def fold(ranks: Ranks, folder: Path, dataset: Path, task: dict[str, Any]) -> dict[str, Any]:
    """Return the peptides a second that are folded and written, and what one costs that another rank folded.

    Loading the model does not count.
    """
    rng = random.Random(0)
    sequences = ["".join(rng.choices(ALPHABET, k=rng.randint(10, 30))) for _ in range(task["peptides"])]
    predictor = Predictor.load("betafold-mini")
    settings = Settings(output=task["output"], batch_size=task["batch_size"])
    some = [Peptide(sequence) for sequence in sequences[: settings.window]]
    predictor.fold_many(some[: settings.batch_size])
    ranks.barrier()
    begin = time.perf_counter()
    if not ranks.main:
        help_main(predictor, settings, ranks)
        return {}
    records = (FastaRecord(f"p{n}", "", sequence, 2 * n + 1) for n, sequence in enumerate(sequences))
    done = fold_library(predictor, records, folder / "out", settings, Observer(), ranks)
    seconds = time.perf_counter() - begin
    names = [f"p{n}" for n in range(len(some))]
    sink = make_sink(settings.output, folder / "out", settings.format)
    work, window = Work(predictor, settings, sink), Task(names, names, some)
    predictions = work.fold(window)
    sent = pack_folded(Folded(predictions, work.render(window, predictions)))
    begin = time.perf_counter()
    sink.write(names, unpack_folded(sent).rendered or [])
    writing = (time.perf_counter() - begin) / len(some)
    return {"rate": done.records / seconds, "writing": writing, "bytes": len(sent) / len(some)}


def _seconds(work: Any) -> float:
    work()
    begin = time.perf_counter()
    for _ in range(REPEATS):
        work()
    return (time.perf_counter() - begin) / REPEATS


if __name__ == "__main__":
    assert betafold_mlx.__version__
    task = json.loads(sys.argv[1])
    with join() as ranks:
        measure = {"train": train, "embed": embed, "fold": fold}[task["what"]]
        found = measure(ranks, Path(task["folder"]), Path(task["dataset"]), task)
        if ranks.main:
            print(json.dumps(found))
