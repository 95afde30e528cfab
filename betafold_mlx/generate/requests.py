"""What is asked of a sample: its length, a ring, a coarse shape, a motif, secondary structure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from betafold_mlx.errors import BetafoldError
from betafold_mlx.generate.scales import (
    FEWEST_POINTS,
    LONGEST,
    SHORTEST,
    canonical_axes,
    point_positions,
    scale_sizes,
)


class Motif(NamedTuple):
    """A piece of structure that a sample is to contain.

    Attributes
    ----------
    start : int
        0-based residue of the chain that the motif begins at.
    trace : numpy.ndarray
        (m, 3) C-alpha positions, Angstrom.
    """

    start: int
    trace: np.ndarray


class Request(NamedTuple):
    """One sample.

    Attributes
    ----------
    length : int
        Residues.
    number : int
        Of the sample, from 0.
    cyclic : bool
        A ring.
    coarse : numpy.ndarray or None
        (m, 3) shape to follow, Angstrom.
    motif : Motif or None
        Piece to keep.
    secondary : str or None
        Secondary structure asked for, a letter a residue.
    """

    length: int
    number: int
    cyclic: bool
    coarse: np.ndarray | None
    motif: Motif | None
    secondary: str | None


def check(request: Request, scales: int) -> None:
    """Check that a generator of so many scales can be asked for this.

    Raises
    ------
    BetafoldError
        For a length out of range, or a shape, motif or secondary structure that does not fit its chain.
    """
    length = request.length
    if not SHORTEST <= length <= LONGEST:
        raise BetafoldError(f"{length} residues: a chain of {SHORTEST} to {LONGEST} can be generated")
    if request.coarse is not None:
        points = np.asarray(request.coarse)
        if points.ndim != 2 or points.shape[1] != 3 or len(points) < FEWEST_POINTS:
            raise BetafoldError(
                f"a coarse shape has {FEWEST_POINTS} points or more, of three coordinates each"
            )
        if not np.isfinite(points).all():
            raise BetafoldError("a coarse shape holds NaN or infinite coordinates")
        if scales == 1:
            raise BetafoldError("this generator has one scale alone, and follows no coarse shape")
    if request.motif is not None:
        start, points = request.motif
        points = np.asarray(points)
        if points.ndim != 2 or points.shape[1] != 3 or not len(points) or not np.isfinite(points).all():
            raise BetafoldError("a motif has one residue or more, of three finite coordinates each")
        if start < 0 or start + len(points) > length:
            raise BetafoldError(
                f"a motif of {len(points)} residues from residue {start + 1} does not fit a chain of {length}"
            )
    if request.secondary is not None and len(request.secondary) != length:
        raise BetafoldError(
            f"a secondary structure of {len(request.secondary)} letters was asked of {length} residues"
        )


def motif_points(
    requests: Sequence[Request], scale: int, scales: int, room: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the motifs at a scale: points (B, S_k, 3), Angstrom, and (B, S_k) bool, True where there is one."""
    points = np.zeros((len(requests), room, 3), np.float32)
    inside = np.zeros((len(requests), room), bool)
    for row, request in enumerate(requests):
        if request.motif is None:
            continue
        start, motif = request.motif
        size = scale_sizes(request.length, scales=scales)[scale]
        place = np.round(point_positions(request.length, size, request.cyclic) - start, 9)
        chosen = np.flatnonzero((place >= 0) & (place <= len(motif) - 1))
        residue = np.arange(len(motif))
        for axis in range(3):
            points[row, chosen, axis] = np.interp(place[chosen], residue, np.asarray(motif, float)[:, axis])
        inside[row, chosen] = True
    return points, inside


def oriented(trace: np.ndarray, request: Request) -> np.ndarray:
    """Turn a trace (L, 3) from the standard orientation to that of the shape that was asked for."""
    if request.coarse is None:
        return trace
    axes = canonical_axes(np.asarray(request.coarse, float), request.cyclic)
    return (trace @ axes.T).astype(np.float32)
