"""Evaluation windows: fixed pieces of validation and test chains that resemble nothing seen in training."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from betafold_mlx.data.identity import rotations
from betafold_mlx.data.scan import find_matches
from betafold_mlx.data.store import Fragment, Record
from betafold_mlx.peptide.sequence import TRAINED_LENGTHS
from betafold_mlx.structure.backbone import Backbone

GOALS = {"validation": 600, "test": 1000}
"""Windows wanted of each split."""
MAX_PER_CHAIN, MAX_PER_CLUSTER = 3, 4
"""Maximum windows of one chain, and of one cluster of chains."""
_TRIES = 2  # candidates for each window a chain may give


def as_windows(records: Sequence[Record | Backbone]) -> tuple[list[str], np.ndarray]:
    """Return the sequences to look for, and of each the index of its record; a ring gives all rotations."""
    windows, owners = [], []
    for n, record in enumerate(records):
        turned = rotations(record.sequence) if record.cyclic else [record.sequence]
        windows += turned
        owners += [n] * len(turned)
    return windows, np.array(owners, dtype=np.int64)


def as_target(record: Record | Backbone) -> str:
    """Return the sequence to look in: a ring is written past its seam."""
    return record.sequence + record.sequence[:-1] if record.cyclic else record.sequence


def matching(fragments: Sequence[str], records: Sequence[Record]) -> np.ndarray:
    """Return (n,) bool: which fragments match a record.

    Fragments are sought in all records, and whole peptides, which may be shorter, in the fragments.
    """
    hit = np.zeros(len(fragments), dtype=bool)
    hit[find_matches(fragments, [as_target(record) for record in records])[:, 0]] = True
    windows, _ = as_windows([record for record in records if record.is_peptide])
    hit[find_matches(windows, fragments)[:, 1]] = True
    return hit


def cut_fragments(
    records: Sequence[Record], rng: np.random.Generator
) -> tuple[list[Fragment], dict[str, int]]:
    """Cut the evaluation windows, sorted by split, record and place; count the candidates that are dropped, by reason.

    Lengths are uniform over the trained lengths, places random. A window that matches a training chain or
    peptide is dropped; a test window also when it matches a validation record. What remains is taken one a
    cluster in turn, until the goal is met.
    """
    train = [record for record in records if record.split == "train"]
    validation = [record for record in records if record.split == "validation"]
    fragments: list[Fragment] = []
    dropped = {"like training": 0, "like validation": 0}
    for split, goal in GOALS.items():
        candidates = [
            fragment
            for index, record in enumerate(records)
            if record.split == split and not record.is_peptide
            for fragment in _candidates(index, record, rng)
        ]
        sequences = [records[f.record].sequence[f.start : f.start + f.length] for f in candidates]
        leaks = matching(sequences, train)
        dropped["like training"] += int(leaks.sum())
        if split == "test":
            known = matching(sequences, validation) & ~leaks
            dropped["like validation"] += int(known.sum())
            leaks |= known
        clean = [fragment for fragment, leak in zip(candidates, leaks, strict=True) if not leak]
        fragments += sorted(_chosen(clean, goal), key=lambda fragment: (fragment.record, fragment.start))
    return fragments, dropped


def _candidates(index: int, record: Record, rng: np.random.Generator) -> list[Fragment]:
    """Return non-overlapping windows at random places, at most `_TRIES` times what a chain may give."""
    shortest, longest = TRAINED_LENGTHS
    taken: list[Fragment] = []
    for _ in range(_TRIES * MAX_PER_CHAIN):
        length = int(rng.integers(shortest, longest + 1))
        if length > record.length:
            continue
        start = int(rng.integers(0, record.length - length + 1))
        if all(start + length <= other.start or other.start + other.length <= start for other in taken):
            taken.append(Fragment(index, start, length, record.split, record.cluster))
    return taken


def _chosen(candidates: Sequence[Fragment], goal: int) -> list[Fragment]:
    """Take one window of each cluster in turn, within `MAX_PER_CHAIN` and `MAX_PER_CLUSTER`, up to the goal."""
    clusters: dict[int, list[Fragment]] = defaultdict(list)
    chains: dict[int, int] = defaultdict(int)
    for fragment in candidates:
        if chains[fragment.record] < MAX_PER_CHAIN and len(clusters[fragment.cluster]) < MAX_PER_CLUSTER:
            chains[fragment.record] += 1
            clusters[fragment.cluster].append(fragment)
    rounds = [window for n in range(MAX_PER_CLUSTER) for of in clusters.values() for window in of[n : n + 1]]
    return rounds[:goal]
