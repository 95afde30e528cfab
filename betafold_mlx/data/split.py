"""Clusters of records, and their assignment to train, validation and test: each cluster is in one split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from betafold_mlx.data.identity import sequence_words, word_links
from betafold_mlx.data.store import SPLITS

PEPTIDE_SHARES = (0.55, 0.15, 0.30)
"""Shares of train, validation and test. Free peptides are few: with a smaller test share nothing is proved."""
CHAIN_SHARES = (0.88, 0.05, 0.07)
KIND_CLASSES = {"free": "free", "oligomer": "free", "bound": "bound", "mhc_bound": "mhc_bound"}
"""Kinds counted as one where splits are balanced and duplicates sought; any other kind is its own class."""

_LARGE_SHARE, _LARGE_COUNT = 0.1, 3
_LARGE_COMPONENT = 0.002


def connected_components(count: int, pairs: np.ndarray) -> np.ndarray:
    """Return single-linkage clusters of `count` nodes by union-find: (count,) int64.

    `pairs` (k, 2) are linked nodes. The labels 0, 1, ... are in the order of each component's first node.
    """
    parent = list(range(count))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for a, b in pairs.tolist():
        low, high = sorted((root(a), root(b)))
        parent[high] = low  # the root of a component is its first node
    roots = np.array([root(node) for node in range(count)], dtype=np.int64)
    return np.unique(roots, return_inverse=True)[1].astype(np.int64)


def chain_components(
    sequences: Sequence[str], cyclic: Sequence[bool], source_clusters: Sequence[int | None]
) -> np.ndarray:
    """Return clusters of chains that share an exact word of `identity.WORD` residues or a source's cluster.

    Two random words of 8 residues are equal with probability 2e-11: some ten pairs in a million residues. The labels
    (n,) are those of `connected_components`.
    """
    links = [word_links(*sequence_words(sequences, cyclic))]
    first: dict[int, int] = {}
    for n, cluster in enumerate(source_clusters):
        if cluster is not None:
            links.append(np.array([[first.setdefault(cluster, n), n]]))
    return connected_components(len(sequences), np.concatenate(links))


def split_peptides(clusters: np.ndarray, kinds: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Assign clusters (n,) of peptides of these kinds to splits by `PEPTIDE_SHARES`, balanced over kind classes.

    The largest clusters (more than a tenth of a kind class) go to train: in the test split each would count
    as one observation only. The others, larger ones first and equal ones in random order, each go where the
    peptides of their kinds are shortest of their share.
    """
    if not len(clusters):
        return []
    stratum = np.unique([KIND_CLASSES.get(kind, kind) for kind in kinds], return_inverse=True)[1]
    counts = np.zeros((clusters.max() + 1, stratum.max() + 1))  # (clusters, classes)
    np.add.at(counts, (clusters, stratum), 1)
    totals = counts.sum(axis=0)
    short = np.array(PEPTIDE_SHARES)[:, None] * totals  # (splits, classes) peptides that are still wanted
    large = (counts > np.maximum(_LARGE_COUNT, _LARGE_SHARE * totals)).any(axis=1)
    order = np.lexsort((rng.permutation(len(counts)), -counts.sum(axis=1), ~large))
    chosen = np.zeros(len(counts), dtype=np.int64)
    for cluster in order:
        if not large[cluster]:
            chosen[cluster] = np.argmax((short / totals) @ (counts[cluster] / counts[cluster].sum()))
        short[chosen[cluster]] -= counts[cluster]
    return [SPLITS[split] for split in chosen[clusters]]


def split_chains(components: np.ndarray, rng: np.random.Generator) -> list[str]:
    """Assign components of chains to splits by `CHAIN_SHARES`.

    Components are drawn in random order for test, then for validation, until those are full; the rest is
    train. Components of more than 0.2 % of all chains (the immunoglobulin folds make one of 920) go to train:
    an evaluation wants many small ones.
    """
    if not len(components):
        return []
    sizes = np.bincount(components)
    chosen = np.zeros(len(sizes), dtype=np.int64)  # train
    if len(sizes) >= len(SPLITS):
        small = [
            c for c in rng.permutation(len(sizes)) if sizes[c] <= max(1, _LARGE_COMPONENT * len(components))
        ]
        for split in (2, 1):
            goal = max(1, round(CHAIN_SHARES[split] * len(components)))
            while small and goal > 0:
                chosen[small[0]] = split
                goal -= sizes[small.pop(0)]
    return [SPLITS[split] for split in chosen[components]]
