"""Run several pieces of MLX work at the same time on a CPU.

MLX multiplies matrices with all threads of the BLAS and does all else with one. So where there are several pieces of
work, each gets a thread of Python with an MLX stream of its own, and its matrix products one thread of the BLAS.
Results do not depend, in their last digits, on the number of processors, nor on what is computed at the same time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import mlx.core as mx

from betafold_mlx._blas import blas_threads, single_threaded_blas

T = TypeVar("T")
R = TypeVar("R")

_pools: dict[int, ThreadPoolExecutor] = {}
_of_thread = threading.local()


def side_by_side(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Call a function on each item, on a CPU several at a time, and return the results in the order of the items.

    A call from inside `function` does its items one after another.

    Parameters
    ----------
    function : callable
        Returns no lazy arrays, and reads none that were made elsewhere: a thread evaluates its own.
    items : iterable
        Its arguments.

    Raises
    ------
    Exception
        What `function` raised first, in the order of the items.
    """
    items = list(items)
    inside = hasattr(_of_thread, "stream")
    on_gpu = mx.default_device().type != mx.DeviceType.cpu  # which has one queue
    number = 1 if inside or on_gpu else blas_threads()
    with single_threaded_blas():
        if number < 2 or len(items) < 2:
            return [function(item) for item in items]
        if number not in _pools:
            _pools[number] = ThreadPoolExecutor(number, "mlx", initializer=_new_stream)
        return list(_pools[number].map(lambda item: _on_own_stream(function, item), items))


def _new_stream() -> None:
    _of_thread.stream = mx.new_stream(mx.cpu)  # MLX ties a stream to the thread that made it


def _on_own_stream(function: Callable[[T], R], item: T) -> R:
    with mx.stream(_of_thread.stream):
        return function(item)
