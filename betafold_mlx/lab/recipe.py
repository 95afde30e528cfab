"""The recipe of the bundled model, with one part of it left out or changed."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from betafold_mlx.evaluate.items import split_items
from betafold_mlx.lab.columns import FOLDED, INTERVALS, MEASURES, PSI, column_findings
from betafold_mlx.lab.compare import draw_runs, outcome, run_rows
from betafold_mlx.lab.experiment import Lab, Outcome, Picture
from betafold_mlx.lab.series import train_series
from betafold_mlx.lab.variants import Variant, base_config
from betafold_mlx.train.config import TrainConfig

BASELINE = "the recipe"


def run(lab: Lab) -> Outcome:
    """Train the recipe, and each change of it."""
    base = base_config(lab.budget)
    series = train_series(lab, [Variant(name, config) for name, config in changes(base).items()])
    result = outcome(series, BASELINE, "Recipe")
    items = split_items(lab.small_dataset, "validation", lab.budget.items)
    clusters = np.array([item.cluster for item in items])
    result.findings = column_findings(series, BASELINE, clusters, lab.seed)
    result.tables["runs"] = run_rows(series, MEASURES)
    result.pictures["runs"] = Picture(
        draw_runs(series, (FOLDED.measure, PSI.measure)),
        "Validation structures as `fold` makes them, and the psi error of the network's own torsions. Each mark is a "
        "seed, the bar their mean.",
    )
    result.notes = [
        "Folding draws on all that the network says, so a head without a loss gives it noise: without the distogram, "
        f"restraints of an untrained head. All variants are told the chemistry. {INTERVALS}"
    ]
    return result


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
