"""The thread that owns the model: everything that computes runs there; peptides that wait together are folded together.

A batch starts as soon as the thread is idle, and nothing waits for a batch to fill. So a request that comes alone is
folded alone, at once. Libraries for dynamic batching were looked at: `batched` and `async-batcher` hold each batch open
for a fixed time and know neither groups nor clients that leave, and `mosec` is another HTTP server.

The networks are shown one peptide after another, so that an answer depends on its company in a last digit at most
(`betafold_mlx.fold.predictor.Predictor.fold_many`). With ``together=1`` each peptide is folded alone.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

import mlx.core as mx
from fastapi import HTTPException, Request

from betafold_mlx.fold.prediction import Prediction
from betafold_mlx.fold.predictor import Predictor, batch_kind
from betafold_mlx.peptide.sequence import Peptide

T = TypeVar("T")

TOGETHER = 16
"""Peptides folded together, at most: more are hardly faster, and the first of them waits for the last."""

_MAX_WAIT = 120  # seconds that a client is asked to wait


class FoldSettings(NamedTuple):
    """As in `Predictor.fold_many`; peptides with the same ones can be folded together."""

    samples: int = 1
    seed: int = 0
    auto_disulfides: bool = False


USUAL = FoldSettings()


@dataclass(frozen=True, eq=False)
class _Waiting:
    """A peptide that waits for its turn."""

    peptide: Peptide
    id: str
    settings: FoldSettings
    details: bool
    finish: Callable[[Prediction], Any]  # makes the answer
    future: Future[Any] = field(default_factory=Future)

    @property
    def kind(self) -> tuple[object, ...]:
        return *batch_kind(self.peptide), self.settings


class Worker:
    """Runs work on the model in a thread of its own, and refuses more than it can queue.

    MLX may keep its default device and its streams by thread: the worker takes over the device of the thread that makes
    it, and loads the model itself, by `load`. Its methods are called on the event loop.
    """

    def __init__(self, load: Callable[[], Predictor], queue: int, together: int = TOGETHER) -> None:
        self._thread = ThreadPoolExecutor(
            1, "model", initializer=mx.set_default_device, initargs=(mx.default_device(),)
        )
        self._queue, self._together = queue, together
        self._waiting: list[_Waiting] = []
        self._seconds = 0.0  # that each peptide of the last batch took
        self.folds = 0  # that wait or are under way
        try:
            self.predictor = self._thread.submit(load).result()
        except BaseException:
            self.close()
            raise

    async def fold(
        self,
        request: Request,
        peptide: Peptide,
        finish: Callable[[Prediction], T],
        *,
        id: str | None = None,
        settings: FoldSettings = USUAL,
        details: bool = False,
    ) -> T:
        """Fold a peptide in its turn, or before, with one like it; drop it where the client goes before that.

        `finish` makes the answer of the prediction, in the worker's thread.

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
        mine = _Waiting(peptide, id or peptide.name, settings, details, finish)
        self._waiting.append(mine)
        # One turn for each: those after a batch may find nothing to do.
        self._thread.submit(self._fold_waiting)
        folding = asyncio.wrap_future(mine.future)
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
        for one in self._waiting:
            one.future.cancel()

    def _fold_waiting(self) -> None:
        """Fold the first that waits, and with it those that can be folded together with it."""
        waiting = self._waiting[:]  # the event loop may append meanwhile
        batch = [one for one in waiting if one.kind == waiting[0].kind][: self._together]
        for one in batch:
            self._waiting.remove(one)
        batch = [one for one in batch if one.future.set_running_or_notify_cancel()]
        if batch:
            started = time.monotonic()
            self._fold(batch)
            self._seconds = (time.monotonic() - started) / len(batch)

    def _fold(self, batch: list[_Waiting]) -> None:
        """Fold peptides together, and where that fails one by one: the error is for the one that causes it."""
        details = any(one.details for one in batch)
        try:
            predictions = self.predictor.fold_many(
                [one.peptide for one in batch],
                ids=[one.id for one in batch],
                **batch[0].settings._asdict(),
                details=details,
                apart=True,
            )
        except Exception as error:
            if len(batch) == 1:
                batch[0].future.set_exception(error)
                return
            for one in batch:
                self._fold([one])
            return
        for one, prediction in zip(batch, predictions, strict=True):
            try:
                made = one.finish(prediction if one.details else replace(prediction, details=None))
            except Exception as error:
                one.future.set_exception(error)
            else:
                one.future.set_result(made)


async def _disconnected(request: Request) -> None:
    """Return when the client closes the connection; the body of the request has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
