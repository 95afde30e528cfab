"""Where the minimisation starts from."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from betafold_mlx.fold.restraints import Restraints, take


def draw_starts(restraints: Restraints, seed: int, numbers: np.ndarray, attempt: int = 0) -> mx.array:
    """Return the torsions that samples start from.

    Sample 0 starts from the network's most likely torsions; the others are drawn from its torsion distributions.
    Each depends on the seed and its own number alone, not on what else is drawn.

    Parameters
    ----------
    restraints : Restraints
        Of B structures.
    seed : int
        0 to 2^31 - 1.
    numbers : numpy.ndarray
        (B,) int, which sample of its peptide each structure is.
    attempt : int
        Above 0: another draw, for a sample that came out of the first one with its bonds unmade.

    Returns
    -------
    mx.array
        (B, L, 3) radians.
    """
    angles, order = [], []
    for number in np.unique(numbers).tolist():
        rows = np.flatnonzero(numbers == number)
        mixture = take(restraints, rows).mixture
        if number == 0 and attempt == 0:
            angles.append(mixture.best_angles())
        else:
            # The same numbers for each peptide: one must not depend on its company.
            angles.append(mixture.sample(mx.random.key((seed << 32) + (attempt << 24) + number)))
        order.append(rows)
    back = mx.array(np.argsort(np.concatenate(order)))
    return mx.concatenate([mx.concatenate(angles)[back], restraints.omega[..., None]], axis=-1)
