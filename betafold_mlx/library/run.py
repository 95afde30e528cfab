"""Folds a library: reads ahead, folds windows of it, on several ranks where there are some, and writes meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

from betafold_mlx._blas import single_threaded_blas
from betafold_mlx.distributed.control import RankLostError
from betafold_mlx.distributed.ranks import ALONE, Ranks
from betafold_mlx.errors import BetafoldError
from betafold_mlx.fold.output import prepare
from betafold_mlx.fold.predictor import Predictor
from betafold_mlx.library.journal import Done, Journal
from betafold_mlx.library.lock import folder_lock
from betafold_mlx.library.order import InOrder
from betafold_mlx.library.processes import Processes
from betafold_mlx.library.records import Entry, Reader
from betafold_mlx.library.settings import Settings, identity
from betafold_mlx.library.share import GO_ON, dismiss, lend, windows_ahead
from betafold_mlx.library.sinks import make_sink
from betafold_mlx.library.work import Folded, Work
from betafold_mlx.library.writer import Observer, Window, Writer
from betafold_mlx.peptide.fasta import FastaRecord


def fold_library(
    predictor: Predictor,
    records: Iterator[FastaRecord],
    directory: Path,
    settings: Settings,
    observer: Observer,
    ranks: Ranks = ALONE,
) -> Done:
    """Fold the records of a library into a folder, or go on with it where a killed process stopped.

    Memory does not grow with the library but for some 50 bytes a record, by which names are kept apart. Windows and
    batches depend on nothing but the place of a record in the library, so a run that was stopped and resumed, or that
    others had a part in, ends in the same bytes as one that was not, where all of them compute alike.

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
    ranks : Ranks
        Or `Processes`. Of them this is the main one; the others are in `betafold_mlx.library.share.help_main`.

    Returns
    -------
    Done
        How many records there were, and how many failed; none where the library is empty, and then nothing is written.

    Raises
    ------
    BetafoldError
        An unfinished run of something else in the folder, another process that writes there, a file system that
        refuses, or a damaged model.
    RankLostError
        Another rank is gone or gave up. What is done is kept.
    """
    reader = Reader(records)
    first = reader.window(1)
    if not first:
        dismiss(ranks)
        return Done()
    sink = make_sink(settings.output, directory, settings.format, settings.report)
    prepare(directory)
    with folder_lock(directory):
        journal = Journal(directory, identity(predictor, settings))
        if settings.restart:
            journal.remove()
        done = journal.read()
        if done.records:
            first = _read_over(reader, done, settings.window, directory)
            observer.resumed(done.records)
        work = Work(predictor, settings, sink)
        writer = Writer(directory, sink, work, journal, done, observer)
        windows = _windows(reader, first, settings.window)
        order: InOrder[Window, Folded] = InOrder(windows, windows_ahead(ranks))
        with ThreadPoolExecutor(max_workers=1) as thread:  # all that touches the files, in its order
            try:
                thread.submit(writer.restore).result()  # what cannot be written is found before the work
                writing = thread.submit(_write_all, writer, order)
                taken = order.take()  # before others are asked: a small library needs nobody else
                lend(order, ranks)
                while taken:
                    number, window = taken
                    # What helps on this machine has the other processors.
                    helped = isinstance(ranks, Processes) and ranks.started
                    with single_threaded_blas() if helped else contextlib.nullcontext():
                        order.put(number, Folded(work.fold(window.task), None))
                    taken = order.take()
                writing.result()
                return thread.submit(writer.finish).result()
            except RankLostError as error:
                order.stop(error)
                wait([writing])
                raise RankLostError(f"{error} ({writer.done.records:,} records are done: {GO_ON})") from error
            except BaseException as error:
                order.stop(error)
                raise
            finally:
                thread.submit(writer.close)


def _windows(reader: Reader, first: list[Entry], size: int) -> Iterator[Window]:
    """Yield the windows of a library that begins with what was read already."""
    while entries := first + reader.window(size - len(first)):
        first = []
        yield Window(entries, (reader.count, reader.sha256))


def _write_all(writer: Writer, order: InOrder[Window, Folded]) -> None:
    try:
        for window, folded in order.results():
            writer.write(window, folded)
    except BaseException as error:
        order.stop(error)
        raise


def _read_over(reader: Reader, done: Done, size: int, directory: Path) -> list[Entry]:
    """Read what a run has done, and return what was read of the rest: one entry, or none at the end."""
    reader.skip(done.records - reader.count)
    same = (reader.count, reader.sha256) == (done.records, done.sha256)
    first = reader.window(1)
    if not same or (first and done.records % size):  # the run saw the end of the library there
        raise BetafoldError(
            f"{directory} holds an unfinished run of another library: give that one again, choose another folder "
            "(-o), or drop that run with --restart"
        )
    return first
