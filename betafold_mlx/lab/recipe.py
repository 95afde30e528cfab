"""The recipe of the bundled model, with one part of it left out or changed."""

from __future__ import annotations

import dataclasses
from typing import Any

from betafold_mlx.lab.comparison import folded_report
from betafold_mlx.lab.runner import Lab, LabReport
from betafold_mlx.lab.series import Variant, base_config, train_series
from betafold_mlx.train.training_config import TrainConfig

BASELINE = "the recipe"


def run(lab: Lab) -> LabReport:
    """Train the recipe, and each change of it."""
    variants = [Variant(name, config) for name, config in changes(base_config(lab.budget)).items()]
    series = train_series(lab, variants)
    report = folded_report(lab, series, {BASELINE: [name for name in series if name != BASELINE]})
    report.notes.insert(
        0,
        "Folding draws on all that the network says, so a head without a loss gives it noise: without the distogram, "
        "restraints of an untrained head. All variants get the stated chemistry.",
    )
    return report


def changes(base: TrainConfig) -> dict[str, TrainConfig]:
    """Return the settings of each variant."""

    def loss(**weights: float) -> TrainConfig:
        return dataclasses.replace(base, loss=dataclasses.replace(base.loss, **weights))

    def sampler(**settings: Any) -> TrainConfig:
        return dataclasses.replace(base, sampler=dataclasses.replace(base.sampler, **settings))

    return {
        BASELINE: base,
        "no distogram": loss(distogram=0.0),
        "no dRMSD": loss(drmsd=0.0),
        "no phi/psi density": loss(ramachandran=0.0),
        "bonds never told": sampler(unstated_disulfides=1.0, unstated_ring=1.0),
        "a share for disulfides": sampler(disulfide_share=0.15),
        "chains only": sampler(peptide_share=0.0),
        "peptides only": sampler(peptide_share=1.0),
        "substitutions": sampler(substitutions=0.3),
    }
