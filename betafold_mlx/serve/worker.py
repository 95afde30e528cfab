"""The threads that fold: one has the model, others a process with the model; what waits together is folded together.

A batch starts as soon as a thread is idle, and nothing waits for a batch to fill. So a request that comes alone is
folded alone, at once, in this process; the worker processes get turns only where a request finds others. Libraries for
dynamic batching were looked at: `batched` and `async-batcher` hold each batch open for a fixed time and know neither
groups nor clients that leave, and `mosec` is another HTTP server.

The networks are shown one peptide after another, so that an answer depends on its company in a last digit at most
(`betafold_mlx.fold.predictor.Predictor.fold_many`). With ``together=1`` each peptide is folded alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import multiprocessing
import signal
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar, cast

import mlx.core as mx
from fastapi import HTTPException, Request

from betafold_mlx.errors import BetafoldError
from betafold_mlx.executors import begin_worker
from betafold_mlx.fold.prediction import Prediction
from betafold_mlx.fold.predictor import Predictor, batch_kind
from betafold_mlx.peptide.sequence import Peptide

T = TypeVar("T")

TOGETHER = 16
"""Peptides folded together, at most: more are hardly faster, and the first of them waits for the last."""

_MAX_WAIT = 120  # seconds that a client is asked to wait

_KEPT, _KEPT_MODELS = 100, 20
"""Latest predictions that are kept for the same request, and models of the largest, which bounds the memory."""


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


class _Process:
    """Folds in a worker process, as a `Predictor` does in this one; a process that is lost is replaced."""

    def __init__(self, load: Callable[[], Predictor]) -> None:
        self._begin = _begin_process, load, mx.default_device() == mx.gpu
        self._executor: ProcessPoolExecutor | None = None

    def fold_many(self, *arguments: Any, **options: Any) -> list[Prediction]:
        """Fold, and once more where the process was killed."""
        with contextlib.suppress(BrokenProcessPool):
            return self._call(*arguments, **options)
        try:
            return self._call(*arguments, **options)
        except BrokenProcessPool as error:
            raise BetafoldError("a worker process was killed or ran out of memory, twice") from error

    def _call(self, *arguments: Any, **options: Any) -> list[Prediction]:
        if self._executor is None:
            context = multiprocessing.get_context("spawn")
            self._executor = ProcessPoolExecutor(1, context, begin_worker, self._begin)
        try:
            return self._executor.submit(_fold_in_process, *arguments, **options).result()
        except BrokenProcessPool:
            self._executor = None
            raise

    def close(self) -> None:
        """End the process."""
        if self._executor is not None:
            self._executor.shutdown()


_of_process: list[Predictor] = []  # the model of a worker process


def _begin_process(load: Callable[[], Predictor], on_gpu: bool) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # which the terminal sends to all: the server ends it
        signal.signal(number, signal.SIG_IGN)
    mx.set_default_device(mx.gpu if on_gpu else mx.cpu)
    _of_process.append(load())


def _fold_in_process(*arguments: Any, **options: Any) -> list[Prediction]:
    return _of_process[0].fold_many(*arguments, **options) if arguments else []


class Worker:
    """Folds in a thread of its own and in worker processes, and refuses more than it can queue.

    MLX may keep its default device and its streams by thread: the worker takes over the device of the thread that makes
    it, and loads the model itself, by `load`. Its methods are called on the event loop.

    Parameters
    ----------
    load : callable
        Loads the model; with several processes it must be picklable.
    queue : int
        Folds that wait or are under way, at most.
    together : int
        Peptides folded together, at most.
    processes : int
        Processes that fold, this one among them.
    """

    def __init__(
        self, load: Callable[[], Predictor], queue: int, together: int = TOGETHER, processes: int = 1
    ) -> None:
        self._thread = ThreadPoolExecutor(
            1, "model", initializer=mx.set_default_device, initargs=(mx.default_device(),)
        )
        self._queue, self._together = queue, together
        self._processes = [_Process(load) for _ in range(processes - 1)]
        self._threads = [ThreadPoolExecutor(1, "process") for _ in self._processes]
        self._waiting: list[_Waiting] = []
        self._kept: OrderedDict[tuple[object, ...], Prediction] = OrderedDict()
        self._taking = threading.Lock()
        self._busy = 0  # threads that fold
        self._seconds = 0.0  # that each peptide of the last batch took
        self._runs = 0  # calls of `run` that wait or are under way
        self.folds = 0  # that wait or are under way
        try:
            self.predictor = self._thread.submit(load).result()
        except BaseException:
            self.close()
            raise
        for thread, process in zip(self._threads, self._processes, strict=True):
            thread.submit(process.fold_many)  # nothing: it loads the model meanwhile

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

        `finish` makes the answer of the prediction. One of the latest peptides is not folded again.

        Raises
        ------
        HTTPException
            The queue is full (503), or the client has gone (499).
        """
        key = peptide, peptide.notes, settings, details
        if key in self._kept:
            self._kept.move_to_end(key)
            return finish(replace(self._kept[key], id=id or peptide.name))
        if self.folds >= self._queue:
            wait = min(_MAX_WAIT, max(1, math.ceil(self.folds * self._seconds)))
            message = f"{self.folds} folds are waiting: try again in {wait} s"
            raise HTTPException(503, message, {"Retry-After": str(wait)})
        self.folds += 1
        mine = _Waiting(peptide, id or peptide.name, settings, details, finish)
        self._waiting.append(mine)
        # One turn for each: those after a batch may find nothing to do.
        self._thread.submit(self._fold_waiting, self.predictor)
        if self.folds > 1 or self._runs:
            for thread, process in zip(self._threads, self._processes, strict=True):
                thread.submit(self._fold_all_waiting, process)
        folding = asyncio.wrap_future(mine.future)
        leaving = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait((folding, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not folding.done():
                raise HTTPException(499, "the client has gone")
            prediction, made = folding.result()
            if settings.samples <= _KEPT_MODELS:
                self._kept[key] = prediction
                while len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
            return cast(T, made)
        finally:
            folding.cancel()
            leaving.cancel()
            self.folds -= 1

    async def run(self, work: Callable[[Predictor], T]) -> T:
        """Do something short in turn that is bounded elsewhere, and is not a fold of its own."""
        self._runs += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, self.predictor)
        finally:
            self._runs -= 1

    def close(self) -> None:
        """Finish what is under way, and drop what is not."""
        for thread in (self._thread, *self._threads):
            thread.shutdown(wait=True, cancel_futures=True)
        for process in self._processes:
            process.close()
        for one in self._waiting:
            one.future.cancel()

    def _fold_waiting(self, predictor: Predictor | _Process) -> None:
        """Fold the first that waits, and with it those like it: this thread's share, where others are idle."""
        with self._taking:
            waiting = self._waiting[:]  # the event loop may append meanwhile
            share = math.ceil(len(waiting) / (1 + len(self._threads) - self._busy))
            batch = [one for one in waiting if one.kind == waiting[0].kind][: min(share, self._together)]
            for one in batch:
                self._waiting.remove(one)
            self._busy += 1
        started = time.monotonic()
        batch = [one for one in batch if one.future.set_running_or_notify_cancel()]
        if batch:
            self._fold(batch, predictor)
            self._seconds = (time.monotonic() - started) / len(batch)
        with self._taking:
            self._busy -= 1

    def _fold_all_waiting(self, process: _Process) -> None:
        while self._waiting:
            self._fold_waiting(process)

    def _fold(self, batch: list[_Waiting], predictor: Predictor | _Process) -> None:
        """Fold peptides together, and where that fails one by one: the error is for the one that causes it."""
        details = any(one.details for one in batch)
        try:
            predictions = predictor.fold_many(
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
                self._fold([one], predictor)
            return
        for one, prediction in zip(batch, predictions, strict=True):
            prediction = prediction if one.details else replace(prediction, details=None)
            try:
                made = one.finish(prediction)
            except Exception as error:
                one.future.set_exception(error)
            else:
                one.future.set_result((prediction, made))


async def _disconnected(request: Request) -> None:
    """Return when the client closes the connection; the body of the request has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
