"""Batches of arrays joined to one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import mlx.core as mx

from betafold_mlx.model.ramachandran import TorsionMixture


def joined(parts: Sequence[Any]) -> Any:
    """Return tuples of arrays, of batches of one padded length, as one of them all; flags hold where one holds."""
    first = next((part for part in parts if part is not None), None)
    if first is None:
        return None
    if isinstance(first, bool):
        return any(parts)
    if isinstance(first, mx.array):
        return mx.concatenate(list(parts))
    if isinstance(first, TorsionMixture):  # its states are the same for all
        return replace(first, log_weights=mx.concatenate([part.log_weights for part in parts]))
    values = list(map(joined, zip(*parts, strict=True)))
    return values if isinstance(first, list) else type(first)(*values)
