"""What the points of a scale see of the coarser scale, in frames that turn with the chain."""

from __future__ import annotations

from typing import NamedTuple

import mlx.core as mx

from betafold_mlx.generate.chain_layout import AROUND, Layout

CONTEXT_UNIT = 5.0
"""Angstrom. Coordinates that the Transformer reads are divided by it, to be about one."""

_FALLBACK = ((0.36, -0.48, 0.8), (0.6, 0.64, 0.48))
"""Two directions for the axes of a frame where a trace has no bend, or two of its points coincide."""


class Surroundings(NamedTuple):
    """What the points of a scale see of the coarser one.

    Attributes
    ----------
    origin : mx.array
        (B, S_k, 3) the coarser trace, brought to this scale, Angstrom.
    frames : mx.array
        (B, S_k, 3, 3) rotations; columns are the direction of the coarser trace at a point, that of its bend, and what
        makes them right-handed. In such a frame a helix looks the same wherever it points to.
    ahead : mx.array
        (B, S_k, 3 `AROUND`) where the coarser trace goes, in the point's frame, Angstrom.
    """

    origin: mx.array
    frames: mx.array
    ahead: mx.array


def surroundings(scale: int, trace: mx.array | None, layout: Layout) -> Surroundings:
    """Return what the points of a scale, counted from 0, see of the coarser trace (B, S_(k-1), 3), Angstrom.

    It is None for the first scale, whose points see nothing and all stand in the standard orientation.
    """
    batch, size = layout.masks[scale].shape
    if trace is None:
        frames = mx.broadcast_to(mx.eye(3), (batch, size, 3, 3))
        return Surroundings(mx.zeros((batch, size, 3)), frames, mx.zeros((batch, size, 3 * AROUND)))
    seen = (layout.views[scale - 1] @ trace).reshape(batch, -1, size, 3)
    first = _unit(seen[:, 0] + 1e-3 * mx.array(_FALLBACK[0]))
    bend = seen[:, 1] + 1e-3 * mx.array(_FALLBACK[1])
    second = _unit(bend - (bend * first).sum(axis=-1, keepdims=True) * first)
    frames = mx.stack([first, second, mx.linalg.cross(first, second)], axis=-1)
    ahead = to_frames(frames[:, None], seen[:, 2:])  # (B, AROUND, S, 3)
    origin = layout.ups[scale - 1] @ trace
    return Surroundings(origin, frames, ahead.swapaxes(1, 2).reshape(batch, size, -1))


def _unit(vectors: mx.array) -> mx.array:
    return vectors * mx.rsqrt(mx.square(vectors).sum(axis=-1, keepdims=True) + 1e-12)


def to_frames(frames: mx.array, vectors: mx.array) -> mx.array:
    """Return vectors (..., 3) as they are seen in frames (..., 3, 3)."""
    return (frames * vectors[..., None]).sum(axis=-2)


def from_frames(frames: mx.array, vectors: mx.array) -> mx.array:
    """Return vectors (..., 3) that are given in frames (..., 3, 3)."""
    return (frames * vectors[..., None, :]).sum(axis=-1)
