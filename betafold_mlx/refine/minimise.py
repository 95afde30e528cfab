"""Minimise many structures at once over their torsions."""

from __future__ import annotations

import mlx.core as mx

from betafold_mlx.refine.energy import EnergyWeights, energy
from betafold_mlx.refine.restraints import Restraints

STEPS = 80
FIRST_RATE, LAST_RATE = 0.12, 0.002
"""Step sizes of Adam, radians."""

FIRST_CHEMISTRY, LAST_CHEMISTRY = 0.05, 5.0
"""Factor on clashes and stated bonds: the chain first finds its shape, then makes room and closes."""

STERICS_FROM = 0.5
"""Share of the steps that pass before clashes count."""


def minimise(
    torsions: mx.array, restraints: Restraints, weights: EnergyWeights | None = None, steps: int = STEPS
) -> mx.array:
    """Lower the energy of structures by Adam (Kingma & Ba 2015), each by itself.

    Parameters
    ----------
    torsions : mx.array
        (B, S, L, 3) radians to start from.
    restraints : Restraints
        Of the B peptides.
    weights : EnergyWeights, optional
        What each term of the energy counts.
    steps : int
        Their number is fixed, so that a structure does not depend on what is minimised beside it.

    Returns
    -------
    mx.array
        (B, S, L, 3) radians.
    """
    chosen = weights or EnergyWeights()

    def total(angles: mx.array, chemistry: float, sterics: bool) -> mx.array:
        return energy(angles, restraints, chosen, chemistry, sterics).sum()

    gradient = mx.grad(total)
    first, second = mx.zeros_like(torsions), mx.zeros_like(torsions)
    for step in range(1, steps + 1):
        progress = step / steps
        chemistry = FIRST_CHEMISTRY * (LAST_CHEMISTRY / FIRST_CHEMISTRY) ** progress
        rate = FIRST_RATE * (1 - progress) + LAST_RATE
        slope = gradient(torsions, chemistry, progress > STERICS_FROM)
        first = 0.9 * first + 0.1 * slope
        second = 0.98 * second + 0.02 * mx.square(slope)
        unbiased = mx.sqrt(second / (1 - 0.98**step)) + 1e-6
        torsions = torsions - rate * (first / (1 - 0.9**step)) / unbiased
        mx.eval(torsions, first, second)
    return torsions
