"""The learning-rate schedule and weight decay."""

from __future__ import annotations

import dataclasses

from betafold_mlx.lab.comparison import usual_report
from betafold_mlx.lab.runner import Lab, LabReport
from betafold_mlx.lab.series import Variant, base_config, train_series

BASELINE = "warm-up and decay 0.05"


def run(lab: Lab) -> LabReport:
    """Train without the warm-up, without weight decay, and with ten times as much."""
    base = base_config(lab.budget)
    variants = [
        Variant(BASELINE, base),
        Variant("no warm-up", dataclasses.replace(base, warmup=0)),
        Variant("no weight decay", dataclasses.replace(base, weight_decay=0.0)),
        Variant("weight decay 0.5", dataclasses.replace(base, weight_decay=0.5)),
    ]
    return usual_report(train_series(lab, variants), BASELINE, "Schedule")
