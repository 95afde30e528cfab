"""The fold of a batch of peptides, in five steps.

1. The network answers: torsion and distance distributions, given the sequence and its stated chemistry.
2. Candidate starts are drawn from the torsion distributions (`starts`).
3. All candidates are minimised together (`minimise`), against the distances, clashes and stated bonds.
4. Rings and disulfides are closed exactly (`closing`). Steps 2 to 4 are `ensemble.refine`.
5. Candidates are scored (`confidence`) and ranked (`ranking`): the `Prediction` of each peptide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from betafold_mlx.errors import BetafoldError
from betafold_mlx.fold.confidence import confidence_features
from betafold_mlx.fold.details import read_details
from betafold_mlx.fold.disulfides import DisulfidePattern, rank_disulfides
from betafold_mlx.fold.ensemble import refine
from betafold_mlx.fold.prediction import Prediction
from betafold_mlx.fold.ranking import collect_warnings, rank_models
from betafold_mlx.model.directory import LoadedModel
from betafold_mlx.model.folding import Folded
from betafold_mlx.model.inputs import ModelInputs, collate
from betafold_mlx.peptide.sequence import Peptide
from betafold_mlx.structure.secondary import assign_secondary_structures

if TYPE_CHECKING:
    from betafold_mlx.esm.features import EsmEmbedder


def fold_batch(
    loaded: LoadedModel,
    embedder: EsmEmbedder | None,
    peptides: Sequence[Peptide],
    ids: Sequence[str],
    *,
    samples: int,
    seed: int,
    auto_disulfides: bool = False,
    details: bool = False,
) -> list[Prediction]:
    """Fold peptides together.

    Parameters
    ----------
    loaded : LoadedModel
        The folding model.
    embedder : EsmEmbedder or None
        Its frozen embedder, where it has one.
    peptides : sequence of Peptide
        B peptides of one padded length.
    ids : sequence of str
        Their names.
    samples, seed, auto_disulfides, details
        As in `Predictor.fold`.

    Raises
    ------
    BetafoldError
        The weights give numbers that are not finite.
    """
    network = loaded.model
    # 1. The network's answer; where disulfides are to be chosen, once more with them stated.
    inputs = _inputs(peptides, embedder)
    answer = network(inputs, return_attention=details)
    patterns = [_rank_disulfides(peptide, answer, row) for row, peptide in enumerate(peptides)]
    if auto_disulfides and any(patterns):
        peptides = [
            replace(peptide, disulfides=ranked[0].disulfides) if ranked else peptide
            for peptide, ranked in zip(peptides, patterns, strict=True)
        ]
        inputs = collate(peptides)._replace(features=inputs.features)
        answer = network(inputs, return_attention=details)

    # 2. - 4. Candidates: drawn, minimised and closed.
    ensemble = refine(answer, inputs, seed, range(samples))

    # 5. Confidence, ranking, and what else a prediction says.
    confidence = network.calibration(confidence_features(answer, ensemble))
    arrays = (ensemble.coordinates, confidence, ensemble.torsions)
    coordinates, plddt, torsions = (np.array(array) for array in arrays)  # (B, S, L, ...)
    finite = np.isfinite(plddt).all(axis=1) & np.isfinite(coordinates).all(axis=(1, 3, 4))  # (B, L)
    if not finite[np.array(inputs.mask)].all():
        raise BetafoldError(f"model {loaded.name} gives no finite numbers: its weights are damaged")
    structures = _secondary_structures(peptides, coordinates)
    predictions = []
    for row, peptide in enumerate(peptides):
        n = len(peptide)
        order, bonds = rank_models(peptide, coordinates[row, :, :n], plddt[row, :, :n])
        models = _without_absent_cb(peptide, coordinates[row, order, :n])
        scores = plddt[row, order, :n]
        prediction = Prediction(
            id=ids[row],
            peptide=peptide,
            coordinates=models,
            plddt=scores,
            torsions=_without_end_torsions(peptide, torsions[row, order, :n]),
            secondary_structure=tuple(structures[row][index] for index in order),
            bonds=bonds,
            seed=seed,
            model_name=loaded.name,
            model_sha256=loaded.sha256,
            embedder=describe_embedder(loaded, embedder),
            disulfide_patterns=patterns[row],
            warnings=collect_warnings(peptide, models[0], scores[0], bonds[0], patterns[row]),
            details=read_details(answer, row, n, peptide.cyclic) if details else None,
        )
        predictions.append(prediction.mirrored() if peptide.d_amino_acids else prediction)
    return predictions


def describe_embedder(loaded: LoadedModel, embedder: EsmEmbedder | None) -> dict[str, Any]:
    """Describe the embedder: ``kind`` and ``label``, and of a frozen one its size and checksums."""
    if embedder is not None:
        return embedder.esm.to_dict()
    return {"kind": "residue", "label": loaded.model.config.embedder.describe()}


def _inputs(peptides: Sequence[Peptide], embedder: EsmEmbedder | None) -> ModelInputs:
    inputs = collate(peptides)
    if embedder is None:
        return inputs
    length = inputs.mask.shape[1]
    return inputs._replace(features=embedder([peptide.sequence for peptide in peptides], length))


def _rank_disulfides(peptide: Peptide, answer: Folded, row: int) -> tuple[DisulfidePattern, ...]:
    """Rank the ways to bond the cysteines of a row of a batch where none is stated; nothing where one is."""
    if peptide.disulfides or peptide.sequence.count("C") < 2:
        return ()
    length = len(peptide)
    return rank_disulfides(
        peptide.sequence, np.array(answer.distogram[row, :length, :length]), peptide.cyclic
    )


def _secondary_structures(peptides: Sequence[Peptide], coordinates: np.ndarray) -> list[list[str]]:
    """Return the secondary structure of each model of each peptide: all in one go is ten times as fast."""
    traces = [
        model[: len(peptide), 1]
        for peptide, models in zip(peptides, coordinates, strict=True)
        for model in models
    ]
    letters, samples = assign_secondary_structures(traces), coordinates.shape[1]
    return [letters[first : first + samples] for first in range(0, len(letters), samples)]


def _without_absent_cb(peptide: Peptide, coordinates: np.ndarray) -> np.ndarray:
    """Return models (S, L, 5, 3) with NaN for the CB of glycine."""
    glycine = np.array([letter == "G" for letter in peptide.sequence])
    coordinates[:, glycine, 4] = np.nan
    return coordinates


def _without_end_torsions(peptide: Peptide, torsions: np.ndarray) -> np.ndarray:
    """Return torsions (S, L, 3) with NaN where an open chain has none."""
    if not peptide.cyclic:
        torsions[:, 0, 0] = np.nan
        torsions[:, -1, 1:] = np.nan
    return torsions
