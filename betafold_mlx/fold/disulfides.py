"""Disulfide prediction: ranks the ways to bond cysteines by the network's distances, where none is stated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from betafold_mlx.model.heads import EDGES
from betafold_mlx.peptide.bonds import Disulfides

BONDED_DISTANCE = 7.0
"""CA-CA of a disulfide lies below this, Angstrom (Hazes & Dijkstra 1988: 3.8 to 6.8)."""

NEAR_BY_CHANCE = (
    1.0, 0.908, 0.395, 0.323, 0.069, 0.051, 0.040, 0.038, 0.033, 0.033, 0.032, 0.031, 0.030, 0.030, 0.027, 0.029,
    0.026, 0.026, 0.025, 0.025, 0.023, 0.023, 0.023, 0.022, 0.019, 0.019, 0.018, 0.017, 0.016, 0.016, 0.016,
)  # fmt: skip
"""Share of residue pairs 1, 2, ... apart along a training chain whose CA lie within `BONDED_DISTANCE`."""

NEIGHBOURS = -4.0
"""Score of a bond between neighbours, which are always near: such bonds are rare (Carugo et al. 2003)."""

MAX_CYSTEINES = 12
"""12 cysteines can pair in 10,395 ways, 14 in 135,135."""

SHOWN = 5


@dataclass(frozen=True)
class DisulfidePattern:
    """One way to pair all cysteines (all but one of an odd number).

    Attributes
    ----------
    disulfides : tuple of (int, int)
        1-based.
    probability : float
        Among all such ways, 0 to 1. It takes for granted that all cysteines are bonded.
    """

    disulfides: Disulfides
    probability: float


def rank_disulfides(
    sequence: str, distogram: np.ndarray, cyclic: bool = False
) -> tuple[DisulfidePattern, ...]:
    """Rank the ways to pair cysteines by a distogram that was made with none stated.

    A way counts by the product over its pairs of p / b: the probability that the two CA lie within `BONDED_DISTANCE`
    over what it is for any two residues so far apart along the chain.

    Parameters
    ----------
    sequence : str
        One-letter codes, length L.
    distogram : numpy.ndarray
        (L, L, bins) logits.
    cyclic : bool
        Closed head to tail.

    Returns
    -------
    tuple of DisulfidePattern
        The `SHOWN` most probable, best first; none with fewer than two cysteines or more than `MAX_CYSTEINES`.
    """
    cysteines = [place for place, letter in enumerate(sequence) if letter == "C"]
    if not 2 <= len(cysteines) <= MAX_CYSTEINES:
        return ()
    logits = distogram[np.ix_(cysteines, cysteines)].astype(np.float64)
    logits -= logits.max(axis=-1, keepdims=True)
    share = np.exp(logits)
    near = int(np.searchsorted(EDGES, BONDED_DISTANCE)) + 1  # bins whose upper edge is at most that
    p = np.maximum(share[..., :near].sum(axis=-1) / share.sum(axis=-1), 1e-6)
    apart = np.abs(np.subtract.outer(cysteines, cysteines))
    if cyclic:
        apart = np.minimum(apart, len(sequence) - apart)
    gain = np.log(p) - np.log(np.array(NEAR_BY_CHANCE)[np.clip(apart, 1, len(NEAR_BY_CHANCE)) - 1])
    gain = np.where(apart == 1, NEIGHBOURS, gain)
    ways = list(_matchings(range(len(cysteines))))
    scores = np.array([sum(gain[i, j] for i, j in way) for way in ways])
    probability = np.exp(scores - scores.max())
    probability /= probability.sum()
    best = np.argsort(-probability, kind="stable")[:SHOWN]
    return tuple(
        DisulfidePattern(
            tuple((cysteines[i] + 1, cysteines[j] + 1) for i, j in ways[way]), float(probability[way])
        )
        for way in best
    )


def _matchings(free: Sequence[int]) -> Iterator[tuple[tuple[int, int], ...]]:
    """Yield every way to pair `free`, leaving one over where their number is odd."""
    if len(free) < 2:
        yield ()
        return
    if len(free) % 2:
        for left_over in range(len(free)):
            yield from _matchings([*free[:left_over], *free[left_over + 1 :]])
        return
    first, rest = free[0], list(free[1:])
    for place, second in enumerate(rest):
        for others in _matchings([*rest[:place], *rest[place + 1 :]]):
            yield ((first, second), *others)
