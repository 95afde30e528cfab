"""How alike backbones are: to each other (diversity), and to those of a data set (novelty)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.geometry.spread import ALIKE, measure_apart
from betafold_mlx.geometry.superpose import rmsd

_TOGETHER = 4096  # superpositions at a time


class Diversity(NamedTuple):
    """How a set of backbones differs; only backbones of one length can be compared.

    Attributes
    ----------
    mean_rmsd : float
        Of all pairs of the same length, N, CA, C, Angstrom; NaN where there is none.
    pairs : int
        Their number.
    clusters : int
        Leaders of clusters: backbones farther than `betafold_mlx.geometry.spread.ALIKE` from all leaders before.
    """

    mean_rmsd: float
    pairs: int
    clusters: int


def diversity(backbones: Sequence[np.ndarray]) -> Diversity:
    """Measure how backbones (L, >=3, 3), N, CA, C first, differ."""
    total, pairs, clusters = 0.0, 0, 0
    for group in _by_length(backbones).values():
        apart = measure_apart(np.stack([backbones[index][:, :3] for index in group]))
        upper = apart[np.triu_indices(len(group), k=1)]
        total, pairs = total + float(upper.sum()), pairs + len(upper)
        leaders: list[int] = []
        for number in range(len(group)):
            if not (apart[leaders, number] <= ALIKE).any():
                leaders.append(number)
        clusters += len(leaders)
    return Diversity(total / pairs if pairs else float("nan"), pairs, clusters)


def nearest(backbones: Sequence[np.ndarray], library: Sequence[np.ndarray]) -> np.ndarray:
    """Return the RMSD of each backbone to the nearest of a library that is as long.

    Parameters
    ----------
    backbones, library : sequence of numpy.ndarray
        (L, >=3, 3) Angstrom: N, CA, C first.

    Returns
    -------
    numpy.ndarray
        (n,) Angstrom; NaN where the library has none of the length.
    """
    known = _by_length(library)
    found = np.full(len(backbones), np.nan)
    for length, group in _by_length(backbones).items():
        if length not in known:
            continue
        targets = mx.array(np.stack([_centred(library[index]) for index in known[length]]))  # (K, 3 L, 3)
        rows = max(1, _TOGETHER // len(known[length]))
        for first in range(0, len(group), rows):
            some = group[first : first + rows]
            mobile = mx.array(np.stack([_centred(backbones[index]) for index in some]))
            pair = (len(some), targets.shape[0], *targets.shape[1:])
            away = rmsd(mx.broadcast_to(mobile[:, None], pair), mx.broadcast_to(targets[None], pair))
            found[some] = np.array(away.min(axis=1))
    return found


def _centred(backbone: np.ndarray) -> np.ndarray:
    points = backbone[:, :3].reshape(-1, 3).astype(np.float64)
    return (points - points.mean(axis=0)).astype(np.float32)


def _by_length(backbones: Sequence[np.ndarray]) -> dict[int, list[int]]:
    groups: dict[int, list[int]] = {}
    for index, backbone in enumerate(backbones):
        groups.setdefault(len(backbone), []).append(index)
    return groups
