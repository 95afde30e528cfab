"""Disulfide prediction: ranks the ways to bond cysteines, where none is stated.

Three sources: the network's distances, the cysteine frameworks of known families (`betafold_mlx.fold.frameworks`), and
the disulfides of known structures of similar sequence (`betafold_mlx.templates.search.find_bonds`). They are combined
log-linearly; `scripts/_fit_disulfides.py` fits the weights and measures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from betafold_mlx.fold.frameworks import Framework, match_frameworks
from betafold_mlx.model.heads import EDGES
from betafold_mlx.peptide.bonds import SULFUR, THIOLS, Disulfides
from betafold_mlx.peptide.sequence import Peptide
from betafold_mlx.templates.search import TemplateBonds

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

NETWORK_ALONE = (1.0, 0.0, 0.0)
WITH_FRAMEWORK = (0.84, 5.61, 0.0)
WITH_TEMPLATES = (0.36, 2.8, 4.58)
"""Weights of three terms of a way's score: the network's, 1 where a framework bonds so, and the best of the templates'
(trust x share of the way's bonds that it has). The first row where there is nothing but the network, the second where a
framework fits, the last where a template bonds the peptide's cysteines. Fitted by maximum likelihood to training and
validation peptides (`scripts/_fit_disulfides.py`)."""


@dataclass(frozen=True)
class DisulfidePattern:
    """One way to pair all cysteines (all but one of an odd number).

    Attributes
    ----------
    disulfides : tuple of (int, int)
        1-based.
    probability : float
        Among all such ways, 0 to 1. It takes for granted that all cysteines are bonded.
    frameworks : tuple of Framework
        Known families that bond cysteines of this spacing so.
    templates : tuple of str
        Known structures of similar sequence that have all of these bonds.
    """

    disulfides: Disulfides
    probability: float
    frameworks: tuple[Framework, ...] = ()
    templates: tuple[str, ...] = ()


def thiol_letters(peptide: Peptide) -> str:
    """Return a peptide's letters, with S for each cysteine whose sulfur is modified or in another stated bond."""
    taken = {bond.i for bond in peptide.bonds if bond.atom_i == SULFUR}
    taken |= {bond.j for bond in peptide.bonds if bond.atom_j == SULFUR}
    return "".join(
        "S" if letter == "C" and (code not in THIOLS or place in taken) else letter
        for place, (code, letter) in enumerate(zip(peptide.residues, peptide.sequence, strict=True), start=1)
    )


def rank_disulfides(
    sequence: str, distogram: np.ndarray, cyclic: bool = False, templates: Sequence[TemplateBonds] = ()
) -> tuple[DisulfidePattern, ...]:
    """Rank the ways to pair cysteines.

    Parameters
    ----------
    sequence : str
        One-letter codes, length L.
    distogram : numpy.ndarray
        (L, L, bins) logits, made with no disulfides stated.
    cyclic : bool
        Closed head to tail.
    templates : sequence of TemplateBonds
        Known structures of similar sequence.

    Returns
    -------
    tuple of DisulfidePattern
        The `SHOWN` most probable, best first; none with fewer than two cysteines or more than `MAX_CYSTEINES`.
    """
    if not 2 <= sequence.count("C") <= MAX_CYSTEINES:
        return ()
    ways, network = network_scores(sequence, distogram, cyclic)
    known = match_frameworks(sequence, cyclic)
    framework = np.array([float(way in known) for way in ways])
    template = template_scores(ways, templates)
    weights = WITH_TEMPLATES if template.any() else WITH_FRAMEWORK if framework.any() else NETWORK_ALONE
    scores = np.array(weights) @ np.stack([network, framework, template])
    probability = np.exp(scores - scores.max())
    probability /= probability.sum()
    return tuple(
        DisulfidePattern(
            ways[index],
            float(probability[index]),
            known.get(ways[index], ()),
            tuple(each.name for each in templates if set(ways[index]) <= set(each.disulfides)),
        )
        for index in np.argsort(-probability, kind="stable")[:SHOWN]
    )


def network_scores(
    sequence: str, distogram: np.ndarray, cyclic: bool = False
) -> tuple[list[Disulfides], np.ndarray]:
    """Return all ways to pair the cysteines and what the network makes of them.

    A way counts by the sum over its pairs of log(p / b): p is the probability that the two CA lie within
    `BONDED_DISTANCE`, b what it is for any two residues so far apart along the chain.

    Returns
    -------
    list of tuple of (int, int)
        1-based disulfides of each way.
    numpy.ndarray
        (ways,) log scores.
    """
    cysteines = [place for place, letter in enumerate(sequence) if letter == "C"]
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
    return [tuple((cysteines[i] + 1, cysteines[j] + 1) for i, j in way) for way in ways], scores


def template_scores(ways: Sequence[Disulfides], templates: Sequence[TemplateBonds]) -> np.ndarray:
    """Return for each way the best of trust x share of its bonds that a template has: (ways,), 0 to 1."""
    scores = np.zeros(len(ways))
    for each in templates:
        bonds = set(each.disulfides)
        scores = np.maximum(scores, [each.trust * len(bonds.intersection(way)) / len(way) for way in ways])
    return scores


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
