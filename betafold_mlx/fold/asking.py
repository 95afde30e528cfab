"""What the networks say of a batch of peptides, shown to them together or one after another.

One after another, an answer has the same bytes in any company: products of matrices of other sizes round differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import mlx.core as mx
import numpy as np

from betafold_mlx.fold.confidence import confidence_features
from betafold_mlx.fold.ensemble import NOTHING, Ensemble
from betafold_mlx.fold.foreign import has_foreign, other_hand, read_foreign
from betafold_mlx.fold.joining import joined
from betafold_mlx.fold.judging import judge_inputs
from betafold_mlx.model.folding import Folded, FoldingModel
from betafold_mlx.model.inputs import ModelInputs, collate
from betafold_mlx.model.judge import Judge, JudgeInputs
from betafold_mlx.peptide.sequence import Peptide, residue_ids
from betafold_mlx.templates.search import Hits

if TYPE_CHECKING:
    from betafold_mlx.esm.embedder import EsmEmbedder


def ask(
    network: FoldingModel,
    embedder: EsmEmbedder | None,
    peptides: Sequence[Peptide],
    details: bool,
    apart: bool = False,
) -> tuple[ModelInputs, Folded]:
    """Return the input of a batch, which states its chemistry, and the network's answer; if `apart`, one by one."""
    if apart:
        inputs_of, answers_of = zip(
            *(ask(network, embedder, [each], details) for each in peptides), strict=True
        )
        return joined(inputs_of), joined(answers_of)
    inputs = collate(peptides)
    length = inputs.mask.shape[1]

    def answers(sequences: Sequence[str]) -> Folded:
        ids = [np.pad(residue_ids(sequence), (0, length - len(sequence))) for sequence in sequences]
        features = embedder(sequences, length) if embedder else None
        seen = inputs._replace(residues=mx.array(np.stack(ids)), features=features)
        return network(seen, return_attention=details)

    if any(map(has_foreign, peptides)):
        return inputs._replace(d_residues=other_hand(peptides, length)), read_foreign(answers, peptides)
    return inputs, answers([peptide.sequence for peptide in peptides])


def score(
    network: FoldingModel,
    judge: Judge | None,
    answer: Folded,
    inputs: ModelInputs,
    ensemble: Ensemble,
    hits: Hits | None,
    apart: bool,
) -> np.ndarray:
    """Return the pLDDT (B, S, L) of all candidates; if `apart`, judged one peptide after another, 0 of `NOTHING`."""
    shown: mx.array | JudgeInputs
    shown = (
        confidence_features(answer, ensemble)
        if judge is None
        else judge_inputs(answer, inputs, ensemble, hits)
    )

    def scores(shown: mx.array | JudgeInputs, mask: mx.array) -> np.ndarray:
        if isinstance(shown, mx.array):
            return np.array(network.calibration(shown))
        assert judge is not None
        return np.array(judge.plddt(judge(shown), mask))

    if not apart:
        return scores(shown, inputs.mask)
    found = np.zeros(ensemble.coordinates.shape[:3], dtype=np.float32)
    for row, number in enumerate((ensemble.source != NOTHING).sum(axis=1).tolist()):
        this = slice(row, row + 1)
        if isinstance(shown, mx.array):
            mine: mx.array | JudgeInputs = shown[this, :number]
        else:
            of_structures = {
                name: getattr(shown, name)[this, :number] for name in ("coordinates", "features")
            }
            mine = JudgeInputs(*(array[this] for array in shown))._replace(**of_structures)
        found[row, :number] = scores(mine, inputs.mask[this])[0]
    return found
