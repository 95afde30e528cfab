"""The gradient of a step, a few examples at a time.

Most operations of a step are elementwise, and to these MLX gives one thread; the pair trunk does them on n^2 vectors.
So a batch is cut into pieces, which run side by side, each with one thread: all processors are busy, and the
memory is that of a few pieces. How a batch is cut depends on its size alone, and the sums have a fixed order: the
result has the same bits however many processors there are.

The pieces are evaluated from threads of Python, unlike those of `betafold_mlx.lanes`: MLX sets off some hundred
operations and then waits for them in the thread that evaluates. A short graph is set off at once; one with a gradient
of the pair trunk would be done before the next one starts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_map

from betafold_mlx._blas import blas_threads, single_threaded_blas

T = TypeVar("T")

PIECES = {"transformer": 48, "pairformer": 24}
"""Examples of a piece by the trunk: two and four pieces of the usual batch of 96. Smaller ones cost more than they
bring: products of matrices become slow, or MLX waits for its own small operations."""


class _Workers:
    """Threads that evaluate, each with a stream of its own, which MLX ties to the thread that made it."""

    def __init__(self, number: int) -> None:
        self._pool = ThreadPoolExecutor(number, initializer=self._begin)
        self._own = threading.local()
        self._building = threading.Lock()

    def _begin(self) -> None:
        self._own.stream = mx.new_stream(mx.cpu)

    def evaluate(self, makers: list[Callable[[], Any]]) -> list[Any]:
        """Build trees of arrays, one at a time, and evaluate them side by side; return them in order."""
        return list(self._pool.map(self._work, makers))

    def _work(self, make: Callable[[], Any]) -> Any:
        # While it is differentiated, a model holds stand-ins for its weights: two threads would mix theirs.
        with self._building, mx.stream(self._own.stream):
            tree = make()
        mx.eval(tree)
        return tree


_workers: dict[int, _Workers] = {}


def in_pieces(
    model: nn.Module, function: Callable[[T, mx.array], Any], batch: T, keys: mx.array, size: int
) -> Any:
    """Return the mean over the examples of what `function` returns for pieces of a batch, evaluated.

    Parameters
    ----------
    model : nn.Module
        What is differentiated.
    function : callable
        Makes a tree of arrays, each a mean over examples, of a batch and its keys.
    batch : tree of mx.array
        B examples: arrays whose first axis they are, or None, in tuples.
    keys : mx.array
        (B, 2) their random keys.
    size : int
        Examples of a piece, at most.
    """
    if mx.default_device().type != mx.DeviceType.cpu:  # a GPU has one queue, and wants large batches
        return function(batch, keys)
    count = len(keys)
    weights = model.parameters()
    mx.eval(batch, keys, weights)
    parts = [slice(first, min(first + size, count)) for first in range(0, count, size)]

    def build(part: slice) -> Any:
        try:
            found = function(_part(batch, part), keys[part])
        finally:
            model.update(weights)  # not the stand-ins, which are tied to this thread
        return tree_map(lambda array: (part.stop - part.start) / count * array, found)

    number = blas_threads()
    if number not in _workers:
        _workers[number] = _Workers(number)
    with single_threaded_blas():
        total, *rest = _workers[number].evaluate([partial(build, part) for part in parts])
        for each in rest:
            total = tree_map(mx.add, total, each)
        mx.eval(total)
    return total


def _part(batch: T, part: slice) -> T:
    return tree_map(lambda array: None if array is None else array[part], batch)
