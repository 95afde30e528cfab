"""Whole chains to look for templates in: sequences and rounded torsions, from which stretches are rebuilt.

A peptide is laid without gaps on every window of every chain, and scored by BLOSUM62. Around the best windows stretches
are cut, which then are templates as any other (`betafold_mlx.templates.stretches`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from betafold_mlx.peptide.sequence import ALPHABET, Peptide
from betafold_mlx.peptide.substitution import BLOSUM62

STRETCHES = 32
"""Stretches that are cut for a peptide."""

MARGIN = 6
"""Residues on either side of a window: room for gaps."""

MAX_ENTRY_LENGTH = 64
"""Residues of a template."""

WORD = 3
"""Residues that are scored at a time."""

CIS = 20
"""Added to the id of a residue whose omega, to the next one, is nearer to 0 than to 180 degrees."""

STEPS = 256
"""Steps of a full turn that torsions are rounded to."""

_WINDOWS = 400  # best windows that are looked through for stretches apart from one another
_CHUNK = 16_384  # positions scored at a time: their sums stay in the cache


class Stretch(NamedTuple):
    """Part of a chain: its number, its first row, and the row after its last."""

    chain: int
    first: int
    last: int


@dataclass(frozen=True)
class ChainLibrary:
    """C chains with R residues in all.

    Attributes
    ----------
    names : tuple of str
        PDB entry and chain.
    offsets : numpy.ndarray
        (C + 1,) int32, first row of each chain, and R.
    residues : numpy.ndarray
        (R,) uint8 residue ids, `CIS` more before a cis bond.
    torsions : numpy.ndarray
        (R, 2) uint8 phi and psi, from -180 degrees in `STEPS`.
    disulfides : numpy.ndarray
        (K, 2) int32 rows.
    """

    names: tuple[str, ...]
    offsets: np.ndarray
    residues: np.ndarray
    torsions: np.ndarray
    disulfides: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def nearest(self, peptide: Peptide) -> list[Stretch]:
        """Return the stretches around the best windows of a peptide, the best first, and of those that overlap one."""
        length = len(peptide)
        margin = min(MARGIN, (MAX_ENTRY_LENGTH - length) // 2)
        chosen: list[Stretch] = []
        for window in self._windows(peptide).tolist():
            if all(abs(window - margin - first) > length // 2 for _, first, _ in chosen):
                chain = int(np.searchsorted(self.offsets, window, side="right")) - 1
                first = max(window - margin, int(self.offsets[chain]))
                last = min(window + length + margin, int(self.offsets[chain + 1]))
                chosen.append(Stretch(chain, first, last))
            if len(chosen) == STRETCHES:
                break
        return chosen

    @cached_property
    def _words(self) -> np.ndarray:
        """(R,) uint16, each residue with the two after it as one number."""
        ids = np.concatenate([self.residues % CIS, np.zeros(WORD - 1, dtype=np.uint8)]).astype(np.uint16)
        return ids[:-2] * 400 + ids[1:-1] * 20 + ids[2:]

    def _windows(self, peptide: Peptide) -> np.ndarray:
        """Return the first rows of the best windows, the best first, of equal ones the first.

        Three residues are scored at a time, by a table of all words.
        """
        length, count = len(peptide), len(self.residues) - len(peptide) + 1
        tables = []
        for start in range(0, length, WORD):
            one = [BLOSUM62[residue] for residue in peptide.ids[start : start + WORD]]
            one += [np.zeros(20, dtype=np.int16)] * (WORD - len(one))
            tables.append((one[0][:, None, None] + one[1][:, None] + one[2]).ravel().astype(np.int16))
        best, scores = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int16)
        for first in range(0, count, _CHUNK):
            number = min(_CHUNK, count - first)
            words = self._words[first : first + number + length].astype(np.intp)
            total, more = np.zeros((2, number), dtype=np.int16)
            for part, table in enumerate(tables):
                table.take(words[WORD * part : WORD * part + number], out=more, mode="clip")  # unchecked
                total += more
            found = np.flatnonzero(total > scores[-1]) if len(best) == _WINDOWS else np.arange(number)
            rows = found + first
            end = self.offsets[np.searchsorted(self.offsets, rows, side="right")]
            inside = rows + length <= end  # no window leaves its chain
            best = np.concatenate([best, rows[inside]])
            scores = np.concatenate([scores, total[found[inside]]])
            order = np.lexsort((best, -scores))[:_WINDOWS]
            best, scores = best[order], scores[order]
        return best

    def angles(self, rows: np.ndarray) -> np.ndarray:
        """Return phi, psi, omega of rows: (n, 3) float32 radians."""
        known = self.torsions[rows].astype(np.float32) * (2 * math.pi / STEPS) - math.pi
        omega = np.where(self.residues[rows] >= CIS, 0.0, math.pi)
        return np.concatenate([known, omega[:, None]], axis=1).astype(np.float32)

    def partners(self, first: int, last: int) -> np.ndarray:
        """Return for the rows from first to before last which of them each cysteine is bonded to, else -1."""
        partner = np.full(last - first, -1, dtype=np.int16)
        inside = ((self.disulfides >= first) & (self.disulfides < last)).all(axis=1)
        for i, j in self.disulfides[inside] - first:
            partner[i], partner[j] = j, i
        return partner

    def name(self, stretch: Stretch) -> str:
        """Return the entry, chain, and first and last residue of a stretch."""
        start = int(self.offsets[stretch.chain])
        return f"{self.names[stretch.chain]}:{stretch.first - start + 1}-{stretch.last - start}"

    def subset(self, keep: np.ndarray) -> ChainLibrary:
        """Return a library of some of the chains: `keep` is (C,) bool."""
        lengths = np.diff(self.offsets)
        rows = np.repeat(keep, lengths)
        new_row = np.cumsum(rows) - 1
        return ChainLibrary(
            tuple(name for name, kept in zip(self.names, keep, strict=True) if kept),
            np.concatenate([[0], np.cumsum(lengths[keep])]).astype(np.int32),
            self.residues[rows],
            self.torsions[rows],
            new_row[self.disulfides[rows[self.disulfides].all(axis=1)]].astype(np.int32),
        )

    def check(self) -> None:
        """Raise ValueError where the arrays do not fit together."""
        rows = len(self.residues)
        for array, shape, kind in (
            (self.offsets, (len(self) + 1,), np.integer),
            (self.residues, (rows,), np.unsignedinteger),
            (self.torsions, (rows, 2), np.unsignedinteger),
            (self.disulfides, (len(self.disulfides), 2), np.integer),
        ):
            if array.shape != shape or not np.issubdtype(array.dtype, kind):
                raise ValueError("an array does not fit the chains")
        if self.offsets[0] != 0 or self.offsets[-1] != rows or (np.diff(self.offsets) < 1).any():
            raise ValueError("chains do not fit the rows")
        if (self.residues >= 2 * len(ALPHABET)).any():
            raise ValueError("an unknown residue")
        if ((self.disulfides < 0) | (self.disulfides >= rows)).any():
            raise ValueError("a disulfide that is nowhere")
        if not all(isinstance(name, str) for name in self.names):
            raise ValueError("names that are not text")
