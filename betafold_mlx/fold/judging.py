"""What the judge is shown of the candidates of a fold."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from betafold_mlx.fold.confidence import confidence_features
from betafold_mlx.fold.ensemble import Ensemble
from betafold_mlx.fold.restraints import distance_moments
from betafold_mlx.model.attention import relative_positions
from betafold_mlx.model.folding import Folded
from betafold_mlx.model.inputs import ModelInputs
from betafold_mlx.model.judge import JudgeInputs
from betafold_mlx.templates.search import Hits


def judge_inputs(
    folded: Folded, inputs: ModelInputs, ensemble: Ensemble, templates: Hits | None = None
) -> JudgeInputs:
    """Return what the judge is shown of all candidates of a batch.

    The features of a residue: those of the confidence, cosine and sine of the torsions, the trust in the template.

    Parameters
    ----------
    folded : Folded
        The folding network's answer.
    inputs : ModelInputs
        Its input.
    ensemble : Ensemble
        S candidates of each of the B peptides.
    templates : Hits, optional
        What the threaded ones were threaded through.
    """
    batch, samples, length = ensemble.coordinates.shape[:3]
    trust = np.zeros((batch, samples, length, 1), dtype=np.float32)
    if templates is not None:
        for row, candidate in np.argwhere(ensemble.source >= 0):
            trust[row, candidate] = templates[row][ensemble.source[row, candidate]].trust
    torsions = ensemble.torsions
    angles = mx.concatenate([mx.cos(torsions), mx.sin(torsions)], axis=-1)
    features = mx.concatenate([confidence_features(folded, ensemble), angles, mx.array(trust)], axis=-1)
    mean, variance = distance_moments(ensemble.probability)
    count = inputs.mask.sum(axis=1)
    return JudgeInputs(
        states=folded.states,
        mask=inputs.mask,
        relative=relative_positions(count, inputs.cyclic, length),
        bonded=inputs.bonded,
        distance=mean,
        spread=mx.sqrt(variance),
        coordinates=ensemble.coordinates[..., :4, :],
        features=features * inputs.mask[:, None, :, None],
    )
