"""The windows of chains that peptides are most like, laid on them without gaps and scored by BLOSUM62."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from betafold_mlx.peptide.sequence import MAX_LENGTH
from betafold_mlx.peptide.substitution import BLOSUM62

WINDOWS = 400
"""Best windows of a peptide."""

# Rows looked at together, the first and the largest piece: they grow, and their int8 scores stay in the cache.
_FIRST_PIECE, _PIECE = 2048, 131_072

_KINDS = len(BLOSUM62)
_INT8 = np.iinfo(np.int8).max
_HIGHEST = BLOSUM62.max(axis=1).tolist()

# (20, 400) int16: the scores, int8, of a residue on two neighbours, by 20 x the first + the second.
_ON_PAIRS = (
    np.stack(np.broadcast_arrays(BLOSUM62[:, :, None], BLOSUM62[:, None]), axis=-1)
    .astype(np.int8)
    .reshape(_KINDS, -1)
    .view(np.int16)
)


def best_windows(
    residues: np.ndarray, offsets: np.ndarray, peptides: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Find for each peptide the windows of chains that it scores most on.

    All peptides take one piece of the chains after another. What each kind of residue scores there is looked up once,
    two places at a time; the scores of a peptide are sums of these, shifted.

    Parameters
    ----------
    residues : numpy.ndarray
        (R,) uint8 residue ids of all chains.
    offsets : numpy.ndarray
        (C + 1,) first row of each chain, and R.
    peptides : sequence of numpy.ndarray
        (L,) residue ids of each.

    Returns
    -------
    list of numpy.ndarray
        (n,) first rows, n <= `WINDOWS`, the best first and of equal ones the first. No window leaves its chain.
    """
    kinds = np.unique(np.concatenate(peptides))
    ends = np.append(offsets, 0)  # rows behind the last chain would start a chain that has no end
    best = [_Best(ids) for ids in peptides]
    first, size = 0, _FIRST_PIECE
    while first < len(residues):
        piece = np.zeros(size + MAX_LENGTH, dtype=np.intp)
        known = residues[first : first + len(piece)]
        piece[: len(known)] = known
        pairs = piece[::2] * _KINDS + piece[1::2]
        scores = dict(
            zip(kinds.tolist(), _ON_PAIRS[kinds].take(pairs, axis=1, mode="clip").view(np.int8), strict=True)
        )
        for each in best:
            each.look(scores, first, size, ends)
        first, size = first + size, min(2 * size, _PIECE)
    return [each.sorted()[0] for each in best]


class _Best:
    """The best windows of one peptide so far."""

    def __init__(self, ids: np.ndarray) -> None:
        self.ids = ids.tolist()
        self.rows, self.scores = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int16)
        self.least = np.iinfo(np.int16).min  # windows of later pieces have to score more

    def look(self, scores: Mapping[int, np.ndarray], first: int, size: int, ends: np.ndarray) -> None:
        """Take what is good of the windows that start in a piece of `size` rows from row `first` on."""
        total = self._total(scores, size)
        found = np.flatnonzero(total > self.least)
        rows = found + first
        inside = rows + len(self.ids) <= ends[np.searchsorted(ends[:-1], rows, side="right")]
        self.rows = np.concatenate([self.rows, rows[inside]])
        self.scores = np.concatenate([self.scores, total[found[inside]]])
        if len(self.rows) >= 2 * WINDOWS:
            self.rows, self.scores = self.sorted()
            self.least = self.scores[-1]

    def sorted(self) -> tuple[np.ndarray, np.ndarray]:
        """Return rows and scores of the best windows, the best first."""
        order = np.lexsort((self.rows, -self.scores))[:WINDOWS]
        return self.rows[order], self.scores[order]

    def _total(self, scores: Mapping[int, np.ndarray], size: int) -> np.ndarray:
        total, part, most = np.zeros(size, dtype=np.int16), np.zeros(size, dtype=np.int8), 0
        for place, residue in enumerate(self.ids):
            most += _HIGHEST[residue]
            if most > _INT8:
                total += part
                part[:], most = 0, _HIGHEST[residue]
            part += scores[residue][place : place + size]
        total += part
        return total
