"""Verification of the splits of a finished data set, from the data set alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from betafold_mlx.data.fragments import as_target, as_windows, matching
from betafold_mlx.data.identity import WORD, alike_matrix, identity_matrix
from betafold_mlx.data.scan import find_matches
from betafold_mlx.data.store import SPLITS, Dataset, Record
from betafold_mlx.errors import BetafoldError


def verify_split(dataset: Dataset) -> dict[str, float]:
    """Check that nothing of a later split (train < validation < test) is known to an earlier one.

    - no cluster lies in two splits;
    - no two peptides of different splits are alike (`identity.alike_matrix`);
    - no validation or test peptide stands, exactly or nearly, in a chain of an earlier split
      (`scan.find_matches`);
    - no fragment matches anything of an earlier split;
    - no 8 consecutive residues are in chains of two splits, or in a peptide and anything of an earlier split
      (found by plain string comparison, without the code that made the split).

    Return ``max_identity`` and ``median_identity`` of the test peptides to their nearest training peptide, as net
    identity over the length of the shorter; nothing where there are none. BetafoldError names a pair that breaks a
    rule.
    """
    splits: dict[int, str] = {}
    for record in dataset.records:
        if splits.setdefault(record.cluster, record.split) != record.split:
            raise BetafoldError(f"split leak: cluster {record.cluster} of {record.id} lies in two splits")
    figures = _check_peptides(dataset)
    for rank, split in enumerate(SPLITS[1:], start=1):
        earlier = [record for record in dataset.records if SPLITS.index(record.split) < rank]
        earlier_chains = [record for record in earlier if not record.is_peptide]
        _check_words(dataset.peptides(split), earlier)
        _check_words(dataset.chains(split), earlier_chains)
        peptides = dataset.peptides(split)
        windows, owners = as_windows(peptides)
        for window, chain in find_matches(windows, [as_target(chain) for chain in earlier_chains]):
            peptide = peptides[owners[window]]
            raise BetafoldError(f"split leak: {peptide.id} ({split}) is part of {earlier_chains[chain].id}")
        fragments = [fragment for fragment in dataset.fragments if fragment.split == split]
        sequences = [dataset.fragment_sequence(fragment) for fragment in fragments]
        for n in np.flatnonzero(matching(sequences, earlier)):
            raise BetafoldError(
                f"split leak: the {split} fragment {sequences[n]} matches a record of an earlier split"
            )
    return figures


def _check_words(later: list[Record], earlier: list[Record]) -> None:
    """Raise BetafoldError where records of two splits share a word."""
    owners = {word: record for record in later for word in _words(record)}
    for record in earlier:
        for word in _words(record):
            if word in owners:
                both = [f"{each.id} ({each.split})" for each in (owners[word], record)]
                raise BetafoldError(f"split leak: {word} is in {' and '.join(both)}")


def _words(record: Record) -> Iterator[str]:
    text = record.sequence + record.sequence[: WORD - 1] if record.cyclic else record.sequence
    return (text[start : start + WORD] for start in range(len(text) - WORD + 1))


def _check_peptides(dataset: Dataset) -> dict[str, float]:
    """Raise BetafoldError where peptides of two splits are alike; return the figures of `verify_split`."""
    peptides = [record for record in dataset.records if record.is_peptide]
    sequences, cyclic = [record.sequence for record in peptides], [record.cyclic for record in peptides]
    split = np.array([SPLITS.index(record.split) for record in peptides], dtype=np.int64)
    identities = identity_matrix(sequences, cyclic)
    leaks = alike_matrix(sequences, cyclic, identities) & (split[:, None] != split[None, :])
    for a, b in np.argwhere(leaks):
        one, other = peptides[a], peptides[b]
        raise BetafoldError(f"split leak: {one.id} ({one.split}) is alike {other.id} ({other.split})")
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    test, train = split == SPLITS.index("test"), split == SPLITS.index("train")
    shorter = np.minimum(lengths[test][:, None], lengths[train][None, :])  # (test, train)
    if not shorter.size:
        return {}
    nearest = (identities[test][:, train] / shorter).max(axis=1)
    return {
        "max_identity": round(float(nearest.max()), 3),
        "median_identity": round(float(np.median(nearest)), 3),
    }
