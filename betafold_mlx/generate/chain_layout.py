"""The layout of a batch of chains at each scale, and what its points see of the coarser one.

Masks, positions and neighbours of the points; the coarser trace around them in frames that turn with the chain.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np
from mlx.utils import tree_map

from betafold_mlx.generate.generator_config import MAX_LENGTH
from betafold_mlx.generate.scales import (
    interpolation,
    interpolation_at,
    point_positions,
    resampling,
    scale_sizes,
)

STATES = "HEC"  # secondary structure that can be requested; any other letter leaves a residue open
MAX_SEPARATION = MAX_LENGTH  # separations along the chain are clipped to +- this, residues
OFFSETS = (-2, -1, 1, 2)
AROUND = len(OFFSETS)  # neighbours of a point that the network sees directly, to either side
_WAVELENGTHS = np.geomspace(4.0, 128.0, 12)
"""Residues. The shortest tells neighbours apart, the longest the ends of the longest chain."""
PLACE_FEATURES = 3 * 2 * len(_WAVELENGTHS) + 2
CONTEXT_UNIT = 5.0  # Angstrom. Coordinates that the Transformer reads are divided by it, to be about one
_FALLBACK = ((0.36, -0.48, 0.8), (0.6, 0.64, 0.48))
"""Two directions for the axes of a frame where a trace has no bend, or two of its points coincide."""


class Layout(NamedTuple):
    """A padded batch of B chains at K scales, coarse to fine; scale k is padded to S_k points.

    A view is V = 2 + `AROUND` vectors for each point of a scale, one kind after another: the direction of the coarser
    trace there, its bend, and where it goes, one and two of its points to either side.
    """

    masks: tuple[mx.array, ...]  # (B, S_k) bool, True for a real point
    # (B, S_k, `PLACE_FEATURES`): position along the chain from either end, length of the chain, and ring or not.
    places: tuple[mx.array, ...]
    # (B, T, T) int32 with T the sum of all S_k: residues between two points along the chain, around a ring the shorter
    # way, from 0 (`MAX_SEPARATION` back) to 2 `MAX_SEPARATION`.
    separations: mx.array
    ups: tuple[mx.array, ...]  # K - 1 matrices (B, S_k, S_(k-1)) that take a trace to the next scale
    views: tuple[mx.array, ...]  # K - 1 matrices (B, V S_k, S_(k-1)) that take a trace to its view
    # (B, S_k, `AROUND`) int32: two points to either side, around a ring too; at an open end the point itself.
    neighbours: tuple[mx.array, ...]
    states: tuple[mx.array, ...]  # (B, S_k, 3) share of each of `STATES` that is requested at a point

    @property
    def sizes(self) -> tuple[int, ...]:
        """Padded points of each scale."""
        return tuple(mask.shape[1] for mask in self.masks)


def make_layout(
    lengths: Sequence[int],
    cyclic: Sequence[bool],
    padded: int,
    scales: int,
    secondary: Sequence[str | None] | None = None,
) -> Layout:
    """Lay out chains of so many residues, open or rings, at most `padded`.

    `secondary` is the requested secondary structure of each, a letter a residue, or None.
    """
    wanted = [None] * len(lengths) if secondary is None else secondary
    chains = [
        (
            *_chain_rows(length, bool(ring), padded, scales),
            _states(letters, length, bool(ring), padded, scales),
        )
        for length, ring, letters in zip(lengths, cyclic, wanted, strict=True)
    ]
    return Layout(*tree_map(lambda *rows: mx.array(np.stack(rows)), chains[0], *chains[1:]))


@functools.cache
def _chain_rows(length: int, cyclic: bool, padded: int, scales: int) -> tuple[Any, ...]:
    """Return the rows of one chain in all fields of a `Layout` but the last, as NumPy arrays."""
    sizes, room = scale_sizes(length, scales=scales), scale_sizes(padded, scales=scales)
    masks = tuple(np.arange(width) < size for size, width in zip(sizes, room, strict=True))
    # Padding stands at the start of the chain: a number, which no real point attends to.
    positions = [
        np.pad(point_positions(length, size, cyclic), (0, width - size))
        for size, width in zip(sizes, room, strict=True)
    ]
    places = tuple(_place_features(place, length, cyclic) for place in positions)
    everywhere = np.concatenate(positions)
    offset = everywhere[:, None] - everywhere[None, :]
    if cyclic:
        offset = (offset + length / 2) % length - length / 2
    separations = np.clip(np.rint(offset), -MAX_SEPARATION, MAX_SEPARATION).astype(np.int32) + MAX_SEPARATION
    ups, views = [], []
    for k in range(1, scales):
        edges = (0, room[k] - sizes[k]), (0, room[k - 1] - sizes[k - 1])
        ups.append(np.pad(resampling(sizes[k - 1], sizes[k], cyclic), edges))
        around = np.pad(_views(sizes[k - 1], sizes[k], cyclic).astype(np.float32), ((0, 0), *edges))
        views.append(around.reshape(-1, room[k - 1]))
    neighbours = tuple(_neighbours(size, width, cyclic) for size, width in zip(sizes, room, strict=True))
    return masks, places, separations, tuple(ups), tuple(views), neighbours


def _views(coarse: int, size: int, cyclic: bool) -> np.ndarray:
    """Return the matrices (2 + `AROUND`, size, coarse) of `Layout.views`."""

    def at(place: np.ndarray) -> np.ndarray:
        """Interpolate a trace at places in units of its points; beyond an open end it stays at the end."""
        place = np.mod(place, coarse) if cyclic else np.clip(place, 0, coarse - 1)
        return interpolation_at(place, coarse)

    knots = np.arange(coarse)
    middle = knots if cyclic else np.clip(knots, 1, coarse - 2)  # a bend has a point to either side
    before, here, after = (at(middle + offset) for offset in (-1, 0, 1))
    here_of = interpolation(coarse, size, cyclic)
    place = point_positions(coarse, size, cyclic)
    ahead = [at(place + offset) - at(place) for offset in OFFSETS]
    return np.stack([here_of @ (after - before), here_of @ (before - 2 * here + after), *ahead])


def _neighbours(size: int, room: int, cyclic: bool) -> np.ndarray:
    """Return the rows (room, `AROUND`) of `Layout.neighbours`."""
    own = np.arange(size)[:, None]
    beside = own + np.array(OFFSETS)
    beside = beside % size if cyclic else np.where((beside >= 0) & (beside < size), beside, own)
    return np.pad(beside.astype(np.int32), ((0, room - size), (0, 0)))


def _place_features(place: np.ndarray, length: int, cyclic: bool) -> np.ndarray:
    """Return the rows (S, `PLACE_FEATURES`) of `Layout.places`."""
    angles = np.stack([place, length - 1 - place, np.full_like(place, length)], axis=-1)[..., None]
    angles = angles * (2 * np.pi / _WAVELENGTHS)
    waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=-1).reshape(len(place), -1)
    fixed = np.broadcast_to([length / MAX_LENGTH, float(cyclic)], (len(place), 2))
    return np.concatenate([waves, fixed], axis=-1).astype(np.float32)


def _states(
    letters: str | None, length: int, cyclic: bool, padded: int, scales: int
) -> tuple[np.ndarray, ...]:
    """Return the shares of the requested states at the points of each scale, (S_k, 3) each."""
    shares = [np.zeros((width, len(STATES)), np.float32) for width in scale_sizes(padded, scales=scales)]
    if letters:
        wanted = np.array([[letter == state for state in STATES] for letter in letters], np.float32)
        for rows, size in zip(shares, scale_sizes(length, scales=scales), strict=True):
            rows[:size] = interpolation(length, size, cyclic) @ wanted
    return tuple(shares)


class Surroundings(NamedTuple):
    """What the points of a scale see of the coarser one."""

    origin: mx.array  # (B, S_k, 3) the coarser trace, brought to this scale, Angstrom
    # (B, S_k, 3, 3) rotations; columns are the direction of the coarser trace at a point, that of its bend, and what
    # makes them right-handed. In such a frame a helix looks the same wherever it points to
    frames: mx.array
    ahead: mx.array  # (B, S_k, 3 `AROUND`) where the coarser trace goes, in the point's frame, Angstrom


def surroundings(scale: int, trace: mx.array | None, layout: Layout) -> Surroundings:
    """Return what the points of a scale, counted from 0, see of the coarser trace (B, S_(k-1), 3), Angstrom.

    It is None for the first scale, whose points see nothing and all stand in the standard orientation.
    """
    batch, size = layout.masks[scale].shape
    if trace is None:
        frames = mx.broadcast_to(mx.eye(3), (batch, size, 3, 3))
        return Surroundings(mx.zeros((batch, size, 3)), frames, mx.zeros((batch, size, 3 * AROUND)))
    seen = (layout.views[scale - 1] @ trace).reshape(batch, -1, size, 3)
    first = _normalised(seen[:, 0] + 1e-3 * mx.array(_FALLBACK[0]))
    bend = seen[:, 1] + 1e-3 * mx.array(_FALLBACK[1])
    second = _normalised(bend - (bend * first).sum(axis=-1, keepdims=True) * first)
    frames = mx.stack([first, second, mx.linalg.cross(first, second)], axis=-1)
    ahead = to_frames(frames[:, None], seen[:, 2:])  # (B, AROUND, S, 3)
    origin = layout.ups[scale - 1] @ trace
    return Surroundings(origin, frames, ahead.swapaxes(1, 2).reshape(batch, size, -1))


def _normalised(vectors: mx.array) -> mx.array:
    return vectors * mx.rsqrt(mx.square(vectors).sum(axis=-1, keepdims=True) + 1e-12)


def to_frames(frames: mx.array, vectors: mx.array) -> mx.array:
    """Return vectors (..., 3) as they are seen in frames (..., 3, 3)."""
    return (frames * vectors[..., None]).sum(axis=-2)


def from_frames(frames: mx.array, vectors: mx.array) -> mx.array:
    """Return vectors (..., 3) that are given in frames (..., 3, 3)."""
    return (frames * vectors[..., None, :]).sum(axis=-1)
