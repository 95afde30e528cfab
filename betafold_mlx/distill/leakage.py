"""Leakage check: keeps what an experimental data set is measured on, or resembles it, out of a distilled one.

The rules are those that `betafold_mlx.data.verify` checks between splits, with distilled records in the place of
training records. A label is only a prediction, but that of a sequence near the test split would pass on what the
teacher knows of that split.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from betafold_mlx.data.identity import alike_matrix, rotations, sequence_words, word_matches
from betafold_mlx.data.scan import find_matches
from betafold_mlx.data.store import EXPERIMENTAL, MAX_PEPTIDE, Dataset
from betafold_mlx.errors import BetafoldError

_TOGETHER = 256
"""Sequences compared with all evaluation peptides at once: the matrix is square, so more would be mostly waste."""


class LeakageCheck:
    """Keeps sequences apart from the validation and test splits of a data set.

    That is the experimental one, with its fingerprint, that the distilled one is to be trained on with; BetafoldError
    where it is a distilled one itself.
    """

    def __init__(self, dataset: Dataset, sha256: str) -> None:
        self.sha256 = sha256
        if dataset.origin != EXPERIMENTAL:
            raise BetafoldError("--against names a distilled data set: name the experimental one to train on")
        later = [record for record in dataset.records if record.split != "train"]
        peptides = [record for record in later if record.is_peptide]
        self._peptides = [record.sequence for record in peptides]
        self._cyclic = [record.cyclic for record in peptides]
        self._names = [f"{record.id} ({record.split})" for record in peptides]
        self._fragments = [dataset.fragment_sequence(fragment) for fragment in dataset.fragments]
        self._fragment_names = [
            f"a fragment of {dataset.records[fragment.record].id} ({fragment.split})"
            for fragment in dataset.fragments
        ]
        self._later_names = [f"{record.id} ({record.split})" for record in later]
        self._words = sequence_words([r.sequence for r in later], [r.cyclic for r in later])
        train = [record for record in dataset.records if record.split == "train"]
        self._train = "\n".join(_target(record.sequence, record.cyclic) for record in train)

    def is_known(self, sequence: str, cyclic: bool) -> bool:
        """Tell whether a sequence stands in a training record: there is an experimental structure of it."""
        turned = rotations(sequence) if cyclic else [sequence]
        return any(each in self._train for each in turned)

    def leaks(self, sequences: Sequence[str], cyclic: Sequence[bool]) -> list[str | None]:
        """Return of each of n sequences of any length what it resembles in the validation and test splits, or None.

        - An evaluation peptide or fragment stands, exactly or nearly, in it (`betafold_mlx.data.scan.find_matches`),
          or it, where it is as short as a peptide, in a fragment.
        - It is as short as a peptide, and alike an evaluation peptide (`betafold_mlx.data.identity.alike_matrix`).
        - It shares 8 consecutive residues with any chain or peptide of these splits.

        Those that are `cyclic`, closed head to tail, are compared in all rotations.
        """
        found: dict[int, str] = {}
        windows, names = list(self._fragments), list(self._fragment_names)
        for sequence, ring, name in zip(self._peptides, self._cyclic, self._names, strict=True):
            turned = rotations(sequence) if ring else [sequence]
            windows += turned
            names += [name] * len(turned)
        targets = [_target(sequence, ring) for sequence, ring in zip(sequences, cyclic, strict=True)]
        for window, index in _matches(windows, targets):
            found.setdefault(index, names[window])

        short = [n for n, sequence in enumerate(sequences) if len(sequence) <= MAX_PEPTIDE]
        owners = [n for n in short for _ in range(len(sequences[n]) if cyclic[n] else 1)]
        turned = [each for n in short for each in (rotations(sequences[n]) if cyclic[n] else [sequences[n]])]
        for window, fragment in _matches(turned, self._fragments):
            found.setdefault(owners[window], self._fragment_names[fragment])

        for first in range(0, len(short), _TOGETHER):
            some = short[first : first + _TOGETHER]
            count = len(self._peptides)
            alike = alike_matrix(
                self._peptides + [sequences[n] for n in some], self._cyclic + [cyclic[n] for n in some]
            )[count:, :count]
            for row, peptide in np.argwhere(alike).tolist():
                found.setdefault(some[row], self._names[peptide])

        for index, record in word_matches(*sequence_words(sequences, cyclic), *self._words).tolist():
            found.setdefault(index, self._later_names[record])
        return [found.get(n) for n in range(len(sequences))]


def _target(sequence: str, cyclic: bool) -> str:
    """Return the sequence to look in: a ring is written past its seam."""
    return sequence + sequence[:-1] if cyclic else sequence


def _matches(windows: Sequence[str], targets: Sequence[str]) -> list[list[int]]:
    return find_matches(windows, targets).tolist() if windows and targets else []
