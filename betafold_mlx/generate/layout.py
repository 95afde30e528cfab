"""Where the points of a batch of chains stand, at each scale: what depends on lengths and rings alone."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.generate.scales import LONGEST, interpolation, point_positions, resampling, scale_sizes

STATES = "HEC"
"""Secondary structure that can be asked for; any other letter leaves a residue open."""

REACH = LONGEST
"""Separations along the chain are clipped to +- this, residues."""

OFFSETS = (-2, -1, 1, 2)
AROUND = len(OFFSETS)
"""The points to either side of a point that it is shown directly."""

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
        ring the shorter way, from 0 (`REACH` back) to 2 `REACH`.
    ups : tuple of mx.array
        (B, S_k, S_(k-1)) matrices that take a trace to the next scale; there are K - 1.
    views : tuple of mx.array
        (B, V S_k, S_(k-1)) matrices that take a trace to what surrounds the points of the next scale: V = 2 + `AROUND`
        vectors of each, one kind after another. First the direction of the coarser trace there, then its bend, then
        where it goes, one and two of its points to either side. There are K - 1.
    neighbours : tuple of mx.array
        (B, S_k, `AROUND`) int32: two points to either side at the same scale, around a ring too; at an open end itself.
    states : tuple of mx.array
        (B, S_k, 3) share of each of `STATES` that is asked for at a point, 0 where none is.
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
        Residues of each of B chains, `padded` at most.
    cyclic : sequence of bool
        Which of them are rings.
    padded : int
        Padded length.
    scales : int
        Number of scales K.
    secondary : sequence of str or None, optional
        Secondary structure asked for, a letter a residue; None for none.

    Returns
    -------
    Layout
    """
    kinds = [_kind(length, bool(ring), padded, scales) for length, ring in zip(lengths, cyclic, strict=True)]
    wanted = [None] * len(kinds) if secondary is None else list(secondary)
    states = [
        _states(text, length, bool(ring), padded, scales)
        for text, length, ring in zip(wanted, lengths, cyclic, strict=True)
    ]

    def stacked(arrays: Sequence[Sequence[np.ndarray]]) -> tuple[mx.array, ...]:
        return tuple(mx.array(np.stack(group)) for group in zip(*arrays, strict=True))

    return Layout(
        stacked([kind.masks for kind in kinds]),
        stacked([kind.places for kind in kinds]),
        mx.array(np.stack([kind.separations for kind in kinds])),
        stacked([kind.ups for kind in kinds]),
        stacked([kind.views for kind in kinds]),
        stacked([kind.neighbours for kind in kinds]),
        stacked(states),
    )


class _Kind(NamedTuple):
    """The rows of a `Layout` that belong to one chain."""

    masks: tuple[np.ndarray, ...]
    places: tuple[np.ndarray, ...]
    separations: np.ndarray
    ups: tuple[np.ndarray, ...]
    views: tuple[np.ndarray, ...]
    neighbours: tuple[np.ndarray, ...]


@functools.cache
def _kind(length: int, cyclic: bool, padded: int, scales: int) -> _Kind:
    sizes, room = scale_sizes(length, scales=scales), scale_sizes(padded, scales=scales)
    masks = tuple(np.arange(most) < size for size, most in zip(sizes, room, strict=True))
    # Padding stands at the chain's start: a number, though nothing listens to it.
    positions = [
        np.concatenate([point_positions(length, size, cyclic), np.zeros(most - size)])
        for size, most in zip(sizes, room, strict=True)
    ]
    places = tuple(_place_features(place, length, cyclic) for place in positions)
    everywhere = np.concatenate(positions)
    offset = everywhere[:, None] - everywhere[None, :]
    if cyclic:
        offset = (offset + length / 2) % length - length / 2
    separations = np.clip(np.rint(offset), -REACH, REACH).astype(np.int32) + REACH
    ups, views = [], []
    for k in range(1, scales):
        up = np.zeros((room[k], room[k - 1]), np.float32)
        up[: sizes[k], : sizes[k - 1]] = resampling(sizes[k - 1], sizes[k], cyclic)
        around = np.zeros((2 + AROUND, room[k], room[k - 1]), np.float32)
        around[:, : sizes[k], : sizes[k - 1]] = _views(sizes[k - 1], sizes[k], cyclic)
        ups.append(up)
        views.append(around.reshape(-1, room[k - 1]))
    neighbours = tuple(_neighbours(size, most, cyclic) for size, most in zip(sizes, room, strict=True))
    return _Kind(masks, places, separations, tuple(ups), tuple(views), neighbours)


def _views(coarse: int, size: int, cyclic: bool) -> np.ndarray:
    """Return the matrices (2 + `AROUND`, size, coarse) of `Layout.views`."""
    knots = np.arange(coarse)

    def at(place: np.ndarray) -> np.ndarray:
        """Interpolate a trace at places in units of its points; beyond an open end it stays at the end."""
        place = np.mod(place, coarse) if cyclic else np.clip(place, 0, coarse - 1)
        lower = np.floor(np.round(place, 9)).astype(int)
        share = np.round(place - lower, 9)
        matrix = np.zeros((len(place), coarse))
        rows = np.arange(len(place))
        matrix[rows, lower % coarse] += 1.0 - share
        matrix[rows, (lower + 1) % coarse] += share
        return matrix

    middle = knots if cyclic else np.clip(knots, 1, coarse - 2)  # a bend has a point to either side
    before, here, after = (at(middle + offset) for offset in (-1, 0, 1))
    here_of = interpolation(coarse, size, cyclic)
    place = point_positions(coarse, size, cyclic)
    ahead = [at(place + offset) - at(place) for offset in OFFSETS]
    return np.stack([here_of @ (after - before), here_of @ (before - 2 * here + after), *ahead])


def _neighbours(size: int, room: int, cyclic: bool) -> np.ndarray:
    own = np.arange(size)[:, None]
    beside = own + np.array(OFFSETS)
    beside = beside % size if cyclic else np.where((beside >= 0) & (beside < size), beside, own)
    padded = np.zeros((room, AROUND), np.int32)
    padded[:size] = beside
    return padded


def _place_features(place: np.ndarray, length: int, cyclic: bool) -> np.ndarray:
    from_end = length - 1 - place
    angles = np.stack([place, from_end, np.full_like(place, length)], axis=-1)[..., None] * (
        2 * np.pi / _WAVELENGTHS
    )
    waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=-1).reshape(len(place), -1)
    fixed = np.broadcast_to([length / LONGEST, float(cyclic)], (len(place), 2))
    return np.concatenate([waves, fixed], axis=-1).astype(np.float32)


def _states(text: str | None, length: int, cyclic: bool, padded: int, scales: int) -> tuple[np.ndarray, ...]:
    """Return the shares of the states at the points of each scale, (S_k, 3) each."""
    asked = np.array([[letter == state for state in STATES] for letter in text or "-" * length], np.float32)
    sizes, room = scale_sizes(length, scales=scales), scale_sizes(padded, scales=scales)
    shares = [np.zeros((most, len(STATES)), np.float32) for most in room]
    if text:
        for rows, size in zip(shares, sizes, strict=True):
            rows[:size] = interpolation(length, size, cyclic) @ asked
    return tuple(shares)
