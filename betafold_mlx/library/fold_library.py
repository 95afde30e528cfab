"""Fold a library into a folder, in parts that are kept when the run is stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import chain, islice
from pathlib import Path

from betafold_mlx import executors
from betafold_mlx.files import locked
from betafold_mlx.fold.output import prepare
from betafold_mlx.fold.predictor import Predictor
from betafold_mlx.library.folder import STATE_FOLDER, RunFolder, Totals, WrittenRecord
from betafold_mlx.library.records import in_parts, read_entries
from betafold_mlx.library.settings import LibrarySettings, identity
from betafold_mlx.library.work import Job, automatic_processes, fold_part, prepare_worker
from betafold_mlx.peptide.fasta import FastaRecord


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
    left = in_parts(read_entries(records), settings.part)
    first = next(left, None)
    if first is None:
        return Totals()
    folder = RunFolder(directory, settings)
    prepare(directory)
    busy = f"another fold writes into {directory}: wait for it, or choose another folder (-o)"
    with locked(directory / STATE_FOLDER / "lock", busy):
        folder.begin(identity(predictor, settings), restart)
        left = chain([first], left)
        totals = folder.skip_done(left)
        if totals.records:
            resumed(totals.records)
        soon = list(islice(left, 2))
        if soon:
            job = Job.of(predictor, settings)
            with _workers(job, processes or automatic_processes(), len(soon), scheduler) as workers:
                for part in workers.results(partial(fold_part, job), chain(soon, left)):
                    found, written_records = folder.write(part)
                    totals += found
                    written(written_records)
        folder.finish()
    return totals


def _workers(
    job: Job, number: int, parts: int, scheduler: str | None
) -> AbstractContextManager[executors.Workers]:
    """Open what folds so many parts, or more of them: one part needs no worker processes."""
    if scheduler is not None:
        return executors.cluster(scheduler)
    if number > 1 and parts > 1:
        return executors.processes(number, prepare_worker, job)
    return nullcontext(executors.INLINE)
