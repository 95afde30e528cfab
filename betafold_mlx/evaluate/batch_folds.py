"""Fold many peptides, with progress in lines of text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from betafold_mlx.fold.prediction import Prediction
from betafold_mlx.fold.predictor import Predictor
from betafold_mlx.peptide.sequence import Peptide

Say = Callable[[str], None]
"""Called with a line of text as the work goes on."""

_TOGETHER = 128  # peptides between two lines of progress


def fold_all(
    predictor: Predictor, peptides: Sequence[Peptide], samples: int, seed: int, say: Say, what: str = "folded"
) -> list[Prediction]:
    """Fold peptides, those of like length together; `say` gets ``folded 128 of 903``."""
    order = sorted(range(len(peptides)), key=lambda index: len(peptides[index]))  # little padding
    predictions: dict[int, Prediction] = {}
    for first in range(0, len(order), _TOGETHER):
        part = order[first : first + _TOGETHER]
        folded = predictor.fold_many([peptides[index] for index in part], samples=samples, seed=seed)
        predictions.update(zip(part, folded, strict=True))
        say(f"{what} {first + len(part)} of {len(order)}")
    return [predictions[index] for index in range(len(peptides))]
