"""The most similar stretch of the training chains for each sequence, by exhaustive search without gaps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from betafold_mlx.peptide.sequence import residue_ids
from betafold_mlx.peptide.substitution import BLOSUM62

_CHUNK = 32_768  # positions scored at a time: int16 sums of 64 kB stay in the cache
_NO_ROOM = np.int16(-16_384)  # below any score, and far enough from the end of int16


class Neighbour(NamedTuple):
    """A stretch of a chain, as long as the sequence it was sought for."""

    chain: int  # index of the chain
    start: int  # 0-based first residue in the chain
    score: int  # BLOSUM62 sum over all residues, half bits


def nearest_windows(sequences: Sequence[str], chains: Sequence[str]) -> list[Neighbour | None]:
    """Find the window of the chains with the best ungapped BLOSUM62 score over each sequence's whole length.

    Every window of every chain is scored; of equal ones the first, in the order of the chains, is taken. None where
    no chain is as long as the sequence.
    """
    ids = residue_ids("".join(chains))
    sizes = np.array([len(chain) for chain in chains], dtype=np.int64)
    starts = np.cumsum(sizes) - sizes
    room = np.repeat(starts + sizes, sizes) - np.arange(len(ids))  # residues from here to the chain's end
    similarity = BLOSUM62[:, ids]  # (20, positions)
    found: list[Neighbour | None] = [None] * len(sequences)
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    for length in np.unique(lengths):
        fits = np.where(room >= length, np.int16(0), _NO_ROOM)[: max(0, len(ids) - length + 1)]
        for index in np.flatnonzero(lengths == length).tolist():
            position, score = _best_position(residue_ids(sequences[index]), similarity, fits)
            if score > _NO_ROOM // 2:
                chain = int(np.searchsorted(starts, position, side="right")) - 1
                found[index] = Neighbour(chain, position - int(starts[chain]), score)
    return found


def _best_position(query: np.ndarray, similarity: np.ndarray, fits: np.ndarray) -> tuple[int, int]:
    """Return the first position of the highest score, and the score.

    `query` is (L,) residue ids, `similarity` (20, P) int16, `fits` (P - L + 1,) int16: 0 where a window may start.
    """
    best_position, best_score = 0, int(_NO_ROOM)
    for first in range(0, len(fits), _CHUNK):
        scores = fits[first : first + _CHUNK].copy()
        for offset, residue in enumerate(query):
            scores += similarity[residue, first + offset : first + offset + len(scores)]
        position = int(scores.argmax())
        if scores[position] > best_score:
            best_position, best_score = first + position, int(scores[position])
    return best_position, best_score
