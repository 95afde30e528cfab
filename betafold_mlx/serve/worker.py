"""The thread that owns the model: everything that computes runs there, one after the other."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import mlx.core as mx
from fastapi import HTTPException, Request

from betafold_mlx.fold.predictor import Predictor

T = TypeVar("T")

_MAX_WAIT = 120  # seconds that a client is asked to wait


class Worker:
    """Runs work on the model in a thread of its own, in order of arrival, and refuses more than it can queue.

    MLX may keep its default device and its streams by thread: the worker takes over the device of the thread that makes
    it, and loads the model itself, by `load`. Its methods are called on the event loop.
    """

    def __init__(self, load: Callable[[], Predictor], queue: int) -> None:
        self._thread = ThreadPoolExecutor(
            1, "model", initializer=mx.set_default_device, initargs=(mx.default_device(),)
        )
        self._queue = queue
        self._seconds = 0.0  # that the last fold took
        self.folds = 0  # that wait or are under way
        try:
            self.predictor = self._thread.submit(load).result()
        except BaseException:
            self.close()
            raise

    async def fold(self, request: Request, work: Callable[[Predictor], T]) -> T:
        """Fold in turn; drop it where the client goes before its turn.

        Raises
        ------
        HTTPException
            The queue is full (503), or the client has gone (499).
        """
        if self.folds >= self._queue:
            wait = min(_MAX_WAIT, max(1, math.ceil(self.folds * self._seconds)))
            message = f"{self.folds} folds are waiting: try again in {wait} s"
            raise HTTPException(503, message, {"Retry-After": str(wait)})
        self.folds += 1
        folding = asyncio.ensure_future(self.run(lambda predictor: self._timed(work, predictor)))
        leaving = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait((folding, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not folding.done():
                raise HTTPException(499, "the client has gone")
            return folding.result()
        finally:
            folding.cancel()
            leaving.cancel()
            self.folds -= 1

    async def run(self, work: Callable[[Predictor], T]) -> T:
        """Do something short in turn that is bounded elsewhere, and is not a fold of its own."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, self.predictor)

    def close(self) -> None:
        """Finish what is under way, and drop what is not."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _timed(self, work: Callable[[Predictor], T], predictor: Predictor) -> T:
        started = time.monotonic()
        try:
            return work(predictor)
        finally:
            self._seconds = time.monotonic() - started


async def _disconnected(request: Request) -> None:
    """Return when the client closes the connection; the body of the request has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
