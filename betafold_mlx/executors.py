"""Executors for work in parts: in this process, in worker processes, or on a Dask cluster."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple, TypeVar

from betafold_mlx._blas import set_blas_threads
from betafold_mlx.errors import BetafoldError

T = TypeVar("T")
R = TypeVar("R")

_GO_ON = "run the same command to resume"


class Workers(NamedTuple):
    """An executor, and how many parts it may be given before the first of them is finished."""

    executor: Executor
    ahead: Callable[[], int] = lambda: 1

    def results(self, function: Callable[[T], R], parts: Iterable[T]) -> Iterator[R]:
        """Call a function with each part, and yield the results in the order of the parts.

        Parts are read no further than needed, which bounds the memory.
        """
        waiting: deque[Future[R]] = deque()
        for part in parts:
            waiting.append(self.executor.submit(function, part))
            while waiting and (waiting[0].done() or len(waiting) >= self.ahead()):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class InlineExecutor(Executor):
    """Does each task at once, in the calling thread."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        """Do a task and return its result."""
        future: Future[Any] = Future()
        future.set_result(function(*arguments, **options))
        return future


INLINE = Workers(InlineExecutor())


@contextlib.contextmanager
def processes(number: int, begin: Callable[..., None], *arguments: Any) -> Iterator[Workers]:
    """Open worker processes, which end with this one; each has one thread of the BLAS.

    Each calls `begin(*arguments)` first, which raises nothing. A worker that is killed is a BetafoldError.
    """
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(number, context, _begin_worker, (begin, *arguments)) as executor:
        try:
            yield Workers(executor, lambda: 2 * number + 1)
        except BrokenProcessPool as error:
            raise BetafoldError(f"a worker process was killed or ran out of memory: {_GO_ON}") from error
        except BaseException:
            for worker in set(multiprocessing.active_children()) - others:
                worker.terminate()  # it holds nothing that could be lost
            raise


def _begin_worker(begin: Callable[..., None], *arguments: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    set_blas_threads(1)
    begin(*arguments)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@contextlib.contextmanager
def cluster(scheduler: str) -> Iterator[Workers]:
    """Open the workers of a Dask cluster, by the address of its scheduler. A lost worker's parts go to another.

    It is a BetafoldError where Dask is not installed, or the scheduler cannot be reached or is lost.
    """
    try:
        from distributed import Client, KilledWorker
    except ImportError as error:
        raise BetafoldError(
            "--scheduler needs Dask: install it with pip install 'betafold-mlx[cluster]'"
        ) from error
    try:
        client = Client(scheduler, timeout=30)
    except (OSError, ValueError) as error:
        raise BetafoldError(f"cannot reach a Dask scheduler at {scheduler}") from error
    with client:
        try:
            yield Workers(
                client.get_executor(pure=False), lambda: 2 * max(1, sum(client.nthreads().values())) + 1
            )
        except KilledWorker as error:
            raise BetafoldError(f"Dask gave up: workers were killed again and again: {_GO_ON}") from error
        except (CancelledError, OSError) as error:
            raise BetafoldError(f"the Dask scheduler at {scheduler} is lost: {_GO_ON}") from error
