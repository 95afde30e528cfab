"""Peptides of different lengths in batches: folded with progress in lines of text, and padded on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import mlx.core as mx
import numpy as np

from betafold_mlx.fold.prediction import Prediction
from betafold_mlx.fold.predictor import Predictor
from betafold_mlx.peptide.sequence import Peptide

_STEP = 8  # residues: padded lengths are multiples, so that there are few shapes and little padding
# residue pairs in a batch: bounds the memory of pairwise distances and of the search of GDT_TS
_PAIRS = 65_536


Say = Callable[[str], None]
"""Called with a line of text as the work goes on."""

_TOGETHER = 128  # peptides between two lines of progress


def length_batches(lengths: Sequence[int]) -> Iterator[tuple[np.ndarray, int]]:
    """Yield (indices, padded length) of batches of similar lengths that cover everything once."""
    padded = (np.array(lengths, dtype=np.int64) + _STEP - 1) // _STEP * _STEP
    for length in np.unique(padded):
        members = np.flatnonzero(padded == length)
        size = max(1, _PAIRS // int(length) ** 2)
        for first in range(0, len(members), size):
            yield members[first : first + size], int(length)


def pad_stack(arrays: Sequence[np.ndarray], length: int) -> mx.array:
    """Stack arrays (L, ...) of different L to (B, length, ...), zeros behind each."""
    stacked = np.zeros((len(arrays), length, *arrays[0].shape[1:]), dtype=np.asarray(arrays[0]).dtype)
    for row, array in enumerate(arrays):
        stacked[row, : len(array)] = array
    return mx.array(stacked)


def length_mask(lengths: Sequence[int], length: int) -> mx.array:
    """Return (B, length) bool: the first L of each row."""
    return mx.arange(length) < mx.array(list(lengths))[:, None]


def fold_all(
    predictor: Predictor, peptides: Sequence[Peptide], samples: int, seed: int, say: Say, what: str = "folded"
) -> list[Prediction]:
    """Fold peptides, backbones alone, those of like length together; `say` gets ``folded 128 of 903``."""
    order = sorted(range(len(peptides)), key=lambda index: len(peptides[index]))  # little padding
    predictions: dict[int, Prediction] = {}
    for first in range(0, len(order), _TOGETHER):
        part = order[first : first + _TOGETHER]
        chosen = [peptides[index] for index in part]
        folded = predictor.fold_many(chosen, samples=samples, seed=seed, atoms="backbone")
        predictions.update(zip(part, folded, strict=True))
        say(f"{what} {first + len(part)} of {len(order)}")
    return [predictions[index] for index in range(len(peptides))]
