"""The device that MLX computes on, and several pieces of work at the same time on a CPU.

MLX multiplies matrices with all threads of the BLAS and does all else with one. So where there are several pieces of
work, each gets a thread of Python with an MLX stream of its own, and its matrix products one thread of the BLAS.
Results do not depend, in their last digits, on the number of processors, nor on what is computed at the same time.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import mlx.core as mx

from betafold_mlx._blas import HOW_TO_GET, blas_threads, has_openblas, single_threaded_blas
from betafold_mlx.errors import BetafoldError

DEVICES = ("gpu", "cpu")


T = TypeVar("T")

R = TypeVar("R")

_pools: dict[int, ThreadPoolExecutor] = {}

_of_thread = threading.local()


def use_device(name: str | None) -> None:
    """Compute on ``gpu`` or ``cpu`` from here on; for None on MLX's own choice, the GPU where there is one.

    From Python, `mlx.core.set_default_device` does the same. It is a BetafoldError where MLX can use no GPU.
    """
    if name is None:
        return
    device = mx.gpu if name == "gpu" else mx.cpu
    if not mx.is_available(device):
        raise BetafoldError(
            "MLX finds no GPU here: leave out --device gpu (for an NVIDIA GPU install the extra cuda13 or cuda12)"
        )
    mx.set_default_device(device)


def advice() -> str | None:
    """Return how to make this machine faster, or None where nothing is missing."""
    first = os.environ.get("MLX_RANK", "0") == "0"  # of ranks that train together one says it
    slow = first and sys.platform.startswith("linux") and not has_openblas() and _on_cpu()
    return HOW_TO_GET if slow else None


def _on_cpu() -> bool:
    return mx.default_device().type == mx.DeviceType.cpu


def side_by_side(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Call a function on each item, on a CPU several at a time, and return the results in the order of the items.

    The function returns no lazy arrays, and reads none that were made elsewhere: a thread evaluates its own. A call
    from inside it does its items one after another. What it raises first, in the order of the items, is raised.
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
