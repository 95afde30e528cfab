"""Where the minimisation starts from."""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx

from betafold_mlx.refine.restraints import Restraints


def draw_starts(restraints: Restraints, seed: int, numbers: Sequence[int], attempt: int = 0) -> mx.array:
    """Return the torsions that samples start from.

    Sample 0 starts from the network's most likely torsions; the others are drawn from its torsion distributions.
    Each depends on the seed and its own number alone, not on how many are drawn, nor on the batch.

    Parameters
    ----------
    restraints : Restraints
        Of B peptides.
    seed : int
        0 to 2^31 - 1.
    numbers : sequence of int
        Numbers of the S samples.
    attempt : int
        Above 0: another draw, for a sample that came out of the first one with its bonds unmade.

    Returns
    -------
    mx.array
        (B, S, L, 3) radians.
    """
    omega = restraints.omega[..., None]
    starts = []
    for number in numbers:
        if number == 0 and attempt == 0:
            angles = restraints.mixture.best_angles()
        else:
            # The same numbers for each peptide of a batch: a peptide must not depend on its company.
            angles = restraints.mixture.sample(mx.random.key((seed << 32) + (attempt << 24) + number))
        starts.append(mx.concatenate([angles, omega], axis=-1))
    return mx.stack(starts, axis=1)
