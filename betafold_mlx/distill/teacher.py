"""Teachers: one model or the average of several, and the structures that they label sequences with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.distill.labelling import Labelling
from betafold_mlx.errors import BetafoldError
from betafold_mlx.fold.confidence import confidence_features
from betafold_mlx.fold.ensemble import refine
from betafold_mlx.fold.predictor import Predictor, in_batches
from betafold_mlx.fold.ranking import rank_models
from betafold_mlx.geometry import build_backbone
from betafold_mlx.model.folding import Folded
from betafold_mlx.model.functions import softmax
from betafold_mlx.model.heads import vectors_to_angles
from betafold_mlx.model.inputs import ModelInputs, collate
from betafold_mlx.model.ramachandran import TorsionMixture
from betafold_mlx.peptide.sequence import Peptide

_TINY = 1e-9
"""Added to probabilities whose logarithm is taken."""


class Label(NamedTuple):
    """The structure that a teacher gives a peptide of L residues."""

    coordinates: np.ndarray  # (L, 4, 3) float32 Angstrom: N, CA, C, O
    plddt: np.ndarray  # (L,) float32, calibrated, 0 to 100
    bonded: bool  # all stated bonds are made


class Teacher:
    """Models, at least one, that label sequences together; each has its own embedder.

    The distributions of their answers are averaged: distances, torsions and state confidence. The structures are
    fitted to the mean, as `Predictor.fold` fits them to the answer of one model, and their confidence is the mean of
    what the models' calibrations make of it. BetafoldError for no model, or the same weights twice.
    """

    def __init__(self, predictors: Sequence[Predictor]) -> None:
        if not predictors:
            raise BetafoldError("a teacher needs at least one model")
        self.predictors = list(predictors)
        seen: dict[str, str] = {}
        for predictor in predictors:
            known = seen.setdefault(predictor.loaded.sha256, predictor.loaded.name)
            if sum(other.loaded.sha256 == predictor.loaded.sha256 for other in predictors) > 1:
                raise BetafoldError(f"the teacher {known} is named twice: it would count twice")

    @classmethod
    def load(cls, models: Sequence[str | Path]) -> Teacher:
        """Load model directories, or installed models by their names; the bundled one where none is named."""
        return cls([Predictor.load(model) for model in (models or [None])])  # type: ignore[list-item]

    def describe(self) -> list[dict[str, Any]]:
        """Return of each model its ``name``, ``sha256``, ``trained_on`` and ``embedder``."""
        return [
            {
                "name": predictor.loaded.name,
                "sha256": predictor.loaded.sha256,
                "trained_on": predictor.loaded.trained_on,
                "embedder": predictor.describe_embedder(),
            }
            for predictor in self.predictors
        ]

    def strangers(self, dataset_sha256: str) -> list[str]:
        """Return the names of the models that were trained on another data set than one, or do not say on which."""
        return [p.loaded.name for p in self.predictors if p.loaded.trained_on != dataset_sha256]

    def label(
        self, peptides: Sequence[Peptide], samples: int = Labelling.samples, seed: int = 0
    ) -> list[Label]:
        """Label peptides, on a CPU several batches at a time; the labels come in their order.

        The label is the sample that the networks' own confidence puts first
        (`betafold_mlx.fold.ranking.rank_models`): no judge chooses. On validation structures the most central of
        eight is as near to the experiment. BetafoldError for numbers out of range, or weights that give no finite
        numbers.
        """
        if samples < 1:
            raise BetafoldError(f"samples must be at least 1, not {samples}")
        if not 0 <= seed < 2**31:
            raise BetafoldError(f"seed must lie between 0 and {2**31 - 1}, not {seed}")
        return in_batches(peptides, lambda batch: self._label_batch(batch, samples, seed))

    def _label_batch(self, peptides: Sequence[Peptide], samples: int, seed: int) -> list[Label]:
        """Label peptides of one padded length."""
        inputs = collate(peptides)
        folded = mean_answer(
            [self._answer(predictor, peptides, inputs) for predictor in self.predictors], inputs
        )
        ensemble = refine(folded, inputs, seed, range(samples))
        features = confidence_features(folded, ensemble)
        judged = [predictor.loaded.model.calibration(features) for predictor in self.predictors]
        plddt = np.array(sum(judged[1:], judged[0]) / len(judged))  # (B, S, L)
        coordinates = np.array(ensemble.coordinates)
        if not (np.isfinite(plddt).all() and np.isfinite(coordinates).all()):
            raise BetafoldError("the teacher gives no finite numbers: its weights are damaged")
        return [
            _choose(peptide, coordinates[row, :, : len(peptide)], plddt[row, :, : len(peptide)])
            for row, peptide in enumerate(peptides)
        ]

    @staticmethod
    def _answer(predictor: Predictor, peptides: Sequence[Peptide], inputs: ModelInputs) -> Folded:
        if predictor.embedder is not None:
            features = predictor.embedder([peptide.sequence for peptide in peptides], inputs.mask.shape[1])
            inputs = inputs._replace(features=features)
        return predictor.loaded.model(inputs)


def _choose(peptide: Peptide, coordinates: np.ndarray, plddt: np.ndarray) -> Label:
    """Return the label among samples (S, L, 5, 3) with confidences (S, L)."""
    ranking = rank_models(peptide, coordinates, plddt)
    chosen = ranking.order[0]
    bonded = all(bond.formed for bond in ranking.bonds[0])
    return Label(coordinates[chosen, :, :4], plddt[chosen], bonded)


def mean_answer(answers: Sequence[Folded], inputs: ModelInputs) -> Folded:
    """Return the mean of what at least one network says of a batch, without attention; one answer as it is.

    The mean of mixtures is the mixture of all their states; of torsion vectors, whose length says how sure the network
    is, the mean vector; of bins, the mean probability.
    """
    if len(answers) == 1:
        return answers[0]
    vectors = _mean([answer.vectors for answer in answers])
    torsions = vectors_to_angles(vectors)
    mixtures = [answer.mixture for answer in answers]
    mixture = TorsionMixture(
        mx.concatenate([each.log_weights for each in mixtures], axis=-1) - math.log(len(mixtures)),
        mx.concatenate([each.centre for each in mixtures]),
        mx.concatenate([each.concentration for each in mixtures]),
    )
    return Folded(
        vectors,
        torsions,
        build_backbone(torsions, inputs.residues, inputs.mask),
        mixture,
        _mean_logits([answer.distogram for answer in answers]),
        _mean_logits([answer.plddt_logits for answer in answers]),
        [],
        answers[0].states,
    )


def _mean(arrays: Sequence[mx.array]) -> mx.array:
    return sum(arrays[1:], arrays[0]) / len(arrays)


def _mean_logits(logits: Sequence[mx.array]) -> mx.array:
    """Return logits of the mean probabilities."""
    return mx.log(_mean([softmax(each) for each in logits]) + _TINY)
