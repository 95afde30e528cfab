"""Pieces of work side by side, on processors that would stand idle.

MLX multiplies matrices with all threads of the BLAS and does all else with one. Where there are more pieces of work
than one, each processor can have one of its own: a *lane*, a stream of MLX with a thread behind it. A piece of work is
a generator that yields whenever it has set off computations (`mlx.core.async_eval`) and somebody else may go on; what
it returns is its result. All Python runs in one thread, so nothing needs a lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from itertools import islice
from typing import TypeVar

import mlx.core as mx

from betafold_mlx._blas import blas_threads, single_threaded_blas

T = TypeVar("T")
Work = Generator[None, None, T]

_streams: list[mx.Stream] = []


def finish(work: Work[T]) -> T:
    """Do one piece of work, and return its result."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: T = end.value
            return result


def side_by_side(works: Iterable[Work[T]]) -> list[T]:
    """Do pieces of work, on a CPU several at a time, and return their results in order.

    Each product of matrices has one thread, also where there is one piece of work: then a result does not depend, in
    its last digits, on how many processors there are, nor on what is done beside it.

    Parameters
    ----------
    works : iterable of Work
        Taken one by one as lanes become free, which bounds the memory.
    """
    waiting = iter(works)
    streams = lanes()
    first = list(islice(waiting, len(streams)))
    if len(streams) < 2 or len(first) < 2:
        with single_threaded_blas():
            return [finish(work) for work in (*first, *waiting)]
    results: dict[int, T] = {}
    running = deque(
        zip(range(len(first)), first, streams, strict=False)
    )  # the last ones may leave lanes empty
    started = len(running)
    with single_threaded_blas():
        while running:
            number, work, stream = running.popleft()
            try:
                with mx.stream(stream):
                    next(work)
            except StopIteration as end:
                results[number] = end.value
                for another in islice(waiting, 1):
                    running.append((started, another, stream))
                    started += 1
            else:
                running.append((number, work, stream))
    return [results[number] for number in range(started)]


def lanes() -> list[mx.Stream]:
    """Return the streams to work on: as many as the BLAS has threads on a CPU, one on a GPU."""
    if mx.default_device().type != mx.DeviceType.cpu:
        return [mx.default_stream(mx.default_device())]
    while len(_streams) < blas_threads():
        _streams.append(mx.new_stream(mx.cpu))
    return _streams[: blas_threads()]
