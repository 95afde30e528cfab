"""What attention heads look at, measured over many structures.

A head that only follows positions gives each offset the same weight in every peptide. So the weight on the helix
neighbours, or on the partner across a hairpin, is compared with that of the same offsets elsewhere, beside the weight
that spreading evenly would give.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.esm.embedder import EsmEmbedder
from betafold_mlx.esm.tokenizer import encode
from betafold_mlx.evaluate.bootstrap import MIN_CLUSTERS, ClusterBootstrap
from betafold_mlx.evaluate.groups import PAIRED_DISTANCE, strand_edges
from betafold_mlx.fold.predictor import in_batches
from betafold_mlx.lab.statistics import RESAMPLES, clustered_mean
from betafold_mlx.model.folding import FoldingModel
from betafold_mlx.model.inputs import collate
from betafold_mlx.peptide.sequence import Peptide
from betafold_mlx.train.batches import Featurizer

MIN_APART = 3  # residues along the chain between the two of a pair across a hairpin, at least

Reader = Callable[[Sequence[Peptide]], list[np.ndarray]]
"""Peptides -> (layers, heads, L, L) attention of each; rows listen to columns."""


def network_maps(
    model: FoldingModel, featurizer: Featurizer | None, peptides: Sequence[Peptide]
) -> list[np.ndarray]:
    """Read the maps of a folding network."""

    def read(batch: Sequence[Peptide]) -> list[np.ndarray]:
        inputs = collate(batch)
        if featurizer is not None:
            features = featurizer([peptide.sequence for peptide in batch], inputs.mask.shape[1])
            inputs = inputs._replace(features=features)
        attention = np.array(mx.stack(model(inputs, return_attention=True).attention, axis=1))
        return [one[:, :, : len(p), : len(p)] for one, p in zip(attention, batch, strict=True)]

    mx.eval(model.parameters())  # threads read them
    return in_batches(peptides, read)


def esm_maps(embedder: EsmEmbedder, peptides: Sequence[Peptide]) -> list[np.ndarray]:
    """Read the maps of an ESM-2, without its first and last token: rows sum to less than one."""
    maps = []
    for peptide in peptides:
        tokens = mx.array(encode([peptide.sequence]))
        attention = mx.stack(embedder.esm.model.encode(tokens, return_attention=True).attention, axis=1)
        maps.append(np.array(attention)[0, :, :, 1:-1, 1:-1])
    return maps


class Weights(NamedTuple):
    """Attention on wanted places, summed over residues, for n structures and H heads (layer by layer).

    `other_sums` would be the sums if each head followed the offset alone: the head's mean weight at the same offsets in
    residues or structures that are not in question.
    """

    sums: np.ndarray  # (n, H) weight on the wanted places of the residues in question
    other_sums: np.ndarray  # (n, H)
    even_sums: np.ndarray  # (n,) what spreading evenly would give
    counts: np.ndarray  # (n,) residues in question


def helix_weights(maps: Sequence[np.ndarray], states: Sequence[str]) -> Weights:
    """Return the weight that helical residues give i+-3 and i+-4, against the other residues at the same offsets.

    `maps` are n times (layers, heads, L, L), `states` the secondary structure of each, H, E and C.
    """
    wanted = [
        [
            (i, j)
            for i, state in enumerate(one)
            if state == "H"
            for j in range(len(one))
            if abs(i - j) in (3, 4)
        ]
        for one in states
    ]
    others = [np.array([state != "H" for state in one]) for one in states]
    return _sum_weights(maps, wanted, others, np.array([one.count("H") for one in states]))


def partner_weights(maps: Sequence[np.ndarray], pairs: Sequence[Sequence[tuple[int, int]]]) -> Weights:
    """Return the weight that paired residues give their partners, against the same offsets in structures without pairs.

    `maps` are n times (layers, heads, L, L), `pairs` 0-based pairs of each structure, each in one order.
    """
    wanted = [[pair for i, j in one for pair in ((i, j), (j, i))] for one in pairs]
    others = [np.full(m.shape[-1], not one) for m, one in zip(maps, pairs, strict=True)]
    return _sum_weights(maps, wanted, others, np.array([len(one) for one in wanted]))


def _sum_weights(
    maps: Sequence[np.ndarray],
    wanted: Sequence[Sequence[tuple[int, int]]],
    others: Sequence[np.ndarray],
    counts: np.ndarray,
) -> Weights:
    flat = [one.reshape(-1, *one.shape[-2:]).astype(np.float64) for one in maps]  # (H, L, L)
    reach = max((one.shape[-1] for one in flat), default=1)
    heads = len(flat[0])
    totals, numbers = np.zeros((2 * reach + 1, heads)), np.zeros(2 * reach + 1)
    for one, rows in zip(flat, others, strict=True):
        length = one.shape[-1]
        for offset in range(1 - length, length):
            inside = [i for i in range(max(0, -offset), min(length, length - offset)) if rows[i]]
            totals[offset + reach] += one[:, inside, [i + offset for i in inside]].sum(axis=1)
            numbers[offset + reach] += len(inside)
    by_offset = totals / np.maximum(numbers, 1)[:, None]  # (offsets, H)
    sums, elsewhere, even = np.zeros((len(flat), heads)), np.zeros((len(flat), heads)), np.zeros(len(flat))
    for row, (one, places) in enumerate(zip(flat, wanted, strict=True)):
        for i, j in places:
            sums[row] += one[:, i, j]
            elsewhere[row] += by_offset[j - i + reach]
        even[row] = len(places) / one.shape[-1]
    return Weights(sums, elsewhere, even, counts)


def hairpin_pairs(ca: np.ndarray, states: str) -> list[tuple[int, int]]:
    """Return the pairs across a hairpin: each residue of the first strand with the nearest CA of the second, if near.

    `ca` is (L, 3) Angstrom; its states have two strands.
    """
    a, b, c, d = strand_edges(states)[:4].tolist()
    apart = np.linalg.norm(ca[a:b, None] - ca[None, c:d], axis=-1)
    nearest = [(i + a, int(row.argmin()) + c) for i, row in enumerate(apart) if row.min() < PAIRED_DISTANCE]
    return [(i, j) for i, j in nearest if j - i >= MIN_APART]


class BestHead(NamedTuple):
    """The head that stands out most, chosen on half of the clusters and measured on the others."""

    head: int  # counted through all layers
    weight: float  # mean on the wanted places of a residue in question
    elsewhere: float  # mean at the same offsets elsewhere
    even: float  # spread evenly
    low: float | None  # end of the 95 % interval of `weight` - `elsewhere`; None with few clusters
    high: float | None
    clusters: int  # it was measured on


def best_head(weights: Weights, clusters: np.ndarray, seed: int) -> BestHead | None:
    """Choose a head on half of the clusters and measure it on the rest; None where either half has no residue.

    The best of many heads looks good by chance on what it was chosen on.
    """
    known = np.flatnonzero(weights.counts > 0)
    labels = np.unique(clusters[known], return_inverse=True)[1].reshape(-1)
    choosing, measuring = known[labels % 2 == 0], known[labels % 2 == 1]
    if not len(choosing) or not len(measuring):
        return None
    gains = weights.sums - weights.other_sums
    head = int(gains[choosing].sum(axis=0).argmax())
    bootstrap = ClusterBootstrap(clusters[measuring], seed, RESAMPLES)
    _, low, high, *_ = clustered_mean(gains[measuring, head], weights.counts[measuring], bootstrap)
    enough = bootstrap.count >= MIN_CLUSTERS
    total = weights.counts[measuring].sum()
    return BestHead(
        head,
        float(weights.sums[measuring, head].sum() / total),
        float(weights.other_sums[measuring, head].sum() / total),
        float(weights.even_sums[measuring].sum() / total),
        low if enough else None,
        high if enough else None,
        bootstrap.count,
    )
