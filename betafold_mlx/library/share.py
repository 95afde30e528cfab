"""A library on several ranks: the main one hands out tasks and writes, the others fold."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from betafold_mlx.distributed.control import RankLostError
from betafold_mlx.distributed.ranks import Ranks
from betafold_mlx.fold.prediction import Prediction
from betafold_mlx.fold.predictor import Predictor
from betafold_mlx.library.order import InOrder
from betafold_mlx.library.settings import Settings, identity
from betafold_mlx.library.sinks import make_sink
from betafold_mlx.library.wire import pack_folded, pack_task, unpack_folded, unpack_task
from betafold_mlx.library.work import Folded, Task, Work
from betafold_mlx.library.writer import Window

GO_ON = "the same command goes on, with any number of processes"

_AT_A_TIME = 2  # tasks of another rank: one to do, and one to go on with
_END = b""


def windows_ahead(ranks: Ranks) -> int:
    """Return how many windows may be between reading and writing: enough that no rank waits for one half as fast."""
    return 2 + 3 * (ranks.size - 1)


def lend(order: InOrder[Window, Folded], ranks: Ranks) -> None:
    """Let the other ranks do tasks, in threads that go on until there are no more of them."""
    for peer in range(1, ranks.size):
        threading.Thread(target=_lend_to, args=(order, ranks, peer), daemon=True).start()


def dismiss(ranks: Ranks) -> None:
    """Tell the other ranks that there is nothing to do."""
    for peer in range(1, ranks.size):
        ranks.send(_END, peer)


def _lend_to(order: InOrder[Window, Folded], ranks: Ranks, peer: int) -> None:
    given: deque[int] = deque()
    try:
        while True:
            while len(given) < _AT_A_TIME and (taken := order.take(wait=not given)):
                number, window = taken
                ranks.send(pack_task(window.task), peer)
                given.append(number)
            if not given:
                break
            order.put(given.popleft(), unpack_folded(ranks.receive(peer)))
        ranks.send(_END, peer)
    except BaseException as error:
        order.stop(error)


def _answer(work: Work, ranks: Ranks, task: Task, predictions: list[Prediction]) -> None:
    ranks.send(pack_folded(Folded(predictions, work.render(task, predictions))), 0)


def agree(predictor: Predictor, settings: Settings, ranks: Ranks) -> Settings:
    """Check that what ranks fold and write does not depend on which of them does it, and return their settings.

    Raises
    ------
    BetafoldError
        On all ranks, naming what one has another of: options, device, model, versions, the viewer of reports.
    """
    deciding = identity(predictor, settings)
    if settings.report is not None:
        from betafold_mlx.report import find_viewer  # only a report needs it

        deciding["3D viewer"] = "installed" if find_viewer() else "none"
    ranks.same("the setting", deciding)
    return replace(settings, report=ranks.from_main(lambda: settings.report))


def help_main(predictor: Predictor, settings: Settings, ranks: Ranks) -> None:
    """Fold what the main rank asks for, until there is nothing more; a thread renders and sends meanwhile.

    Raises
    ------
    RankLostError
        A rank is gone or gave up.
    BetafoldError
        A damaged model, or Parquet without pyarrow.
    """
    work = Work(predictor, settings, make_sink(settings.output, Path(), settings.format, settings.report))
    begun = False
    answering: Future[None] | None = None
    try:
        with ThreadPoolExecutor(max_workers=1) as thread:
            while data := ranks.receive(0):
                begun = True
                task = unpack_task(data)
                predictions = work.fold(task)
                if answering is not None:
                    answering.result()  # one at a time
                answering = thread.submit(_answer, work, ranks, task, predictions)
            if answering is not None:
                answering.result()
    except RankLostError as error:
        if begun and GO_ON not in str(error):
            raise RankLostError(f"{error} ({GO_ON})") from error
        raise
