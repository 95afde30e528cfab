"""Identity of peptides by exhaustive alignment: every overlay, every gap, every rotation of a ring.

Clustering tools seed on words and miss most similar pairs of 10-30 residues, so nothing here is heuristic.
The measure is the *net identity* of a pair,

    max over alignments of (identical positions - `GAP_COST` * gaps),

with free ends, mismatches free, and a gap of any length counted once. Without gaps it is the number of
identical positions of the best overlay. A cyclic sequence has no first residue: it is compared in all its
rotations.

Two peptides are *alike* when the net identity reaches `min_net_identity` of the shorter one (7, 8, 9, 10, 11
for 10, 15, 20, 25, 30 residues), or when they share `WORD` consecutive residues. That number is the smallest
one that a single random overlay reaches with a probability below `CHANCE`; a pair has about 50 overlays, so
about one random pair in 10,000 is alike. Measured with the 405 peptides of the project's data, the residues of
each shuffled (which keeps the cysteine-rich ones so), four times: 0 to 5 of 100,000 pairs of linear peptides,
22 to 33 when the 60 rings with all their rotations are counted in.

A flat 40 % with at least 6 identical positions links five times as many random pairs (123 and 141 of 100,000),
almost all of 12-18 residues, and through them the cysteine-rich peptides become one cluster.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence

import numpy as np

from betafold_mlx.peptide.sequence import residue_ids

GAP_COST = 2
"""Identical positions that one gap, of any length, costs."""
WORD = 8
"""Length of a shared exact word that by itself makes two sequences alike. Two random positions start the same
8-mer with probability 0.06**8 = 2e-11."""
CHANCE = 2e-6
"""Probability that a random overlay reaches `min_net_identity`."""
SAME_RESIDUE = 0.06
"""Probability that two random residues are the same: the sum of squared residue frequencies, 0.058 over the
1,026,978 residues of the project's protein chains, rounded up."""

_BLANK = 20  # an id that is no residue


def rotations(sequence: str) -> list[str]:
    """Return the L rotations of a sequence of L letters, itself first."""
    return [sequence[i:] + sequence[:i] for i in range(len(sequence))]


def canonical(sequence: str, cyclic: bool) -> str:
    """Return the name of a molecule: the sequence, or of a ring its alphabetically first rotation."""
    return min(rotations(sequence)) if cyclic else sequence


@functools.cache
def min_beyond_chance(length: int, chance: float) -> int:
    """Return the smallest m so that m or more of `length` positions agree with a probability below `chance`.

    The number of identical positions of a random overlay is binomial with `SAME_RESIDUE`. The result is
    ``length + 1`` where not even a whole copy is beyond chance.
    """
    tail = 0.0
    for m in range(length, -1, -1):
        tail += math.comb(length, m) * SAME_RESIDUE**m * (1 - SAME_RESIDUE) ** (length - m)
        if tail >= chance:
            return m + 1
    return 0


def min_net_identity(length: int) -> int:
    """Return the net identity at which a peptide of `length` residues is alike a longer one."""
    return min_beyond_chance(length, CHANCE)


def net_identities(query: str, targets: np.ndarray) -> np.ndarray:
    """Align one sequence to many and return the net identity of each pair, (n,) int8; `targets` is their `match_table`.

    Dynamic programming over the rows of the query, all targets at once. ``M[i, j]``, the best alignment that
    ends with i against j, continues the diagonal, or jumps along the row or the column before it for
    `GAP_COST`, or starts there. As a mismatch is free, this local form equals the alignment with free ends.
    """
    _, columns, count = targets.shape
    row = np.zeros((columns, count), dtype=np.int8)  # M[i - 1]
    above = np.zeros_like(row)  # max of M[k] over k <= i - 2
    best = np.zeros(count, dtype=np.int8)
    for residue in residue_ids(query):
        before = np.zeros_like(row)
        before[1:] = np.maximum(row[:-1], above[:-1] - GAP_COST)
        before[2:] = np.maximum(before[2:], np.maximum.accumulate(row, axis=0)[:-2] - GAP_COST)
        above = np.maximum(above, row)
        row = np.maximum(before, 0) + targets[residue]
        best = np.maximum(best, row.max(axis=0))
    return best


def match_table(sequences: Sequence[str]) -> np.ndarray:
    """Return (20, T, n) int8: 1 where position t of sequence n is that residue; T is the longest length."""
    longest = max(map(len, sequences), default=0)
    ids = np.full((longest, len(sequences)), _BLANK, dtype=np.int8)
    for n, sequence in enumerate(sequences):
        ids[: len(sequence), n] = residue_ids(sequence)
    return (ids[None] == np.arange(20, dtype=np.int8)[:, None, None]).astype(np.int8)


def identity_matrix(sequences: Sequence[str], cyclic: Sequence[bool]) -> np.ndarray:
    """Return the net identity of every pair of peptides of at most 60 residues, some of them rings.

    (n, n) int8, symmetric; the diagonal holds the lengths. Of each pair the shorter one is aligned to the longer one:
    a ring that is the shorter in all its rotations, a ring that is the longer written twice, so that an alignment may
    pass its seam.
    """
    order = sorted(range(len(sequences)), key=lambda n: (len(sequences[n]), sequences[n], cyclic[n], n))
    table = match_table([sequences[n] * (2 if cyclic[n] else 1) for n in order])
    matrix = np.zeros((len(order), len(order)), dtype=np.int8)
    for rank, n in enumerate(order):
        queries = rotations(sequences[n]) if cyclic[n] else [sequences[n]]
        best = np.max([net_identities(query, table[:, :, rank:]) for query in queries], axis=0)
        best = np.minimum(best, len(sequences[n]))
        matrix[n, order[rank:]] = matrix[order[rank:], n] = best
    return matrix


def alike_matrix(
    sequences: Sequence[str], cyclic: Sequence[bool], identities: np.ndarray | None = None
) -> np.ndarray:
    """Return which peptides are alike by the module's rule: (n, n) bool, symmetric, True on the diagonal.

    `identities` is their `identity_matrix`, where it is known already.
    """
    if identities is None:
        identities = identity_matrix(sequences, cyclic)
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int8)
    least = np.array([min_net_identity(n) for n in range(int(lengths.max(initial=0)) + 1)], dtype=np.int8)
    alike = identities >= least[np.minimum(lengths[:, None], lengths[None, :])]
    owners, codes = sequence_words(sequences, cyclic)
    pairs = word_matches(owners, codes, owners, codes)
    alike[pairs[:, 0], pairs[:, 1]] = True
    np.fill_diagonal(alike, True)
    return alike


def sequence_words(sequences: Iterable[str], cyclic: Iterable[bool]) -> tuple[np.ndarray, np.ndarray]:
    """Return every word of `WORD` residues: (k,) index of its sequence and (k,) its code, both int64.

    The words of a ring pass its seam.
    """
    owners, codes = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    powers = 20 ** np.arange(WORD, dtype=np.int64)
    for n, (sequence, ring) in enumerate(zip(sequences, cyclic, strict=True)):
        ids = residue_ids(sequence + sequence[: WORD - 1] if ring else sequence).astype(np.int64)
        if len(ids) >= WORD:
            codes.append(np.lib.stride_tricks.sliding_window_view(ids, WORD) @ powers)
            owners.append(np.full(len(codes[-1]), n))
    return np.concatenate(owners), np.concatenate(codes)


def word_matches(
    owners_a: np.ndarray, codes_a: np.ndarray, owners_b: np.ndarray, codes_b: np.ndarray
) -> np.ndarray:
    """Return (k, 2) int64, sorted: every pair of an owner of a word in a and an owner of it in b."""
    order = np.argsort(codes_b, kind="stable")
    owners_b, codes_b = owners_b[order], codes_b[order]
    first = np.searchsorted(codes_b, codes_a, side="left")
    count = np.searchsorted(codes_b, codes_a, side="right") - first
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    pairs = np.stack([np.repeat(owners_a, count), owners_b[np.repeat(first, count) + within]], axis=1)
    return np.unique(pairs, axis=0)


def word_links(owners: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return (k, 2) int64 pairs that chain up the owners of each word: enough to cluster by."""
    order = np.lexsort((owners, codes))
    owners, codes = owners[order], codes[order]
    same = (codes[1:] == codes[:-1]) & (owners[1:] != owners[:-1])
    return np.unique(np.stack([owners[:-1][same], owners[1:][same]], axis=1), axis=0)
