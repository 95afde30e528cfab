"""Splits of a data set by PDB entry: a list to publish, which another data set of the same entries can keep.

A model can be measured on another data set only if nothing in its training data resembles that test split. This holds
for a data set that keeps the splits and the clusters of the one that the model was trained on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from betafold_mlx.data.store import SPLITS, Dataset
from betafold_mlx.errors import BetafoldError
from betafold_mlx.gzipped import read_lines
from betafold_mlx.structure.entry import entry_id

_TITLE = "# betafold splits 1, of the data set "
_NONE = "-"


@dataclass(frozen=True)
class KnownSplits:
    """Where the peptides and the chains of PDB entries are."""

    dataset: str  # SHA-256 of the data set that they are the splits of
    # (entry, whether peptides) -> split. Where an entry has records in several splits, it is the earliest one (train
    # < validation < test)
    splits: dict[tuple[str, bool], str]

    @classmethod
    def of(cls, dataset: Dataset, sha256: str) -> KnownSplits:
        """Return the splits of a data set."""
        splits: dict[tuple[str, bool], str] = {}
        for record in dataset.records:
            entry = _entry(record.pdb)
            if entry is not None:
                key = entry, record.is_peptide
                splits[key] = _earliest([record.split, splits.get(key, record.split)])
        return cls(sha256, splits)

    @property
    def entries(self) -> list[str]:
        """The entries, sorted."""
        return sorted({entry for entry, _ in self.splits})

    def text(self) -> str:
        """Return them as the text that `read` reads: an entry a line, the split of its peptides and of its chains."""
        lines = [
            f"{entry} {self.splits.get((entry, True), _NONE)} {self.splits.get((entry, False), _NONE)}\n"
            for entry in self.entries
        ]
        return f"{_TITLE}{self.dataset}\n# PDB entry, split of its peptides, split of its chains\n{''.join(lines)}"

    @classmethod
    def read(cls, path: Path) -> KnownSplits:
        """Read what `text` wrote; raises BetafoldError where the file is something else."""
        lines = [line.split() for line in read_lines(path)]
        title = re.fullmatch(re.escape(_TITLE) + "([0-9a-f]{64})", " ".join(lines[0])) if lines else None
        if title is None:
            raise BetafoldError(f"{path} is not a list of splits as `dataset entries` writes it")
        splits: dict[tuple[str, bool], str] = {}
        for number, words in enumerate(lines, start=1):
            if not words or words[0].startswith("#"):
                continue
            if len(words) != 3 or not set(words[1:]) <= {*SPLITS, _NONE}:
                raise BetafoldError(f"{path}: line {number} is not an entry and two splits")
            for split, peptides in zip(words[1:], (True, False), strict=True):
                if split != _NONE:
                    splits[entry_id(words[0]), peptides] = split
        return cls(title[1], splits)

    def assign(self, clusters: np.ndarray, labels: Sequence[tuple[str | None, bool]]) -> list[str]:
        """Assign clusters (n,) to splits: each to the earliest that one of its members is known to be in.

        `labels` are the PDB code of each record, where it has one, and whether it is a peptide. So nothing that
        resembles a record of the old train split comes into a later one. Clusters of which nothing is known go to
        train; BetafoldError where no record's entry is known.
        """
        found: dict[int, list[str]] = {cluster: [] for cluster in clusters.tolist()}
        for cluster, (pdb, peptide) in zip(clusters.tolist(), labels, strict=True):
            entry = _entry(pdb)
            if entry is not None and (entry, peptide) in self.splits:
                found[cluster].append(self.splits[entry, peptide])
        if not any(found.values()):
            raise BetafoldError("the splits to keep have none of the PDB entries of the sources")
        chosen = {cluster: _earliest(splits or SPLITS[:1]) for cluster, splits in found.items()}
        return [chosen[cluster] for cluster in clusters.tolist()]


def _entry(pdb: str | None) -> str | None:
    """Return the entry of a record's PDB code; None where it has none, or one that is not the archive's."""
    try:
        return None if pdb is None else entry_id(pdb)
    except BetafoldError:
        return None


def _earliest(splits: Sequence[str]) -> str:
    return min(splits, key=SPLITS.index)


def entry_list(dataset: Dataset, sha256: str) -> str:
    """Return the PDB entries of a data set as the text of a list that `dataset fetch` reads."""
    entries = KnownSplits.of(dataset, sha256).entries
    without = sum(_entry(record.pdb) is None for record in dataset.records)
    return (
        f"# The {len(entries):,} PDB entries of the {len(dataset.records):,} records of the data set\n# {sha256};\n"
        f"# {without:,} records are without a PDB id. Listed as the records name them, not looked up in the archive.\n"
        + "".join(f"{entry}\n" for entry in entries)
    )
