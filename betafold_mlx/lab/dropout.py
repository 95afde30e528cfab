"""Dropout of 0, 0.1 and 0.3."""

from __future__ import annotations

from betafold_mlx.lab.comparison import usual_report
from betafold_mlx.lab.runner import Lab, LabReport
from betafold_mlx.lab.series import Variant, base_config, train_series, with_network

RATES = (0.0, 0.1, 0.3)
BASELINE = "dropout 0.1"


def run(lab: Lab) -> LabReport:
    """Train with each rate."""
    base = base_config(lab.budget)
    variants = [Variant(f"dropout {rate}", with_network(base, dropout=rate)) for rate in RATES]
    return usual_report(train_series(lab, variants), BASELINE, "Dropout")
