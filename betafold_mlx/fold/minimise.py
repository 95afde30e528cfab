"""Minimisation of many structures at once over their torsions: where it starts, and how it goes on."""

from __future__ import annotations

from typing import NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.fold.gradient import EnergyGradient, EnergyWeights
from betafold_mlx.fold.restraints import Restraints
from betafold_mlx.model.ramachandran import TorsionMixture

STEPS, BONDED_STEPS = 40, 80
"""Without and with stated bonds, which take longer to find room for."""

FIRST_RATE, LAST_RATE = 0.12, 0.002
"""Step sizes of Adam, radians."""

FIRST_CHEMISTRY, LAST_CHEMISTRY = 0.05, 5.0
"""Factor on clashes and stated bonds: the chain first finds its shape, then makes room and closes."""

STERICS_FROM, BONDED_STERICS_FROM, STERICS_EVERY = 0.5, 0.25, 2
"""Clashes cost more than all else: they count from this share of the steps on, in one step of so many, for all. With
stated bonds it is an earlier one: of 330 draws of 66 peptides 176 then have them and do not run through themselves,
else 155."""

PULL_EVERY = 8
"""Steps for which the mixture's states keep their probabilities."""


class MinimiseSchedule(NamedTuple):
    """How a minimisation goes on.

    Attributes
    ----------
    first_rate : float
        Step size of Adam at the beginning, radians; it falls to `LAST_RATE`.
    first_chemistry : float
        Factor on clashes and stated bonds at the beginning; it grows to `LAST_CHEMISTRY`.
    sterics_from : float
        Share of the steps from which on clashes count.
    """

    first_rate: float = FIRST_RATE
    first_chemistry: float = FIRST_CHEMISTRY
    sterics_from: float = STERICS_FROM


USUAL = MinimiseSchedule()
GENTLE = MinimiseSchedule(first_rate=0.01, first_chemistry=1.0, sterics_from=0.0)
"""The second is for starts that have their shape already."""


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


def minimise(
    torsions: mx.array,
    restraints: Restraints,
    weights: EnergyWeights | None = None,
    steps: int = STEPS,
    schedule: MinimiseSchedule = USUAL,
) -> mx.array:
    """Lower the energy of structures by Adam (Kingma & Ba 2015), each by itself.

    Parameters
    ----------
    torsions : mx.array
        (B, L, 3) radians to start from.
    restraints : Restraints
        Of the B structures.
    weights : EnergyWeights, optional
        Weights of the terms of the energy.
    steps : int
        Their number is fixed, so that a structure does not depend on what is minimised beside it.
    schedule : MinimiseSchedule
        Step sizes and the growth of the chemistry.

    Returns
    -------
    mx.array
        (B, L, 3) radians.
    """
    gradient = EnergyGradient(restraints, weights or EnergyWeights())
    angles = mx.contiguous(torsions.transpose())  # (3, L, B)
    first, second = mx.zeros_like(angles), mx.zeros_like(angles)
    for step in range(1, steps + 1):
        progress = step / steps
        chemistry = schedule.first_chemistry * (LAST_CHEMISTRY / schedule.first_chemistry) ** progress
        rate = schedule.first_rate * (1 - progress) + LAST_RATE
        if (step - 1) % PULL_EVERY == 0:
            pull = gradient.pull(angles)
        sterics = STERICS_EVERY if progress > schedule.sterics_from and step % STERICS_EVERY == 0 else 0
        slope = gradient(angles, pull, chemistry, sterics)
        first = 0.9 * first + 0.1 * slope
        second = 0.98 * second + 0.02 * mx.square(slope)
        unbiased = mx.sqrt(second / (1 - 0.98**step)) + 1e-6
        angles = angles - rate * (first / (1 - 0.9**step)) / unbiased
        mx.async_eval(angles, first, second)
    return angles.transpose()
