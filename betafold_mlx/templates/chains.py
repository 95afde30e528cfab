"""Whole chains to look for templates in: sequences and rounded torsions, from which stretches are rebuilt.

Around the windows that a peptide is most like (`betafold_mlx.templates.windows`) stretches are cut, which then are
templates as any other (`betafold_mlx.templates.stretches`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from betafold_mlx.peptide.sequence import ALPHABET, Peptide
from betafold_mlx.templates.windows import best_windows

STRETCHES = 32
"""Stretches that are cut for a peptide."""

MARGIN = 6
"""Residues on either side of a window: room for gaps."""

MAX_ENTRY_LENGTH = 64
"""Residues of a template."""

CIS = 20
"""Added to the id of a residue whose omega, to the next one, is nearer to 0 than to 180 degrees."""

STEPS = 256
"""Steps of a full turn that torsions are rounded to."""


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

    def nearest(self, peptides: Sequence[Peptide]) -> list[list[Stretch]]:
        """Return the stretches around the best windows of each peptide, the best first, one of those that overlap."""
        found = best_windows(self._kinds, self.offsets, [peptide.ids for peptide in peptides])
        return [self._around(rows, len(peptide)) for rows, peptide in zip(found, peptides, strict=True)]

    @cached_property
    def _kinds(self) -> np.ndarray:
        """(R,) uint8 residue ids."""
        return self.residues % CIS

    def _around(self, windows: np.ndarray, length: int) -> list[Stretch]:
        margin = min(MARGIN, (MAX_ENTRY_LENGTH - length) // 2)
        chosen: list[Stretch] = []
        for window in windows.tolist():
            if all(abs(window - margin - first) > length // 2 for _, first, _ in chosen):
                chain = int(np.searchsorted(self.offsets, window, side="right")) - 1
                first = max(window - margin, int(self.offsets[chain]))
                last = min(window + length + margin, int(self.offsets[chain + 1]))
                chosen.append(Stretch(chain, first, last))
            if len(chosen) == STRETCHES:
                break
        return chosen

    def angles(self, rows: np.ndarray) -> np.ndarray:
        """Return phi, psi, omega of rows: (n, 3) float32 radians."""
        known = self.torsions[rows].astype(np.float32) * (2 * math.pi / STEPS) - math.pi
        omega = np.where(self.residues[rows] >= CIS, 0.0, math.pi)
        return np.concatenate([known, omega[:, None]], axis=1).astype(np.float32)

    def partners(self, first: int, last: int) -> np.ndarray:
        """Return for the rows from first to before last which of them each cysteine is bonded to, else -1."""
        partner = np.full(last - first, -1, dtype=np.int16)
        begin, end = np.searchsorted(self.disulfides[:, 0], (first, last))
        for i, j in (self.disulfides[begin:end] - first).tolist():
            if j < last - first:
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
