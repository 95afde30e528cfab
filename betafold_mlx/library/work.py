"""Fold and render a part of a library: the task that an executor gets."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import mlx.core as mx

from betafold_mlx._blas import blas_threads, has_openblas
from betafold_mlx._machine import usable_processors
from betafold_mlx.device import use_device
from betafold_mlx.errors import BetafoldError
from betafold_mlx.fold.prediction import Prediction
from betafold_mlx.fold.predictor import Predictor
from betafold_mlx.library.outputs import OUTPUTS
from betafold_mlx.library.records import Entry
from betafold_mlx.library.settings import LibrarySettings, identity
from betafold_mlx.peptide.sequence import Peptide

MAX_PROCESSES = 8
"""Started without being asked for: from there on the process that writes is the slowest."""


class FoldedRecord(NamedTuple):
    """What became of a record: a prediction, or what went wrong; and its own files, contents by suffixes."""

    entry: Entry
    result: Prediction | BetafoldError
    files: dict[str, bytes]


class FoldedPart(NamedTuple):
    """What became of a part: its records in their order, and its part of the container, where there is one."""

    records: list[FoldedRecord]
    container: bytes


@dataclass(frozen=True)
class Job:
    """What a worker has to know to fold any part of a library."""

    model: Path  # the model directory. On a machine without it a model of the same name is taken
    embedder: Path | None  # that of the frozen embedder, likewise
    templates: str | None  # as in `Predictor.load`
    settings: LibrarySettings  # how to fold and render
    identity: str  # JSON of `betafold_mlx.library.settings.identity`, which must be the same on every worker

    @classmethod
    def of(cls, predictor: Predictor, settings: LibrarySettings) -> Job:
        """Return the job of a predictor, which folds for it in this process."""
        embedder = None if predictor.embedder is None else predictor.embedder.esm.path.absolute()
        model, templates = predictor.loaded.path.absolute(), predictor.templates_from
        job = cls(model, embedder, templates, settings, _identity(predictor, settings))
        _loaded.clear()
        _loaded[job] = predictor
        return job


_loaded: dict[Job, Predictor] = {}  # the last one
_one_at_a_time = threading.Lock()  # a Dask worker may have several threads


def fold_entries(
    predictor: Predictor, entries: Sequence[Entry], settings: LibrarySettings
) -> list[FoldedRecord]:
    """Fold some records together, and render their files; those that cannot be folded are passed on."""
    good = [(entry, entry.checked) for entry in entries if isinstance(entry.checked, Peptide)]
    predictions = predictor.fold_many(
        [peptide for _, peptide in good],
        ids=[entry.id for entry, _ in good],
        samples=settings.samples,
        candidates=settings.candidates,
        seed=settings.seed,
        auto_disulfides=settings.auto_disulfides,
        details=settings.report is not None,
        atoms=settings.atoms,
        batch_size=settings.batch_size,
    )
    output, remaining = OUTPUTS[settings.output](settings), iter(predictions)
    records = []
    for entry in entries:
        if isinstance(entry.checked, BetafoldError):
            records.append(FoldedRecord(entry, entry.checked, {}))
            continue
        prediction = next(remaining)
        try:
            if settings.relax is not None:
                prediction = prediction.relax(settings.relax)
            files = output.files(prediction)
            records.append(FoldedRecord(entry, replace(prediction, details=None), files))
        except BetafoldError as error:
            records.append(FoldedRecord(entry, error, {}))
    return records


def fold_part(job: Job, entries: Sequence[Entry]) -> FoldedPart:
    """Fold and render a part of a library: the task that an executor is given."""
    with _one_at_a_time:
        use_device(json.loads(job.identity)["device"])
        records = fold_entries(_predictor(job), entries, job.settings)
    folded = [(r.entry.name, r.result) for r in records if isinstance(r.result, Prediction)]
    return FoldedPart(records, OUTPUTS[job.settings.output](job.settings).part(folded))


def _predictor(job: Job) -> Predictor:
    """Return what folds for a job, loaded once in a process."""
    if job not in _loaded:
        model = job.model if job.model.is_dir() else job.model.name
        embedder = job.embedder if job.embedder is not None and job.embedder.is_dir() else None
        predictor = Predictor.load(model, embedder, job.templates)
        if _identity(predictor, job.settings) != job.identity:
            raise BetafoldError(
                "a worker has another model, embedder, template library or version of betafold-mlx, MLX or Python: "
                "all must have the same"
            )
        _loaded.clear()
        _loaded[job] = predictor
    return _loaded[job]


def _identity(predictor: Predictor, settings: LibrarySettings) -> str:
    return json.dumps(identity(predictor, settings), sort_keys=True)


def automatic_processes() -> int:
    """Return how many processes keep this machine busy: one a processor, one in all where a GPU computes."""
    if mx.default_device().type != mx.DeviceType.cpu:
        return 1
    processors = blas_threads() if has_openblas() else usable_processors()
    return min(processors, MAX_PROCESSES)


def prepare_worker(job: Job) -> None:
    """Load the model of a job."""
    with contextlib.suppress(BetafoldError):  # the first task says what is wrong
        _predictor(job)
