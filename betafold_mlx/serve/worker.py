"""The one thread that owns the model: whatever computes, computes there, one after the other."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import mlx.core as mx

from betafold_mlx.fold.predictor import Predictor
from betafold_mlx.serve.problems import RequestError

T = TypeVar("T")

_LONGEST_WAIT = 120  # seconds that a client is asked to wait
_MEMORY = 0.2  # weight of the last fold in the mean of the times


class Worker:
    """Runs work on the model in a thread of its own, in order of arrival, and refuses more than it can queue.

    MLX may keep its default device and its streams by thread: the worker takes over the device of the thread that makes
    it, and loads the model itself.

    Parameters
    ----------
    load : callable
        Loads the model.
    queue : int
        Folds that may wait or be under way.

    Raises
    ------
    BetafoldError
        As `load`.
    """

    def __init__(self, load: Callable[[], Predictor], queue: int) -> None:
        self._thread = ThreadPoolExecutor(
            1, "model", initializer=mx.set_default_device, initargs=(mx.default_device(),)
        )
        self._queue = queue
        self._lock = threading.Lock()
        self._folds = 0
        self._seconds = 0.0
        try:
            self.predictor = self._thread.submit(load).result()
        except BaseException:
            self.close()
            raise

    @property
    def folds(self) -> int:
        """How many folds wait or are under way."""
        return self._folds

    async def fold(self, work: Callable[[Predictor], T]) -> T:
        """Fold in turn, and return what came out; where the caller is cancelled before its turn, do not.

        Raises
        ------
        RequestError
            The queue is full (503).
        """
        with self._lock:
            if self._folds >= self._queue:
                wait = min(_LONGEST_WAIT, max(1, math.ceil(self._folds * self._seconds)))
                raise RequestError(
                    503, f"{self._folds} folds are waiting: try again in {wait} s", retry_after=wait
                )
            self._folds += 1
        future = self._thread.submit(self._timed, work)
        future.add_done_callback(self._release)
        return await asyncio.wrap_future(future)

    async def run(self, work: Callable[[Predictor], T]) -> T:
        """Do something short in turn: what is bounded elsewhere, and is not a fold of its own."""
        return await asyncio.wrap_future(self._thread.submit(work, self.predictor))

    def close(self) -> None:
        """Wait for what is under way, and drop what is not."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _timed(self, work: Callable[[Predictor], T]) -> T:
        started = time.monotonic()
        try:
            return work(self.predictor)
        finally:
            taken = time.monotonic() - started
            self._seconds += (_MEMORY if self._seconds else 1.0) * (taken - self._seconds)

    def _release(self, future: Future[T]) -> None:
        with self._lock:
            self._folds -= 1
