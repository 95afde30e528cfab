"""Search for short sequences inside longer chains, exact or near: every one at every position.

A window of L residues laid over a chain without gaps has m identical positions by chance with the binomial
probability of L trials. `min_matches` is the smallest m that fewer than one random position in ten
million reaches (`CHANCE`), so a window has less than 0.1 random matches in a million residues: a simple
E-value. Windows may hang over a chain's ends. Beside that rule, `identity.WORD` consecutive identical residues
match by themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from betafold_mlx.data.identity import min_beyond_chance, sequence_words, word_matches
from betafold_mlx.peptide.sequence import residue_ids

CHANCE = 1e-7
"""Probability that a random overlay of a window and a chain reaches `min_matches`."""

_POSITIONS = 8192  # of one matrix product: its windows of 32 residues take 21 MB
_COUNTS = 1 << 23  # results of one matrix product: 34 MB
_BLANK = 20


def min_matches(length: int) -> int:
    """Return how many identical positions make a window match: 8, 9, 10, 11, 12 of 10, 15, 20, 25, 30 residues.

    It exceeds `length` for windows so short (under 6) that not even an exact copy says anything.
    """
    return min_beyond_chance(length, CHANCE)


def find_matches(windows: Sequence[str], chains: Sequence[str]) -> np.ndarray:
    """Find windows, of which each rotation of a ring is one, in chains.

    Return (k, 2) int64, sorted: index of a window, index of a chain that it matches.
    """
    pairs = [
        word_matches(
            *sequence_words(windows, [False] * len(windows)), *sequence_words(chains, [False] * len(chains))
        )
    ]
    if chains:
        lengths = np.array([len(window) for window in windows], dtype=np.int64)
        buckets = (lengths + 3) // 4 * 4  # one matrix product for a few neighbouring lengths
        for width in np.unique(buckets):
            chosen = np.flatnonzero(buckets == width)
            found = _by_identities([windows[int(w)] for w in chosen], chains, int(width))
            pairs.append(np.stack([chosen[found[:, 0]], found[:, 1]], axis=1))
    return np.unique(np.concatenate(pairs), axis=0)


def _by_identities(windows: Sequence[str], chains: Sequence[str], width: int) -> np.ndarray:
    """(k, 2) pairs of windows of at most `width` residues and chains, by counting identical positions."""
    ids, owner = _concatenate(chains, gap=width)
    eye = np.eye(_BLANK + 1, _BLANK, dtype=np.float32)  # a blank is a row of zeros: identical to nothing
    one_hots = np.zeros((width, _BLANK, len(windows)), dtype=np.float32)
    for n, window in enumerate(windows):
        one_hots[: len(window), :, n] = eye[residue_ids(window)]
    patterns = one_hots.reshape(width * _BLANK, len(windows))
    least = np.array([min_matches(len(window)) for window in windows], dtype=np.float32)
    found = []
    chunk = max(256, min(_POSITIONS, _COUNTS // len(windows)))
    for start in range(0, len(ids) - width + 1, chunk):
        one_hot = eye[ids[start : start + chunk + width - 1]]  # (positions + width - 1, 20)
        views = np.lib.stride_tricks.sliding_window_view(one_hot, width, axis=0)  # (positions, 20, width)
        stacked = views.transpose(0, 2, 1).reshape(len(views), width * _BLANK)
        places, matched = np.nonzero(stacked @ patterns >= least)
        if len(places):
            # Any residue under the window names the chain: between two chains there are `width` blanks.
            chain = owner[start + places[:, None] + np.arange(width)].max(axis=1)
            found.append(np.unique(np.stack([matched, chain], axis=1), axis=0))
    return np.concatenate(found) if found else np.zeros((0, 2), dtype=np.int64)


def _concatenate(chains: Sequence[str], gap: int) -> tuple[np.ndarray, np.ndarray]:
    """Residue ids of all chains with `gap` blanks around each, and the chain of each residue (-1: blank)."""
    ids = np.full(sum(map(len, chains)) + gap * (len(chains) + 1), _BLANK, dtype=np.int8)
    owner = np.full(len(ids), -1, dtype=np.int64)
    start = gap
    for n, chain in enumerate(chains):
        ids[start : start + len(chain)] = residue_ids(chain)
        owner[start : start + len(chain)] = n
        start += len(chain) + gap
    return ids, owner
