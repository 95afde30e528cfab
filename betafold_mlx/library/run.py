"""Folds a library: reads a window ahead, folds it by length, and writes while the next one is folded."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx

from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import sweep_temporary
from betafold_mlx.library.appended import AppendedFile
from betafold_mlx.library.journal import Done, Journal
from betafold_mlx.library.lock import folder_lock
from betafold_mlx.library.records import Entry, Reader
from betafold_mlx.library.sinks import Sink, make_sink
from betafold_mlx.output import (
    ERRORS_COLUMNS,
    ERRORS_FILE,
    SUMMARY_COLUMNS,
    SUMMARY_FILE,
    csv_text,
    failure_row,
    prepare,
    summary_row,
)
from betafold_mlx.predict import Predictor
from betafold_mlx.prediction import Prediction, assign_together, versions
from betafold_mlx.sequence import FastaRecord, Peptide

BATCHES_A_WINDOW = 4
"""Records that are sorted by length together, in batches: enough to fill most of these."""

MODELS_TOGETHER = 512
"""Models of a batch, all its samples counted, that ``--batch-size auto`` allows: bounds the memory."""

_NO_MORE_WILL_DO = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE)
"""Failures of the file system that are none of one record: the run stops, to go on when they are mended."""


@dataclass(frozen=True)
class Settings:
    """How a library is folded and written.

    Attributes
    ----------
    samples, seed, auto_disulfides
        As in `betafold_mlx.predict.Predictor.fold`.
    output : str
        One of `betafold_mlx.output.OUTPUT_FORMATS`.
    format : str
        Of structure files: ``cif``, ``pdb`` or ``both``.
    batch_size : int
        Peptides folded together.
    restart : bool
        Drop an unfinished run of the folder.
    report : str or None
        The command line, where each peptide gets a report that shows it; for files only.
    """

    samples: int = 1
    seed: int = 0
    auto_disulfides: bool = False
    output: str = "files"
    format: str = "cif"
    batch_size: int = 64
    restart: bool = False
    report: str | None = None


class Outcome(NamedTuple):
    """What became of a record: a prediction and the files that it is in, or what went wrong."""

    entry: Entry
    result: Prediction | BetafoldError
    files: list[Path]


class Observer:
    """Is told how a run goes on, in the thread that writes; this one keeps it to itself."""

    def resumed(self, records: int) -> None:
        """Take note that so many records were done before."""

    def outcomes(self, outcomes: Sequence[Outcome]) -> None:
        """Take note of what became of the next records, in their order; it is written."""


def automatic_batch_size(samples: int) -> int:
    """Return how many peptides to fold together on the device in use, for so many models of each."""
    largest = 128 if mx.default_device() == mx.gpu else 64
    return max(1, min(largest, MODELS_TOGETHER // samples))


def fold_library(
    predictor: Predictor,
    records: Iterator[FastaRecord],
    directory: Path,
    settings: Settings,
    observer: Observer,
) -> Done:
    """Fold the records of a library into a folder, or go on with it where a killed process stopped.

    Memory does not grow with the library but for some 50 bytes a record, by which names are kept apart. Windows and
    batches depend on nothing but the place of a record in the library, so a run that was stopped and resumed ends in
    the same bytes as one that was not.

    Parameters
    ----------
    predictor : Predictor
        Folds.
    records : iterator of FastaRecord
        The library from its beginning.
    directory : Path
        Made where it does not exist.
    settings : Settings
        How.
    observer : Observer
        Is told.

    Returns
    -------
    Done
        How many records there were, and how many failed; none where the library is empty, and then nothing is written.

    Raises
    ------
    BetafoldError
        An unfinished run of something else in the folder, another process that writes there, a file system that
        refuses, or a damaged model.
    """
    reader = Reader(records)
    size = BATCHES_A_WINDOW * settings.batch_size
    ahead = reader.window(1)
    if not ahead:
        return Done()
    sink = make_sink(settings.output, directory, settings.format, settings.report)
    prepare(directory)
    with folder_lock(directory):
        journal = Journal(directory, _identity(predictor, settings))
        if settings.restart:
            journal.remove()
        done = journal.read()
        if done.records:
            ahead = _read_over(reader, done, size, directory)
            observer.resumed(done.records)
        writer = _Writer(directory, sink, journal, done, observer)
        with ThreadPoolExecutor(max_workers=1) as thread:  # all that touches the files, in its order
            writing = thread.submit(writer.restore)
            try:
                writing.result()  # what cannot be written is found before the work
                while window := ahead + reader.window(size - len(ahead)):
                    ahead = []
                    place = (reader.count, reader.sha256)
                    predictions = _fold(predictor, window, settings)
                    writing.result()
                    writing = thread.submit(writer.write, window, predictions, place)
                writing.result()
                return thread.submit(writer.finish).result()
            finally:
                thread.submit(writer.close)


def _identity(predictor: Predictor, settings: Settings) -> dict[str, Any]:
    """Return all that decides what the output will be, but for the library."""
    return {
        "output": settings.output,
        "format": settings.format,
        "report": settings.report is not None,
        "samples": settings.samples,
        "seed": settings.seed,
        "disulfides": "auto" if settings.auto_disulfides else "stated",
        "batch_size": settings.batch_size,
        "device": "gpu" if mx.default_device() == mx.gpu else "cpu",
        "model": predictor.loaded.name,
        "model_sha256": predictor.loaded.sha256,
        "embedder": predictor.describe_embedder(),
        "versions": versions(),
    }


def _read_over(reader: Reader, done: Done, size: int, directory: Path) -> list[Entry]:
    """Read what a run has done, and return what was read of the rest: one entry, or none at the end."""
    reader.skip(done.records - reader.count)
    same = (reader.count, reader.sha256) == (done.records, done.sha256)
    ahead = reader.window(1)
    if not same or (ahead and done.records % size):  # the run saw the end of the library there
        raise BetafoldError(
            f"{directory} holds an unfinished run of another library: give that one again, choose another folder "
            "(-o), or drop that run with --restart"
        )
    return ahead


def _fold(predictor: Predictor, window: Sequence[Entry], settings: Settings) -> list[Prediction]:
    """Fold what can be folded of a window, batches of one padded length together; return it in its order."""
    peptides = [(entry.id, entry.checked) for entry in window if isinstance(entry.checked, Peptide)]
    return predictor.fold_many(
        [peptide for _, peptide in peptides],
        ids=[identifier for identifier, _ in peptides],
        samples=settings.samples,
        seed=settings.seed,
        auto_disulfides=settings.auto_disulfides,
        details=settings.report is not None,
        batch_size=settings.batch_size,
    )


class _Writer:
    """Writes windows in their order, and notes how far it is. One thread at a time uses it."""

    def __init__(self, directory: Path, sink: Sink, journal: Journal, done: Done, observer: Observer) -> None:
        self._directory, self._sink, self._journal, self._observer = directory, sink, journal, observer
        self._summary = AppendedFile(directory / SUMMARY_FILE)
        self._errors = AppendedFile(directory / ERRORS_FILE)
        self._done = done
        self._place = (done.records, done.sha256)
        self._failed, self._unmet = done.failed, done.unmet
        self._uncommitted = 0

    def restore(self) -> None:
        """Cut the files back to what is done."""
        done = self._done
        sweep_temporary(self._directory)
        self._sink.restore(done.lengths.get("predictions", 0))
        self._summary.restore(done.lengths.get(SUMMARY_FILE, 0))
        self._errors.restore(done.lengths.get(ERRORS_FILE, 0))

    def write(
        self, window: Sequence[Entry], predictions: Sequence[Prediction], place: tuple[int, str]
    ) -> None:
        """Write a window.

        Parameters
        ----------
        window : sequence of Entry
            Its records.
        predictions : sequence of Prediction
            Of those that could be folded, in their order.
        place : (int, str)
            Number and fingerprint of all records up to its end.
        """
        assign_together(predictions)
        remaining = iter(predictions)
        outcomes = [self._outcome(entry, remaining) for entry in window]
        rows, errors = [], []
        for entry, result, files in outcomes:
            if isinstance(result, BetafoldError):
                rows.append(failure_row(entry.id, entry.text, str(result)))
                errors.append((entry.id, entry.line, str(result)))
            else:
                names = [path.relative_to(self._directory).as_posix() for path in files]
                rows.append(summary_row(result, names))
                self._unmet += not result.constraints_met
        self._failed += len(errors)
        _add(self._summary, SUMMARY_COLUMNS, rows)
        _add(self._errors, ERRORS_COLUMNS, errors)
        self._place = place
        self._uncommitted += 1
        if self._uncommitted == self._sink.windows:
            self._commit()
        self._observer.outcomes(outcomes)

    def finish(self) -> Done:
        """Commit the rest, and forget that the run was unfinished."""
        if self._uncommitted:
            self._commit()
        self._sink.finish()
        self._journal.remove()
        return self._done

    def close(self) -> None:
        """Let go of all files."""
        for file in (self._sink, self._summary, self._errors):
            file.close()

    def _outcome(self, entry: Entry, predictions: Iterator[Prediction]) -> Outcome:
        if isinstance(entry.checked, BetafoldError):
            return Outcome(entry, entry.checked, [])
        prediction = next(predictions)
        try:
            return Outcome(entry, prediction, self._sink.write(entry.name, prediction))
        except BetafoldError as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and cause.errno in _NO_MORE_WILL_DO:
                raise
            return Outcome(entry, error, [])

    def _commit(self) -> None:
        records, sha256 = self._place
        lengths = {
            "predictions": self._sink.commit(),
            SUMMARY_FILE: self._summary.length,
            ERRORS_FILE: self._errors.length,
        }
        self._done = Done(records, sha256, self._failed, self._unmet, lengths)
        self._journal.write(self._done)
        self._uncommitted = 0


def _add(table: AppendedFile, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    if rows:
        table.append(csv_text(rows if table.length else [columns, *rows]))
