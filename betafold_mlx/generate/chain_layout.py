"""The layout of a batch of chains: masks, positions and neighbours of their points at each scale."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np
from mlx.utils import tree_map

from betafold_mlx.generate.scales import (
    interpolation,
    interpolation_at,
    point_positions,
    resampling,
    scale_sizes,
)
from betafold_mlx.generate.settings import MAX_LENGTH

STATES = "HEC"
"""Secondary structure that can be requested; any other letter leaves a residue open."""

MAX_SEPARATION = MAX_LENGTH
"""Separations along the chain are clipped to +- this, residues."""

OFFSETS = (-2, -1, 1, 2)
AROUND = len(OFFSETS)
"""Neighbours of a point that the network sees directly, to either side."""

_WAVELENGTHS = np.geomspace(4.0, 128.0, 12)
"""Residues. The shortest tells neighbours apart, the longest the ends of the longest chain."""

PLACE_FEATURES = 3 * 2 * len(_WAVELENGTHS) + 2


class Layout(NamedTuple):
    """A padded batch of B chains at K scales, coarse to fine; scale k is padded to S_k points.

    Attributes
    ----------
    masks : tuple of mx.array
        (B, S_k) bool, True for a real point.
    places : tuple of mx.array
        (B, S_k, `PLACE_FEATURES`): position along the chain from either end, length of the chain, and ring or not.
    separations : mx.array
        (B, T, T) int32 with T the sum of all S_k: how far apart two points are along the chain, in residues, around a
        ring the shorter way, from 0 (`MAX_SEPARATION` back) to 2 `MAX_SEPARATION`.
    ups : tuple of mx.array
        (B, S_k, S_(k-1)) matrices that take a trace to the next scale; there are K - 1.
    views : tuple of mx.array
        (B, V S_k, S_(k-1)) matrices that take a trace to what surrounds the points of the next scale: V = 2 + `AROUND`
        vectors of each, one kind after another. First the direction of the coarser trace there, then its bend, then
        where it goes, one and two of its points to either side. There are K - 1.
    neighbours : tuple of mx.array
        (B, S_k, `AROUND`) int32: two points to either side at the same scale, around a ring too; at an open end itself.
    states : tuple of mx.array
        (B, S_k, 3) share of each of `STATES` that is requested at a point, 0 where none is.
    """

    masks: tuple[mx.array, ...]
    places: tuple[mx.array, ...]
    separations: mx.array
    ups: tuple[mx.array, ...]
    views: tuple[mx.array, ...]
    neighbours: tuple[mx.array, ...]
    states: tuple[mx.array, ...]

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
    """Lay out a batch.

    Parameters
    ----------
    lengths : sequence of int
        Residues of each of B chains, at most `padded`.
    cyclic : sequence of bool
        Which of them are rings.
    padded : int
        Padded length.
    scales : int
        Number of scales K.
    secondary : sequence of str or None, optional
        Requested secondary structure, a letter a residue; None for none.
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
        np.concatenate([point_positions(length, size, cyclic), np.zeros(width - size)])
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
        up = np.zeros((room[k], room[k - 1]), np.float32)
        up[: sizes[k], : sizes[k - 1]] = resampling(sizes[k - 1], sizes[k], cyclic)
        around = np.zeros((2 + AROUND, room[k], room[k - 1]), np.float32)
        around[:, : sizes[k], : sizes[k - 1]] = _views(sizes[k - 1], sizes[k], cyclic)
        ups.append(up)
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
    padded = np.zeros((room, AROUND), np.int32)
    padded[:size] = beside
    return padded


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
