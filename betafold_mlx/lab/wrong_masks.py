"""Padding masks that are wrong on purpose, in attention alone: lengths, geometry and losses stay right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from betafold_mlx.errors import BetafoldError
from betafold_mlx.model.folding import FoldingModel
from betafold_mlx.model.transformer import Transformer

CHANGES: dict[str, Callable[[mx.array], mx.array]] = {
    "no mask": lambda mask: mx.ones_like(mask),
    "inverted": lambda mask: ~mask,
    "off by one": lambda mask: mx.concatenate([mx.zeros_like(mask[:, :1]), mask[:, :-1]], axis=1),
}
"""(B, L) bool -> (B, L) bool. ``no mask``: padding is listened to. ``inverted``: nothing else is. ``off by one``:
everything is shifted by a place, so the first residue is not heard, and one place of padding is."""


class WronglyMasked(Transformer):
    """A Transformer, with the weights of another under the same names, that listens by a changed mask."""

    def __init__(self, right: Transformer, change: Callable[[mx.array], mx.array]) -> None:
        nn.Module.__init__(self)
        self.blocks, self.norm = right.blocks, right.norm
        self._change = change

    def __call__(
        self, x: mx.array, mask: mx.array, *others: Any, **named: Any
    ) -> tuple[mx.array, list[mx.array]]:
        """Run the stack, as `Transformer`."""
        return super().__call__(x, self._change(mask), *others, **named)


def mask_wrongly(model: FoldingModel, change: str | None) -> FoldingModel:
    """Give a model a wrong mask, by its name in `CHANGES`, and return it; None leaves it as it is."""
    if change is not None:
        if model.config.trunk != "transformer":
            raise BetafoldError("masks can be broken in a Transformer alone: this model has a pair trunk")
        model.transformer = WronglyMasked(model.transformer, CHANGES[change])
    return model
