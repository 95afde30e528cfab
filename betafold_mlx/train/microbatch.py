"""The loss and gradient of a batch, some examples at a time.

Most operations of a step are elementwise, and MLX gives these one thread; the pair trunk does them on n^2 vectors.
So a batch is cut into microbatches that are computed at the same time, which also bounds the memory. How it is cut
depends on its size alone and the sums have a fixed order: the bits do not depend on the number of processors.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_map

from betafold_mlx._blas import single_threaded_blas
from betafold_mlx.device import side_by_side

T = TypeVar("T")

MICROBATCH = {"transformer": 48, "pairformer": 24}
"""Examples of a microbatch by the trunk: two and four of the usual batch of 96. With smaller ones products of matrices
become slow, or MLX waits for its own small operations."""

_building = threading.Lock()
"""While a model is differentiated it holds stand-ins for its weights: two threads would mix theirs."""


def in_microbatches(
    model: nn.Module, function: Callable[[T, mx.array], Any], batch: T, keys: mx.array, size: int
) -> Any:
    """Return the mean over the examples of what `function` returns for the microbatches of a batch, evaluated.

    The function makes a tree of arrays, each a mean over examples, of a batch and its keys; what it differentiates is
    the model. A batch is B examples, arrays whose first axis they are, or None, in tuples; the keys are (B, 2);
    `size` is the maximum number of examples of a microbatch.
    """
    if mx.default_device().type != mx.DeviceType.cpu:  # a GPU wants large batches
        return function(batch, keys)
    count = len(keys)
    weights = model.parameters()
    mx.eval(batch, keys, weights)

    def compute(first: int) -> Any:
        part = slice(first, min(first + size, count))
        with _building:
            try:
                found = function(_part(batch, part), keys[part])
            finally:
                model.update(weights)  # not the stand-ins, which are tied to this thread
            found = tree_map(lambda array: (part.stop - part.start) / count * array, found)
        mx.eval(found)
        return found

    total, *rest = side_by_side(compute, range(0, count, size))
    with single_threaded_blas():
        for each in rest:
            total = tree_map(mx.add, total, each)
        mx.eval(total)
    return total


def _part(batch: T, part: slice) -> T:
    return tree_map(lambda array: None if array is None else array[part], batch)
