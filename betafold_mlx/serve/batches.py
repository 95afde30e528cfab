"""FASTA files that are folded in the background, a few records at a time, into a zip archive."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import secrets
import tempfile
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, Literal

from betafold_mlx.errors import BetafoldError
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
from betafold_mlx.fold.predictor import Predictor
from betafold_mlx.library.names import Names
from betafold_mlx.peptide.sequence import FastaRecord, Peptide
from betafold_mlx.serve.limits import Limits
from betafold_mlx.serve.problems import FAULT, RequestError
from betafold_mlx.serve.requests import BatchRequest
from betafold_mlx.serve.worker import Worker

State = Literal["running", "done", "stopped", "failed"]

_MODELS_AT_A_TIME = 16
"""Folded in one go, all samples counted: what a single fold may have to wait for."""

_RETRY_SECONDS = 30
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same predictions, the same bytes
_BLOCK = 1 << 16


class Batch:
    """A FASTA file that is folded.

    Its archive is a file without a name: nothing of it is left when the process ends, however it ends.

    Attributes
    ----------
    request : BatchRequest
        What was asked.
    state : str
        ``running``, ``done``, ``stopped`` or ``failed``.
    rows : list of dict
        What became of the records so far, in their order.
    message : str
        Why it failed.
    """

    def __init__(self, request: BatchRequest) -> None:
        self.request = request
        self.state: State = "running"
        self.rows: list[dict[str, Any]] = []
        self.message = ""
        self._file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._archive = zipfile.ZipFile(self._file, "w", zipfile.ZIP_DEFLATED)
        self._names = Names()
        self._summary: list[Sequence[object]] = [SUMMARY_COLUMNS]
        self._errors: list[Sequence[object]] = [ERRORS_COLUMNS]

    async def run(self, worker: Worker) -> None:
        """Fold all records; stop between two lots of them where `state` says so."""
        records = self.request.records
        lot = max(1, _MODELS_AT_A_TIME // self.request.samples)
        try:
            for first in range(0, len(records), lot):
                if self.state != "running":
                    return
                some = records[first : first + lot]
                self.rows += await worker.run(functools.partial(self._fold, some))
            await worker.run(lambda predictor: self._finish())
            self.state = "done"
        except (BetafoldError, OSError) as error:
            self.state, self.message = "failed", str(error)
        finally:
            if self.state == "running":
                self.state, self.message = "failed", FAULT

    def stop(self) -> None:
        """Fold no more of it."""
        if self.state == "running":
            self.state = "stopped"

    def close(self) -> None:
        """Let go of the archive; nobody may be writing to it."""
        with contextlib.suppress(OSError):
            self._archive.close()
        self._file.close()

    @property
    def size(self) -> int:
        """Bytes of the archive."""
        return os.fstat(self._file.fileno()).st_size

    def archive(self) -> Iterator[bytes]:
        """Yield the bytes of the archive; readers do not disturb one another, nor does `close` disturb them."""
        descriptor = os.dup(self._file.fileno())
        try:
            offset = 0
            while block := os.pread(descriptor, _BLOCK, offset):
                offset += len(block)
                yield block
        finally:
            os.close(descriptor)

    def document(self, key: str, after: int) -> dict[str, Any]:
        """Return how it is going, with the rows of the records after the first `after`."""
        rows = self.rows[after:]
        failed = sum(row["status"] == "failed" for row in self.rows)
        return {
            "batch": key,
            "state": self.state,
            "message": self.message,
            "total": len(self.request.records),
            "done": len(self.rows),
            "failed": failed,
            "rows": rows,
            "zip": f"/api/v1/batches/{key}/results.zip" if self.state == "done" else None,
        }

    def _fold(self, records: Sequence[FastaRecord], predictor: Predictor) -> list[dict[str, Any]]:
        """Fold some records, add them to the archive, and return their rows. In the worker's thread."""
        checked = [_checked(record) for record in records]
        good = [
            (record.id or peptide.sequence, peptide)
            for record, peptide in zip(records, checked, strict=True)
            if isinstance(peptide, Peptide)
        ]
        predictions = predictor.fold_many(
            [peptide for _, peptide in good],
            ids=[name for name, _ in good],
            samples=self.request.samples,
            seed=self.request.seed,
            auto_disulfides=self.request.auto_disulfides,
        )
        remaining = iter(predictions)
        rows = []
        for record, result in zip(records, checked, strict=True):
            if isinstance(result, BetafoldError):
                rows.append(self._failure(record, str(result)))
            else:
                rows.append(self._success(next(remaining)))
        return rows

    def _success(self, prediction: Prediction) -> dict[str, Any]:
        name = self._names.claim(prediction.id)
        files = []
        for kind in (*self.request.include, "json"):
            files.append(f"{name}.{kind}")
            self._add(files[-1], prediction.text(kind))
        self._summary.append(summary_row(prediction, files))
        return {
            "id": prediction.id,
            "status": "ok" if prediction.constraints_met else "constraints not met",
            "message": "; ".join(prediction.warnings),
            "sequence": prediction.sequence,
            "cyclic": prediction.peptide.cyclic,
            "disulfides": [list(pair) for pair in prediction.peptide.disulfides],
            "d_amino_acids": prediction.peptide.d_amino_acids,
            "n_cap": prediction.peptide.n_cap,
            "c_cap": prediction.peptide.c_cap,
            "mean_plddt": round(float(prediction.plddt[0].mean()), 2),
            "secondary_structure": prediction.secondary_structure[0],
        }

    def _failure(self, record: FastaRecord, message: str) -> dict[str, Any]:
        row = failure_row(record.id, record.text, message)
        self._summary.append(row)
        self._errors.append((record.id, record.line, message))
        return {"id": record.id, "status": "failed", "message": message, "sequence": row[1]}

    def _finish(self) -> None:
        self._add(SUMMARY_FILE, csv_text(self._summary))
        if len(self._errors) > 1:
            self._add(ERRORS_FILE, csv_text(self._errors))
        self._archive.close()
        self._file.flush()

    def _add(self, name: str, text: str) -> None:
        self._archive.writestr(zipfile.ZipInfo(name, _EPOCH), text, zipfile.ZIP_DEFLATED)


def _checked(record: FastaRecord) -> Peptide | BetafoldError:
    try:
        return record.peptide()
    except BetafoldError as error:
        return error


class Batches:
    """The batches of a server under keys that cannot be guessed, a few at a time.

    Parameters
    ----------
    worker : Worker
        Folds.
    limits : Limits
        How many.
    """

    def __init__(self, worker: Worker, limits: Limits) -> None:
        self._worker, self._limits = worker, limits
        self._batches: OrderedDict[str, Batch] = OrderedDict()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def add(self, request: BatchRequest) -> tuple[str, Batch]:
        """Start a batch, forget the oldest that no longer runs, and return its key.

        Raises
        ------
        RequestError
            Too many run already, or there is no room for the archive (503).
        """
        if len(self._tasks) >= self._limits.batches_running:
            raise RequestError(
                503, f"{len(self._tasks)} batches are running: try again later", retry_after=_RETRY_SECONDS
            )
        while len(self._batches) >= self._limits.batches:
            oldest = next(key for key in self._batches if key not in self._tasks)
            self._batches.pop(oldest).close()
        try:
            key, batch = secrets.token_urlsafe(16), Batch(request)
        except OSError as error:
            message = f"no archive can be made here: {error.strerror or error}"
            raise RequestError(503, message, retry_after=_RETRY_SECONDS) from error
        self._batches[key] = batch
        task = asyncio.get_running_loop().create_task(batch.run(self._worker))
        self._tasks[key] = task
        task.add_done_callback(lambda _: self._tasks.pop(key))
        return key, batch

    def get(self, key: str) -> Batch:
        """Return a batch.

        Raises
        ------
        RequestError
            It is not kept, or no longer (404).
        """
        if key not in self._batches:
            raise RequestError(404, "this batch is no longer kept: fold the file again")
        return self._batches[key]

    async def close(self) -> int:
        """Stop what runs, after the records that are folded, and return how many batches that were."""
        unfinished = [batch for batch in self._batches.values() if batch.state == "running"]
        for batch in unfinished:
            batch.stop()
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()))
        for batch in self._batches.values():
            batch.close()
        return len(unfinished)
