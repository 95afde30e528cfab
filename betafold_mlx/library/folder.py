"""The folder of a library run: its results, and its state while it is unfinished.

While a run is unfinished its folder holds ``.fold/``: ``run.json`` says which run it is, ``parts/000000.json`` which
records part 0 had, with their rows of the tables, and ``jsonl/`` or ``parquet/`` hold the parts of a container. A part
is done when its JSON file is there, which is written last; a finished run leaves its results alone.
"""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import atomic_path, sweep_temporary, to_json, write_text
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
from betafold_mlx.library.outputs import OUTPUTS, join_texts
from betafold_mlx.library.records import Entry, fingerprint
from betafold_mlx.library.settings import LibrarySettings
from betafold_mlx.library.work import FoldedPart, FoldedRecord

STATE_FOLDER = ".fold"  # no peptide's file begins with a dot
_TABLES = {SUMMARY_FILE: SUMMARY_COLUMNS, ERRORS_FILE: ERRORS_COLUMNS}

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE)
"""Failures of the file system that are not of one record: the run stops, to go on when they are mended."""

_OTHER = {
    "output": "another --output-format",
    "disulfides": "another --disulfide",
    "device": "another device",
    "model_sha256": "other weights of the model",
    "versions": "other versions of betafold-mlx, MLX or Python",
}
"""Words for a change of what identifies a run; of the others the option has its name."""


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


class RunFolder:
    """The output of a run, and its state."""

    def __init__(self, directory: Path, settings: LibrarySettings) -> None:
        self._directory = directory
        self._state = directory / STATE_FOLDER
        self._output = OUTPUTS[settings.output](settings)
        self._parts = self._state / settings.output  # of the container

    def begin(self, run: dict[str, Any], restart: bool) -> None:
        """Check that an unfinished run here is this one, or begin a new one."""
        path = self._state / "run.json"
        run = json.loads(json.dumps(run))
        if path.exists() and not restart and self._numbers():
            self._check(path, run)
            for folder in (self._directory, self._state, self._state / "parts", self._parts):
                if folder.exists():
                    sweep_temporary(folder)
            return
        with self._refusal():
            path.unlink(missing_ok=True)  # first: parts without it belong to nothing
            for name in ("parts", *OUTPUTS):
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
            then = before.get(key)
            if then != now:
                words = _OTHER.get(key, f"another --{key.replace('_', '-')}")
                values = "" if isinstance(now, dict) else f" ({then}, now {now})"
                raise self._another_run(f"with {words}{values}: give its command again")

    def _another_run(self, what: str) -> BetafoldError:
        return BetafoldError(
            f"{self._directory} holds an unfinished run {what}, choose another folder (-o), "
            "or drop that run with --restart"
        )

    def skip_done(self, parts: Iterator[list[Entry]]) -> Totals:
        """Read over the parts that are done, and return their totals."""
        totals = Totals()
        for number in self._numbers():
            state = self._read(number)
            if state.sha256 != fingerprint(next(parts, [])):
                raise self._another_run("of another library: give that one again")
            totals += state.totals
        return totals

    def _read(self, number: int) -> _PartState:
        """Return the state of a part that is done; its part of the container must be there."""
        path = self._part(number)
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            state = _PartState(**document | {"totals": Totals(**document["totals"])})
            part = self._parts / self._name(number)
            if not self._parts.exists():  # the run was killed when it was nearly finished
                part = self._directory / self._output.holder(part.name)
            if state.size and part.stat().st_size != state.size:
                raise ValueError("its part of the container is another one")
            return state
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BetafoldError(
                f"cannot read {path} of the unfinished run: start anew with --restart"
            ) from error

    def write(self, part: FoldedPart) -> tuple[Totals, list[WrittenRecord]]:
        """Write what became of the next part, and note that it is done."""
        number = len(self._numbers())
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
            _write_bytes(self._parts / self._name(number), part.container)
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
        if self._output.container:
            holder = self._output.holder(self._name(number))
            return WrittenRecord(entry, result, [self._directory / holder])
        files = [self._directory / (entry.name + suffix) for suffix in contents]
        try:
            for path, content in zip(files, contents.values(), strict=True):
                _write_bytes(path, content)
        except BetafoldError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in _NO_ROOM:
                raise
            return WrittenRecord(entry, error, [])
        return WrittenRecord(entry, result, files)

    def finish(self) -> None:
        """Put the results in their places, and forget the run."""
        numbers = self._numbers()
        with self._refusal():
            for name, columns in _TABLES.items():
                texts = (self._read(number).tables[name] for number in numbers)
                join_texts(self._directory / name, texts, csv_text([columns]))
            container = self._directory / self._output.container
            if any(self._read(number).size for number in numbers):
                self._output.finish(self._parts, container)
            elif self._output.container:
                shutil.rmtree(container) if container.is_dir() else container.unlink(missing_ok=True)
            (self._state / "run.json").unlink()  # from here on it is finished
            shutil.rmtree(self._state)

    def _numbers(self) -> range:
        """Return the numbers of the parts that are done."""
        return range(len(list((self._state / "parts").glob("[0-9]*.json"))))

    def _part(self, number: int) -> Path:
        return self._state / "parts" / f"{number:06}.json"

    def _name(self, number: int) -> str:
        """Return the file name of a part of the container."""
        return f"part-{number:06}.{self._parts.name}"

    @contextlib.contextmanager
    def _refusal(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise BetafoldError(
                f"cannot write {error.filename2 or error.filename or self._directory}: {error.strerror or error}"
            ) from error


def _write_bytes(path: Path, content: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
