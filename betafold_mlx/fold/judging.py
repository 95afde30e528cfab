"""What the judge is shown of the candidates of a fold."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from betafold_mlx.fold.confidence import confidence_features
from betafold_mlx.fold.ensemble import Ensemble
from betafold_mlx.fold.threads import Hits
from betafold_mlx.model.attention import relative_positions
from betafold_mlx.model.folding import Folded
from betafold_mlx.model.heads import CENTRES
from betafold_mlx.model.inputs import ModelInputs
from betafold_mlx.model.judge import JudgeInputs

JUDGE_FEATURES = 16
"""Numbers of a residue: those of the confidence, cosine and sine of the torsions, and the trust in the template."""

SPREAD_FLOOR = 0.25
"""Angstrom^2, added to each variance: half a bin's width, squared."""


def judge_inputs(
    folded: Folded, inputs: ModelInputs, ensemble: Ensemble, templates: Hits | None = None
) -> JudgeInputs:
    """Return what the judge is shown of all candidates of a batch.

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
    moments = ensemble.probability @ mx.array(np.stack([CENTRES, CENTRES**2], axis=-1).astype(np.float32))
    mean = moments[..., 0]
    spread = mx.sqrt(mx.maximum(moments[..., 1] - mx.square(mean), 0.0) + SPREAD_FLOOR)
    count = inputs.mask.sum(axis=1)
    return JudgeInputs(
        states=folded.states,
        mask=inputs.mask,
        relative=relative_positions(count, inputs.cyclic, length),
        bonded=inputs.bonded,
        distance=mean,
        spread=spread,
        coordinates=ensemble.coordinates[..., :4, :],
        features=features * inputs.mask[:, None, :, None],
    )
