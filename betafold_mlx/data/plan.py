"""The fixed list of the sequences of a data set that a frozen embedder embeds.

An embedding depends on the whole sequence: a window of a chain is embedded by itself, as a peptide is when it is
folded, and never cut out of the chain's embedding. So the windows are fixed beforehand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from betafold_mlx.data.identity import rotations
from betafold_mlx.data.sampling import DEFAULT_WINDOWS, MAX_WINDOWS, MIN_WINDOWS
from betafold_mlx.data.store import Dataset, Record
from betafold_mlx.errors import BetafoldError
from betafold_mlx.peptide.sequence import TRAINED_LENGTHS


def planned_sequences(dataset: Dataset, windows: int = DEFAULT_WINDOWS, seed: int = 0) -> list[str]:
    """Return the sequences that training on a data set and scoring on it will ask for, each once.

    These are the peptides of all splits and the training chains that are no longer than these, those of training that
    are rings in every rotation (they are turned at random), the fragments, and the training windows of
    `plan_windows`. They are the same for the same data, numbers and version of NumPy. BetafoldError where there is
    nothing to embed.
    """
    wanted: list[str] = []
    for record in dataset.records:
        if record.is_peptide or (record.split == "train" and record.length <= TRAINED_LENGTHS[1]):
            turned = record.cyclic and record.split == "train"
            wanted += rotations(record.sequence) if turned else [record.sequence]
    wanted += [dataset.fragment_sequence(fragment) for fragment in dataset.fragments]
    chains = dataset.chains("train")
    for chain, start, length in plan_windows(chains, windows, seed).tolist():
        wanted.append(chains[chain].sequence[start : start + length])
    sequences = list(dict.fromkeys(wanted))
    if not sequences:
        raise BetafoldError(
            "the data set has nothing to embed: no peptides, no fragments, no training chains"
        )
    return sequences


def sequences_sha256(sequences: Sequence[str]) -> str:
    """Return the SHA-256 of sequences, one a line, as hexadecimal text."""
    return hashlib.sha256("\n".join(sequences).encode()).hexdigest()


def plan_windows(chains: Sequence[Record], count: int, seed: int = 0) -> np.ndarray:
    """Draw `count` fixed training windows, with the weights that `WindowSampler` draws new ones with.

    Return (count, 3) int64: index of the chain, first residue from 0, number of residues; empty without chains.
    Lengths take turns over the trained ones; a chain that is shorter is taken whole. BetafoldError for fewer windows
    than there are lengths, or more than `MAX_WINDOWS`.
    """
    if not MIN_WINDOWS <= count <= MAX_WINDOWS:
        raise BetafoldError(
            f"{count} training windows: take at least {MIN_WINDOWS}, and at most {MAX_WINDOWS:,}"
        )
    if not chains:
        return np.zeros((0, 3), dtype=np.int64)
    rng = np.random.default_rng(seed)
    weights = chain_weights(chains)
    index = rng.choice(len(chains), size=count, p=weights / weights.sum())
    available = np.array([len(chain.sequence) for chain in chains])[index]
    length = np.minimum(TRAINED_LENGTHS[0] + np.arange(count) % MIN_WINDOWS, available)
    start = rng.integers(0, available - length + 1)
    return np.stack([index, start, length], axis=1).astype(np.int64)


def chain_weights(chains: Sequence[Record]) -> np.ndarray:
    """Return how often each chain is drawn from, up to a factor: by length, and less in a large cluster."""
    return inverse_cluster_size(chains, power=0.5) * np.array([len(chain.sequence) for chain in chains])


def inverse_cluster_size(records: Sequence[Record], power: float) -> np.ndarray:
    """Return weights that let a cluster of n records count as n^(1 - power) of them."""
    if not records:
        return np.zeros(0)
    # The source's own clusters are finer than ours, which must also hold distant relatives together.
    clusters = np.array(
        [
            (0, record.cluster) if record.source_cluster is None else (1, record.source_cluster)
            for record in records
        ]
    )
    _, inverse, counts = np.unique(clusters, axis=0, return_inverse=True, return_counts=True)
    return 1.0 / counts[inverse.reshape(-1)].astype(float) ** power
