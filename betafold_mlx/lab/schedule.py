"""The learning-rate schedule and weight decay."""

from __future__ import annotations

import dataclasses

from betafold_mlx.lab.compare import outcome
from betafold_mlx.lab.experiment import Lab, Outcome
from betafold_mlx.lab.series import train_series
from betafold_mlx.lab.variants import Variant, base_config

BASELINE = "warm-up and decay 0.05"


def run(lab: Lab) -> Outcome:
    """Train without the warm-up, without weight decay, and with ten times as much."""
    base = base_config(lab.budget)
    variants = [
        Variant(BASELINE, base),
        Variant("no warm-up", dataclasses.replace(base, warmup=0)),
        Variant("no weight decay", dataclasses.replace(base, weight_decay=0.0)),
        Variant("weight decay 0.5", dataclasses.replace(base, weight_decay=0.5)),
    ]
    return outcome(train_series(lab, variants), BASELINE, "Schedule")
