"""FASTA batches: folded in the background, a few records at a time, into a zip archive."""

from __future__ import annotations

import asyncio
import functools
import secrets
import tempfile
import zipfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from fastapi import HTTPException

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
from betafold_mlx.fold.predictor import Predictor
from betafold_mlx.library.records import Entry, in_parts, read_entries
from betafold_mlx.library.settings import LibrarySettings
from betafold_mlx.library.work import FoldedRecord, fold_entries
from betafold_mlx.peptide.fasta import FastaRecord, parse_fasta
from betafold_mlx.serve.documents import BatchRequest, BatchStatus
from betafold_mlx.serve.error_responses import INTERNAL_ERROR, invalid_field
from betafold_mlx.serve.server import ServerLimits
from betafold_mlx.serve.worker import Worker

_MODELS_AT_A_TIME = 16
"""Models folded in one go: what a single fold may have to wait for."""

_RETRY_SECONDS = 30
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same predictions, the same bytes


def read_records(fasta: str, max_records: int) -> list[FastaRecord]:
    """Return the records of a FASTA text, not yet checked.

    Raises
    ------
    RequestValidationError
        No FASTA, no record, or more than `max_records`.
    """
    try:
        records = list(islice(parse_fasta(fasta.splitlines()), max_records + 1))
    except BetafoldError as error:
        raise invalid_field("fasta", str(error)) from error
    if not records:
        raise invalid_field("fasta", "there are no records: paste FASTA, or choose a file")
    if len(records) > max_records:
        raise invalid_field(
            "fasta", f"more than {max_records:,} records: fold this file with betafold-mlx fold"
        )
    return records


class FastaBatch:
    """A FASTA file that is folded into an archive of the files that `betafold-mlx fold` writes."""

    def __init__(self, asked: BatchRequest, records: Sequence[FastaRecord], path: Path) -> None:
        self.path = path
        self.state: Literal["running", "done", "stopped", "failed"] = "running"
        self._records = records
        self._suffixes = {".json", *(f".{kind}" for kind in asked.include)}
        self._settings = LibrarySettings(
            samples=asked.samples, seed=asked.seed, auto_disulfides=asked.auto_disulfides, format="both"
        )
        self._message = ""
        self._rows: list[dict[str, Any]] = []
        self._summary: list[Sequence[object]] = [SUMMARY_COLUMNS]
        self._errors: list[Sequence[object]] = [ERRORS_COLUMNS]

    async def run(self, worker: Worker) -> None:
        """Fold all records, a few at a time, as long as the state is ``running``."""
        size = max(1, _MODELS_AT_A_TIME // self._settings.samples)
        try:
            with zipfile.ZipFile(self.path, "w") as archive:
                for entries in in_parts(read_entries(self._records), size):
                    if self.state != "running":
                        return
                    self._rows += await worker.run(functools.partial(self._fold, archive, entries))
                _write(archive, SUMMARY_FILE, csv_text(self._summary))
                if len(self._errors) > 1:
                    _write(archive, ERRORS_FILE, csv_text(self._errors))
            self.state = "done"
        except (BetafoldError, OSError) as error:
            self.state, self._message = "failed", str(error)
        finally:
            if self.state == "running":
                self.state, self._message = "failed", INTERNAL_ERROR

    def stop(self) -> None:
        """Fold no more of it."""
        if self.state == "running":
            self.state = "stopped"

    def status(self, key: str, after: int = 0) -> BatchStatus:
        """Return how it is going, with the rows of the records after the first `after`."""
        return BatchStatus(
            batch=key,
            state=self.state,
            message=self._message,
            total=len(self._records),
            done=len(self._rows),
            failed=len(self._errors) - 1,
            rows=self._rows[after:],
            zip=f"/api/v1/batches/{key}/results.zip" if self.state == "done" else None,
        )

    def _fold(
        self, archive: zipfile.ZipFile, entries: Sequence[Entry], predictor: Predictor
    ) -> list[dict[str, Any]]:
        """Fold some records, add them to the archive, and return their rows. In the worker's thread."""
        return [self._add(record, archive) for record in fold_entries(predictor, entries, self._settings)]

    def _add(self, record: FoldedRecord, archive: zipfile.ZipFile) -> dict[str, Any]:
        entry, result = record.entry, record.result
        if isinstance(result, BetafoldError):
            row = failure_row(entry.id, entry.text, str(result))
            self._summary.append(row)
            self._errors.append((entry.id, entry.line, str(result)))
            return {"id": entry.id, "status": "failed", "message": str(result), "sequence": row[1]}
        files = {entry.name + end: data for end, data in record.files.items() if end in self._suffixes}
        for name, data in files.items():
            _write(archive, name, data)
        self._summary.append(summary_row(result, files))
        return {
            "id": result.id,
            "status": "ok" if result.constraints_met else "constraints not met",
            "message": "; ".join(result.warnings),
            "sequence": result.peptide.sequence,
            "one_letter": result.peptide.one_letter(),
            "residues": result.peptide.residues,
            "cyclic": result.peptide.cyclic,
            "disulfides": result.peptide.disulfides,
            "d_amino_acids": result.peptide.d_amino_acids,
            "n_cap": result.peptide.n_cap,
            "c_cap": result.peptide.c_cap,
            "bonds": list(map(str, result.peptide.other_bonds)),
            "mean_plddt": round(float(result.plddt[0].mean()), 2),
            "secondary_structure": result.secondary_structure[0],
        }


def _write(archive: zipfile.ZipFile, name: str, data: str | bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, _EPOCH), data, zipfile.ZIP_DEFLATED)


class BatchStore:
    """The latest batches of a server under keys that cannot be guessed; their archives are in a temporary folder.

    Parameters
    ----------
    worker : Worker
        Folds.
    limits : ServerLimits
        How many are kept, and how many run.
    """

    def __init__(self, worker: Worker, limits: ServerLimits) -> None:
        self._worker, self._limits = worker, limits
        self._folder = tempfile.TemporaryDirectory(prefix="betafold-mlx-", ignore_cleanup_errors=True)
        self._batches: dict[str, FastaBatch] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, asked: BatchRequest, records: Sequence[FastaRecord]) -> BatchStatus:
        """Start a batch, and forget the oldest that no longer runs.

        Raises
        ------
        HTTPException
            Too many run already (503).
        """
        if len(self._tasks) >= self._limits.running_batches:
            message = f"{len(self._tasks)} batches are running: try again later"
            raise HTTPException(503, message, {"Retry-After": str(_RETRY_SECONDS)})
        while len(self._batches) >= self._limits.batches:
            oldest = next(key for key in self._batches if key not in self._tasks)
            self._batches.pop(oldest).path.unlink(missing_ok=True)
        key = secrets.token_urlsafe(16)
        batch = FastaBatch(asked, records, Path(self._folder.name, f"{key}.zip"))
        self._batches[key] = batch
        self._tasks[key] = asyncio.create_task(batch.run(self._worker))
        self._tasks[key].add_done_callback(lambda _: self._tasks.pop(key))
        return batch.status(key)

    def get(self, key: str) -> FastaBatch:
        """Return a batch.

        Raises
        ------
        HTTPException
            It is not kept, or no longer (404).
        """
        if key not in self._batches:
            raise HTTPException(404, "this batch is no longer kept: fold the file again")
        return self._batches[key]

    async def close(self) -> int:
        """Stop what runs, after the records that are being folded, and return how many batches that were."""
        running = [self._batches[key] for key in self._tasks]
        for batch in running:
            batch.stop()
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()))
        self._folder.cleanup()
        return len(running)
