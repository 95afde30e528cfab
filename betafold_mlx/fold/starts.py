"""Initial torsions of the minimisation."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from betafold_mlx.fold.restraints import Restraints
from betafold_mlx.model.ramachandran import TorsionMixture


def draw_starts(
    restraints: Restraints, rows: np.ndarray, numbers: np.ndarray, seed: int, attempt: int = 0
) -> mx.array:
    """Draw the torsions that samples start from.

    Sample 0 starts from the network's most likely torsions; the others are drawn from its torsion distributions.
    Each depends on the seed and its own number alone, not on what else is drawn.

    Parameters
    ----------
    restraints : Restraints
        Of B peptides.
    rows : numpy.ndarray
        (n,) int, the peptide of each sample.
    numbers : numpy.ndarray
        (n,) int, which sample of its peptide it is.
    seed : int
        0 to 2^31 - 1.
    attempt : int
        Above 0: another draw, for a sample that came out of the first one with its bonds unmade.

    Returns
    -------
    mx.array
        (n, L, 3) radians.
    """
    mixture = restraints.mixture
    angles, order = [], []
    for number in np.unique(numbers).tolist():
        places = np.flatnonzero(numbers == number)
        log_weights = mixture.log_weights[mx.array(rows[places])]
        own = TorsionMixture(log_weights, mixture.centre, mixture.concentration)
        if number == 0 and attempt == 0:
            angles.append(own.best_angles())
        else:
            # The same numbers for each peptide: one must not depend on its company.
            angles.append(own.sample(mx.random.key((seed << 32) + (attempt << 24) + number)))
        order.append(places)
    back = mx.array(np.argsort(np.concatenate(order)))
    omega = restraints.omega[mx.array(rows)]
    return mx.concatenate([mx.concatenate(angles)[back], omega[..., None]], axis=-1)
