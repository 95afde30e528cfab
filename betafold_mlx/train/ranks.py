"""Data-parallel training over `mx.distributed`: each rank computes its share of every batch, rank 0 writes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any, TypeVar

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_map

from betafold_mlx.errors import BetafoldError

T = TypeVar("T")


class Ranks:
    """The processes that ``mlx.launch`` started, or one process by itself; the `main` one, rank 0, writes and reports.

    A method that is given something to share must be called by all ranks, in the same order.
    """

    def __init__(self, group: mx.distributed.Group | None = None) -> None:
        self._group = group
        self.rank, self.size = (0, 1) if group is None else (group.rank(), group.size())
        self.main = self.rank == 0

    def share(self) -> slice:
        """Return which elements of a list are this rank's: every element is some rank's, and all get about as many."""
        return slice(self.rank, None, self.size)

    def average(self, tree: T, share: float) -> T:
        """Return the mean of a tree of arrays over the ranks, each of which counts by its share of the examples."""
        weighted = tree_map(lambda array: share * self.size * array, tree)
        averaged: T = nn.average_gradients(weighted, self._group)
        return averaged

    def sum(self, arrays: dict[str, mx.array]) -> dict[str, mx.array]:
        """Return the sums of float32 arrays over the ranks, evaluated."""
        return self._together(arrays, mx.float32)

    def _together(self, arrays: dict[str, mx.array], dtype: mx.Dtype) -> dict[str, mx.array]:
        """Sum arrays, seen as of a type, in one go: MLX does not keep several sums in the same order on all ranks."""
        if self.size == 1:
            return arrays
        names = sorted(arrays)
        flat = [arrays[name].reshape(-1).view(dtype) for name in names]
        total = mx.distributed.all_sum(mx.concatenate(flat), group=self._group)
        mx.eval(total)
        parts = mx.split(total, np.cumsum([part.size for part in flat])[:-1].tolist())
        return {
            name: part.view(arrays[name].dtype).reshape(arrays[name].shape)
            for name, part in zip(names, parts, strict=True)
        }

    def any(self, flag: bool) -> bool:
        """Return whether a flag is set on any rank."""
        return bool(self.sum({"flag": mx.array([float(flag)])})["flag"].item())

    def from_main(self, arrays: dict[str, mx.array]) -> dict[str, mx.array]:
        """Return rank 0's arrays on all ranks, bit by bit; those of the others have its names, shapes and types."""
        own = arrays if self.main else {name: mx.zeros_like(array) for name, array in arrays.items()}
        return self._together(own, mx.uint8)

    def value_from_main(self, value: Any) -> Any:
        """Return rank 0's value on all ranks; it is one that JSON can hold."""
        data = mx.array(list(json.dumps(value).encode()), mx.uint8)
        length = int(np.array(self.from_main({"length": mx.array([data.size])})["length"][0]))
        own = data if self.main else mx.zeros(length, mx.uint8)
        return json.loads(bytes(np.array(self.from_main({"data": own})["data"])))

    def check_same(self, what: str, value: Any) -> None:
        """Check that all ranks have the value of rank 0; BetafoldError on all of them where one has another."""
        if self.any(self.value_from_main(value) != json.loads(json.dumps(value))):
            raise BetafoldError(f"the ranks do not have the same {what}: give all of them that of rank 0")


def join() -> Ranks:
    """Return the ranks that ``mlx.launch`` started; a process by itself is one. BetafoldError: they cannot connect."""
    with mlx_errors():
        return Ranks(mx.distributed.init())


@contextlib.contextmanager
def mlx_errors(advice: str = "") -> Iterator[None]:
    """Turn MLX's error about ranks that are lost or cannot connect into a line: its message, and the advice."""
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith(("[ring]", "[distributed]")):
            raise
        raise BetafoldError(f"{error}{advice}") from error
