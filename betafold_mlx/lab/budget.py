"""Budgets of experiments: steps and seeds, not a time, so that the same budget gives the same result."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from betafold_mlx.errors import BetafoldError


@dataclass(frozen=True)
class Budget:
    """Sizes of the trained networks and of what they are measured on."""

    name: str  # what the user asked for
    steps: int  # of a run
    repeats: int  # seeds of a variant
    width: int  # of a residue's state, where it is not the question
    layers: int  # Transformer blocks, where these are not the question
    tokens: int  # padded residues of a training batch
    items: int  # maximum number of structures of a kind to measure on
    windows: int  # training windows, where they are fixed

    @property
    def test_items(self) -> int:
        """Maximum number of structures of a kind where a trained network is looked into and none is trained."""
        return 4 * self.items


PRESETS = {
    "quick": Budget("quick", 60, 2, 64, 2, 512, 60, 200),
    "normal": Budget("normal", 250, 3, 96, 4, 768, 150, 1000),
    "long": Budget("long", 2500, 5, 192, 4, 1536, 600, 10_000),
}
NORMAL_MINUTES = 8.0
"""What ``normal`` takes for one experiment that trains nine networks, roughly, on two cores with OpenBLAS."""
MIN_STEPS = 10


def parse_budget(text: str) -> Budget:
    """Return a budget by its name or for a number of minutes an experiment.

    Minutes become steps of the ``normal`` budget by a fixed rate, whatever the machine: the clock decides nothing.

    >>> parse_budget("normal").steps, parse_budget("16").steps
    (250, 500)
    """
    if text in PRESETS:
        return PRESETS[text]
    try:
        minutes = float(text)
    except ValueError:
        minutes = math.nan
    if not 0 < minutes <= 100_000:
        raise BetafoldError(f"budget {text!r:.40}: give {', '.join(PRESETS)}, or minutes for each experiment")
    normal = PRESETS["normal"]
    steps = max(MIN_STEPS, round(normal.steps * minutes / NORMAL_MINUTES))
    return dataclasses.replace(normal, name=f"{minutes:g} minutes", steps=steps)
