"""Writes what becomes of the records of a library, and notes how far it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import sweep_temporary
from betafold_mlx.fold.output import (
    ERRORS_COLUMNS,
    ERRORS_FILE,
    SUMMARY_COLUMNS,
    SUMMARY_FILE,
    csv_text,
    failure_row,
    summary_row,
)
from betafold_mlx.fold.prediction import Prediction
from betafold_mlx.library.appended import AppendedFile
from betafold_mlx.library.journal import Done, Journal
from betafold_mlx.library.records import Entry
from betafold_mlx.library.sinks import Sink
from betafold_mlx.library.work import Folded, Task, Work
from betafold_mlx.peptide.sequence import Peptide


class Window(NamedTuple):
    """Records that are read, folded and written together.

    Attributes
    ----------
    entries : list of Entry
        Those that cannot be folded too.
    place : (int, str)
        Number and fingerprint of all records up to its end.
    """

    entries: list[Entry]
    place: tuple[int, str]

    @property
    def task(self) -> Task:
        """What is to be folded of it."""
        found = [(e.name, e.id, e.checked) for e in self.entries if isinstance(e.checked, Peptide)]
        return Task([name for name, _, _ in found], [id for _, id, _ in found], [p for *_, p in found])


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


class Writer:
    """Writes windows in their order. One thread at a time uses it.

    Parameters
    ----------
    directory : Path
        Where.
    sink : Sink
        Takes the predictions.
    work : Work
        Renders what another rank has not rendered.
    journal : Journal
        Where it is noted how far the run is.
    done : Done
        How far it was.
    observer : Observer
        Is told.
    """

    def __init__(
        self, directory: Path, sink: Sink, work: Work, journal: Journal, done: Done, observer: Observer
    ) -> None:
        self._directory, self._sink, self._work = directory, sink, work
        self._journal, self._observer = journal, observer
        self._summary = AppendedFile(directory / SUMMARY_FILE)
        self._errors = AppendedFile(directory / ERRORS_FILE)
        self.done = done
        self._place = (done.records, done.sha256)
        self._failed, self._unmet = done.failed, done.unmet
        self._uncommitted = 0

    def restore(self) -> None:
        """Cut the files back to what is done."""
        sweep_temporary(self._directory)
        self._sink.restore(self.done.lengths.get("predictions", 0))
        self._summary.restore(self.done.lengths.get(SUMMARY_FILE, 0))
        self._errors.restore(self.done.lengths.get(ERRORS_FILE, 0))

    def write(self, window: Window, folded: Folded) -> None:
        """Write a window and what came out of it."""
        outcomes = self._outcomes(window, folded)
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
        self._place = window.place
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
        return self.done

    def close(self) -> None:
        """Let go of all files."""
        for file in (self._sink, self._summary, self._errors):
            file.close()

    def _outcomes(self, window: Window, folded: Folded) -> list[Outcome]:
        task, (predictions, rendered) = window.task, folded
        if rendered is None:
            rendered = self._work.render(task, predictions)
        written = zip(predictions, self._sink.write(task.names, rendered), strict=True)
        outcomes = []
        for entry in window.entries:
            if isinstance(entry.checked, BetafoldError):
                outcomes.append(Outcome(entry, entry.checked, []))
                continue
            prediction, files = next(written)
            if isinstance(files, BetafoldError):
                outcomes.append(Outcome(entry, files, []))
            else:
                outcomes.append(Outcome(entry, prediction, files))
        return outcomes

    def _commit(self) -> None:
        records, sha256 = self._place
        lengths = {
            "predictions": self._sink.commit(),
            SUMMARY_FILE: self._summary.length,
            ERRORS_FILE: self._errors.length,
        }
        self.done = Done(records, sha256, self._failed, self._unmet, lengths)
        self._journal.write(self.done)
        self._uncommitted = 0


def _add(table: AppendedFile, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    if rows:
        table.append(csv_text(rows if table.length else [columns, *rows]))
