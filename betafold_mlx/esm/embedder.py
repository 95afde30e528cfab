"""The features that folding models read: ESM-2's last states, one vector a residue."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import mlx.core as mx
import numpy as np

from betafold_mlx.device import side_by_side
from betafold_mlx.errors import BetafoldError
from betafold_mlx.esm.converted import LoadedEsm, load_esm
from betafold_mlx.esm.tokenizer import encode
from betafold_mlx.model.inputs import pad_features

MIN_TO_DIVIDE = 8
"""Sequences from which on there are two batches, for two processor cores."""

BATCH_TOKENS = 512
"""Tokens run at once: bounds the memory; more of them are no faster on a processor core, whose caches they leave."""


class EsmEmbedder:
    """A frozen ESM-2 of any size that makes features.

    They are the states after the final LayerNorm, without those of ``<cls>`` and ``<eos>``, rounded to float16: a
    model is trained on a cache of that precision and is to see the same when it folds.
    """

    def __init__(self, esm: LoadedEsm) -> None:
        mx.eval(esm.model.parameters())  # threads read them
        self.esm = esm

    @classmethod
    def load(cls, directory: Path) -> EsmEmbedder:
        """Load a converted ESM-2 (see `betafold_mlx.esm.converted.load_esm`)."""
        return cls(load_esm(directory))

    def embed(self, sequences: Sequence[str]) -> list[np.ndarray]:
        """Return the embedding (L, E), float16, of each sequence, made in batches of similar lengths.

        BetafoldError for one that is not finite, or too large for float16; it names the sequence.
        """
        batches = _batches([len(sequence) for sequence in sequences])

        def states_of(members: list[int]) -> np.ndarray:
            tokens = mx.array(encode([sequences[index] for index in members]))
            return np.array(self.esm.model.embed(tokens))  # (B, T, E), <cls> first

        embeddings: dict[int, np.ndarray] = {}
        for members, states in zip(batches, side_by_side(states_of, batches), strict=True):
            for row, index in enumerate(members):
                inner = states[row, 1 : len(sequences[index]) + 1]
                embeddings[index] = self._rounded(inner, sequences[index])
        return [embeddings[index] for index in range(len(sequences))]

    def __call__(self, sequences: Sequence[str], padded: int) -> mx.array:
        """Return the features (B, L, E), float32, of B sequences; zero at the padding up to L."""
        return pad_features(self.embed(sequences), padded)

    def _rounded(self, states: np.ndarray, sequence: str) -> np.ndarray:
        with np.errstate(over="ignore"):
            rounded = states.astype(np.float16)
        if not np.isfinite(rounded).all():
            shown = sequence if len(sequence) <= 40 else f"{sequence[:37]}..."
            what = "is not finite: the weights are damaged, convert again"
            if np.isfinite(states).all():
                largest = float(np.abs(states).max())
                what = f"reaches {largest:.3g}, beyond float16: these weights cannot be used for folding"
            raise BetafoldError(f"{self.esm.label}: the embedding of {shown} {what}")
        return rounded


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    """Return the places of sequences of similar lengths, longest first, at most `BATCH_TOKENS` tokens together."""
    waiting = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    batches: list[list[int]] = []
    while waiting:
        rows = max(1, BATCH_TOKENS // (lengths[waiting[0]] + 2))
        number = -(-len(waiting) // rows)
        if not batches and len(waiting) >= MIN_TO_DIVIDE:
            number = max(number, 2)  # something for a second processor
        count = -(-len(waiting) // number)  # batches of equal sizes: side by side, none waits long
        batches.append(waiting[:count])
        waiting = waiting[count:]
    return batches


def embed_sequences(directory: Path, sequences: Sequence[str]) -> list[np.ndarray]:
    """Embed sequences by the converted ESM-2 of a directory, which a process loads once."""
    return _loaded(directory).embed(sequences)


@functools.lru_cache(1)
def _loaded(directory: Path) -> EsmEmbedder:
    return EsmEmbedder.load(directory)
