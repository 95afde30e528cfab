"""Leakage check: keeps what an experimental data set is measured on, or resembles it, out of a distilled one.

The rules are those that `betafold_mlx.data.verify` checks between splits, with distilled records in the place of
training records. A label is only a prediction, but that of a sequence near the test split would pass on what the
teacher knows of that split.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from betafold_mlx.data.fragments import as_target, as_windows
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
        self._peptides = [record for record in later if record.is_peptide]
        self._names = [f"{record.id} ({record.split})" for record in self._peptides]
        self._fragments = [dataset.fragment_sequence(fragment) for fragment in dataset.fragments]
        self._fragment_names = [
            f"a fragment of {dataset.records[fragment.record].id} ({fragment.split})"
            for fragment in dataset.fragments
        ]
        self._later_names = [f"{record.id} ({record.split})" for record in later]
        self._words = sequence_words([r.sequence for r in later], [r.cyclic for r in later])
        self._train = "\n".join(map(as_target, dataset.of_split("train")))

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
        windows, owners = as_windows(self._peptides)
        names = self._fragment_names + [self._names[owner] for owner in owners]
        # a ring is written past its seam
        pairs = zip(sequences, cyclic, strict=True)
        targets = [sequence + sequence[:-1] if ring else sequence for sequence, ring in pairs]
        for window, index in _matches(self._fragments + windows, targets):
            found.setdefault(index, names[window])

        short = [n for n, sequence in enumerate(sequences) if len(sequence) <= MAX_PEPTIDE]
        turned = [
            (n, each) for n in short for each in (rotations(sequences[n]) if cyclic[n] else [sequences[n]])
        ]
        for window, fragment in _matches([each for _, each in turned], self._fragments):
            found.setdefault(turned[window][0], self._fragment_names[fragment])

        count = len(self._peptides)
        known = [peptide.sequence for peptide in self._peptides]
        rings = [peptide.cyclic for peptide in self._peptides]
        for first in range(0, len(short), _TOGETHER):
            some = short[first : first + _TOGETHER]
            alike = alike_matrix(known + [sequences[n] for n in some], rings + [cyclic[n] for n in some])
            for row, peptide in np.argwhere(alike[count:, :count]).tolist():
                found.setdefault(some[row], self._names[peptide])

        for index, record in word_matches(*sequence_words(sequences, cyclic), *self._words).tolist():
            found.setdefault(index, self._later_names[record])
        return [found.get(n) for n in range(len(sequences))]


def _matches(windows: Sequence[str], targets: Sequence[str]) -> list[list[int]]:
    return find_matches(windows, targets).tolist() if windows and targets else []
