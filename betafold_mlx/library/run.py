"""Fold a library into a folder, in parts that are kept when the run is stopped.

While a run is unfinished its folder holds ``.fold/``: ``run.json`` says which run it is, ``parts/000000.json`` which
records part 0 had, with their rows of the tables, and ``jsonl/`` or ``parquet/`` hold the parts of a container. A part
is done when its JSON file is there, which is written last; a finished run leaves its results alone.
"""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from betafold_mlx import executors
from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import atomic_path, locked, sweep_temporary, to_json, write_text
from betafold_mlx.fold.output import (
    ERRORS_COLUMNS,
    ERRORS_FILE,
    SUMMARY_COLUMNS,
    SUMMARY_FILE,
    csv_text,
    failure_row,
    prepare,
    summary_row,
)
from betafold_mlx.fold.prediction import Prediction
from betafold_mlx.fold.predictor import Predictor
from betafold_mlx.library.records import Entry, fingerprint, in_parts, read_entries
from betafold_mlx.library.rendering import CONTAINERS
from betafold_mlx.library.settings import LibrarySettings, identity
from betafold_mlx.library.work import (
    FoldedPart,
    FoldedRecord,
    Job,
    automatic_processes,
    fold_part,
    prepare_worker,
)
from betafold_mlx.peptide.fasta import FastaRecord

STATE_FOLDER = ".fold"  # no peptide's file begins with a dot
_RUN_FILE = "run.json"
_TABLES = {SUMMARY_FILE: SUMMARY_COLUMNS, ERRORS_FILE: ERRORS_COLUMNS}

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE)
"""Failures of the file system that are not of one record: the run stops, to go on when they are mended."""

_OTHER = {
    "output": "another --output-format",
    "format": "another --format",
    "report": "another --report",
    "samples": "another --samples",
    "candidates": "another --candidates",
    "templates": "another --templates",
    "seed": "another --seed",
    "disulfides": "another --disulfide",
    "batch_size": "another --batch-size",
    "device": "another device",
    "model": "another --model",
    "model_sha256": "other weights of the model",
    "embedder": "another --embedder",
    "versions": "other versions of betafold-mlx, MLX or Python",
}


@dataclass(frozen=True)
class Totals:
    """Counts of a run or of a part: records, those that failed, and those without a stated bond."""

    records: int = 0
    failed: int = 0
    unmet: int = 0

    def __add__(self, other: Totals) -> Totals:
        return Totals(self.records + other.records, self.failed + other.failed, self.unmet + other.unmet)


@dataclass(frozen=True)
class _PartState:
    """What is kept of a part that is done."""

    totals: Totals
    sha256: str
    size: int
    tables: dict[str, str]


class WrittenRecord(NamedTuple):
    """What became of a record: a prediction and the files that it is in, or what went wrong."""

    entry: Entry
    result: Prediction | BetafoldError
    files: list[Path]


def fold_library(
    predictor: Predictor,
    records: Iterable[FastaRecord],
    directory: Path,
    settings: LibrarySettings,
    *,
    processes: int | None = None,
    scheduler: str | None = None,
    restart: bool = False,
    resumed: Callable[[int], None] = lambda records: None,
    written: Callable[[Sequence[WrittenRecord]], None] = lambda records: None,
) -> Totals:
    """Fold the records of a library into a folder, or go on where a killed process stopped.

    Parts and batches depend on nothing but the place of a record in the library, so the files are the same bytes
    however often a run was stopped, and on any number of workers. Memory does not grow with the library.

    Parameters
    ----------
    predictor : Predictor
        Folds; worker processes load its directories.
    records : iterable of FastaRecord
        The library from its beginning.
    directory : Path
        Made where it does not exist.
    settings : LibrarySettings
        How.
    processes : int, optional
        Worker processes; by default as many as keep this machine busy, for more than one part.
    scheduler : str, optional
        Address of a Dask scheduler, whose workers fold instead.
    restart : bool
        Drop an unfinished run of the folder.
    resumed : callable
        Called with the number of records that were done before.
    written : callable
        Called with the results of each part, in the order of the library.

    Returns
    -------
    Totals
        No records where the library is empty, and then nothing is written.

    Raises
    ------
    BetafoldError
        An unfinished run of something else in the folder, another process that writes there, a file system that
        refuses, a damaged model, or workers that are lost.
    """
    parts = in_parts(read_entries(records), settings.part)
    first = next(parts, None)
    if first is None:
        return Totals()
    if settings.output == "parquet":
        import betafold_mlx.library.parquet  # noqa: F401 - says how to get pyarrow, before the work
    prepare(directory)
    state = directory / STATE_FOLDER
    busy = f"another fold writes into {directory}: wait for it, or choose another folder (-o)"
    with locked(state / "lock", busy):
        folder = _Folder(directory, settings)
        folder.begin(identity(predictor, settings), restart)
        numbered = enumerate(chain([first], parts))
        totals, remaining = folder.skip_done(numbered)
        if totals.records:
            resumed(totals.records)
        totals += _fold_remaining(predictor, settings, folder, remaining, processes, scheduler, written)
        folder.finish()
    return totals


def _fold_remaining(
    predictor: Predictor,
    settings: LibrarySettings,
    folder: _Folder,
    remaining: Iterator[tuple[int, list[Entry]]],
    processes: int | None,
    scheduler: str | None,
    written: Callable[[Sequence[WrittenRecord]], None],
) -> Totals:
    """Fold and write the parts that are not done."""
    soon = list(islice(remaining, 2))  # one part needs no workers
    if not soon:
        return Totals()
    first = soon[0][0]
    left = (part for _, part in chain(soon, remaining))
    job = Job.of(predictor, settings)
    number = processes or automatic_processes()
    opened: executors.Opened
    if scheduler is not None:
        opened = executors.cluster(scheduler)
    elif number > 1 and len(soon) > 1:
        opened = executors.processes(number, prepare_worker, job)
    else:
        opened = executors.inline()
    totals = Totals()

    def submit(part: list[Entry]) -> Future[FoldedPart]:
        return executor.submit(fold_part, job, part)

    with opened as (executor, ahead):
        for place, part in enumerate(executors.in_order(submit, left, ahead), start=first):
            found, records = folder.write(place, part)
            totals += found
            written(records)
    return totals


class _Folder:
    """The output of a run, and its state."""

    def __init__(self, directory: Path, settings: LibrarySettings) -> None:
        self._directory = directory
        self._state = directory / STATE_FOLDER
        self._output = settings.output

    def begin(self, run: dict[str, Any], restart: bool) -> None:
        """Check that an unfinished run here is this one, or begin a new one."""
        path = self._state / _RUN_FILE
        run = json.loads(json.dumps(run))
        if path.exists() and not restart and self._numbers():
            self._check(path, run)
            sweep_temporary(self._directory)
            sweep_temporary(self._state)
            return
        with _refusal(self._directory):
            path.unlink(missing_ok=True)  # first: parts without it belong to nothing
            for name in ("parts", *CONTAINERS):
                shutil.rmtree(self._state / name, ignore_errors=True)
            for name in _TABLES:
                (self._directory / name).unlink(missing_ok=True)
        sweep_temporary(self._directory)
        write_text(path, to_json(run))

    def _check(self, path: Path, run: dict[str, Any]) -> None:
        try:
            before = dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise BetafoldError(
                f"cannot read {path}, the state of an unfinished run: start anew with --restart"
            ) from error
        for key, now in run.items():
            then, words = before.get(key), _OTHER[key]
            if then != now:
                values = "" if isinstance(now, dict) else f" ({then}, now {now})"
                raise self._another_run(f"with {words}{values}: give its command again")

    def _another_run(self, what: str) -> BetafoldError:
        return BetafoldError(
            f"{self._directory} holds an unfinished run {what}, choose another folder (-o), "
            "or drop that run with --restart"
        )

    def skip_done(
        self, parts: Iterator[tuple[int, list[Entry]]]
    ) -> tuple[Totals, Iterator[tuple[int, list[Entry]]]]:
        """Read over the parts that are done: return their totals, and the parts that are left."""
        totals = Totals()
        for number in self._numbers():
            state = self._read(number)
            _, entries = next(parts, (number, []))
            if state.sha256 != fingerprint(entries):
                raise self._another_run("of another library: give that one again")
            totals += state.totals
        return totals, parts

    def _read(self, number: int) -> _PartState:
        path = self._part(number)
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            state = _PartState(
                Totals(**document["totals"]), document["sha256"], document["size"], document["tables"]
            )
            if state.size and not self._has_container_part(number, state.size):
                raise ValueError("its part of the container is gone")
            return state
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BetafoldError(
                f"cannot read {path} of the unfinished run: start anew with --restart"
            ) from error

    def write(self, number: int, part: FoldedPart) -> tuple[Totals, list[WrittenRecord]]:
        """Write what became of a part, and note that it is done."""
        records = [self._write_files(record, number) for record in part.records]
        summary, errors, unmet = [], [], 0
        for entry, result, files in records:
            if isinstance(result, BetafoldError):
                summary.append(failure_row(entry.id, entry.text, str(result)))
                errors.append((entry.id, entry.line, str(result)))
            else:
                names = [path.relative_to(self._directory).as_posix() for path in files]
                summary.append(summary_row(result, names))
                unmet += not result.constraints_met
        if part.container:
            with atomic_path(self._container_part(number)) as temporary:
                temporary.write_bytes(part.container)
        totals = Totals(len(records), len(errors), unmet)
        tables = {SUMMARY_FILE: csv_text(summary), ERRORS_FILE: csv_text(errors)}
        sha256 = fingerprint(record.entry for record in records)
        state = _PartState(totals, sha256, len(part.container), tables)
        write_text(self._part(number), to_json(asdict(state)))
        return totals, records

    def _write_files(self, record: FoldedRecord, number: int) -> WrittenRecord:
        entry, result, contents = record
        if isinstance(result, BetafoldError):
            return WrittenRecord(entry, result, [])
        if self._output == "parquet":
            return WrittenRecord(entry, result, [self._container / self._container_part(number).name])
        if self._output == "jsonl":
            return WrittenRecord(entry, result, [self._container])
        files = []
        try:
            for suffix, content in contents.items():
                files.append(self._directory / (entry.name + suffix))
                with atomic_path(files[-1]) as temporary:
                    temporary.write_bytes(content)
        except BetafoldError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in _NO_ROOM:
                raise
            return WrittenRecord(entry, error, [])
        return WrittenRecord(entry, result, files)

    def finish(self) -> None:
        """Put the results in their places, and forget the run."""
        numbers = self._numbers()
        with _refusal(self._directory):
            for name, columns in _TABLES.items():
                texts = (self._read(number).tables[name] for number in numbers)
                self._join(name, csv_text([columns]), texts)
            if self._output == "jsonl":
                self._join(CONTAINERS["jsonl"], "", map(self._text, numbers))
            elif self._output == "parquet":
                self._put_parquet()
            (self._state / _RUN_FILE).unlink()  # from here on it is finished
            shutil.rmtree(self._state)

    def _join(self, name: str, head: str, texts: Iterable[str]) -> None:
        """Write a file from the texts of the parts; where they are all empty there is none."""
        path = self._directory / name
        begun = False
        with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
            for text in filter(None, texts):
                file.write(text if begun else head + text)
                begun = True
        if not begun:
            path.unlink()

    def _text(self, number: int) -> str:
        part = self._container_part(number)
        return part.read_text(encoding="utf-8") if part.exists() else ""

    def _put_parquet(self) -> None:
        """Give the folder of parts its name; it has it already where the run was killed thereafter."""
        new = self._container_part(0).parent
        if new.exists() or not any(self._read(number).size for number in self._numbers()):
            shutil.rmtree(self._container, ignore_errors=True)
        if new.exists():
            new.replace(self._container)

    def _numbers(self) -> range:
        """Return the numbers of the parts that are done."""
        return range(len(list((self._state / "parts").glob("*.json"))))

    def _container_part(self, number: int) -> Path:
        return self._state / self._output / f"part-{number:06}.{self._output}"

    def _has_container_part(self, number: int, size: int) -> bool:
        part = self._container_part(number)
        if self._output == "parquet" and not part.parent.exists():
            part = self._container / part.name  # the run was killed when it was nearly finished
        return part.exists() and part.stat().st_size == size

    def _part(self, number: int) -> Path:
        return self._state / "parts" / f"{number:06}.json"

    @property
    def _container(self) -> Path:
        return self._directory / CONTAINERS[self._output]


@contextlib.contextmanager
def _refusal(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BetafoldError(
            f"cannot write {error.filename2 or error.filename or directory}: {error.strerror or error}"
        ) from error
