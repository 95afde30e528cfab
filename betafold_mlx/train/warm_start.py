"""Start a training from the weights of another model, whose positions may be fewer."""

from __future__ import annotations

import mlx.core as mx

from betafold_mlx.errors import BetafoldError
from betafold_mlx.model.directory import LoadedModel, named_arrays
from betafold_mlx.model.folding import FoldingModel

POSITION_NOISE = 0.02
"""Standard deviation that tells new positions from the last known one: that of new positions of a new model."""


def start_from(model: FoldingModel, other: LoadedModel) -> None:
    """Give a model the weights of another one, the same but for a smaller or equal `max_length`.

    Positions that the other lacks begin as its last one, with noise; separations as its farthest ones. BetafoldError
    for networks that differ in more.
    """
    size = model.config.max_length
    expected = named_arrays(model.parameters())
    arrays = {
        name: _extended(name, array, size) for name, array in named_arrays(other.model.parameters()).items()
    }
    if {name: array.shape for name, array in arrays.items()} != {n: a.shape for n, a in expected.items()}:
        raise BetafoldError(f"the weights of {other.name} do not fit this network: give its settings")
    model.load_weights(list(arrays.items()))


def _extended(name: str, array: mx.array, size: int) -> mx.array:
    if name == "positions" and len(array) < size:
        more = mx.broadcast_to(array[-1:], (size - len(array), array.shape[1]))
        return mx.concatenate([array, more + POSITION_NOISE * mx.random.normal(more.shape)])
    side = size - 1 - (len(array) - 1) // 2 if name.endswith("separation.weight") else 0
    if side > 0:
        ends = (mx.broadcast_to(end, (side, array.shape[1])) for end in (array[:1], array[-1:]))
        first, last = ends
        return mx.concatenate([first, array, last])
    return array
