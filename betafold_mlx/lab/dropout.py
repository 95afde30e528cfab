"""Dropout: none, the usual, much."""

from __future__ import annotations

from betafold_mlx.lab.compare import outcome
from betafold_mlx.lab.experiment import Lab, Outcome
from betafold_mlx.lab.series import train_series
from betafold_mlx.lab.variants import Variant, base_config, with_network

RATES = (0.0, 0.1, 0.3)
BASELINE = "dropout 0.1"


def run(lab: Lab) -> Outcome:
    """Train with each rate."""
    base = base_config(lab.budget)
    variants = [Variant(f"dropout {rate}", with_network(base, dropout=rate)) for rate in RATES]
    return outcome(train_series(lab, variants), BASELINE, "Dropout")
