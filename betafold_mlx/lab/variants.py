"""Settings that differ in one thing."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from betafold_mlx.data.sampling import SamplerConfig
from betafold_mlx.data.store import Dataset
from betafold_mlx.lab.budget import Budget
from betafold_mlx.model.config import ModelConfig
from betafold_mlx.train.batches import Featurizer
from betafold_mlx.train.config import TrainConfig

EVALUATIONS = 5
"""On the way of a run."""


@dataclass(frozen=True)
class Variant:
    """What is trained.

    Attributes
    ----------
    name : str
        As tables and figures call it.
    config : TrainConfig
        Settings; each repeat has a seed of its own.
    mask_change : str or None
        What is wrong with the padding mask of attention, a name of `betafold_mlx.lab.masks.CHANGES`.
    featurizer : callable or None
        Makes the features of a frozen embedder.
    distilled : Dataset or None
        What ``config.mix`` mixes in.
    """

    name: str
    config: TrainConfig
    mask_change: str | None = None
    featurizer: Featurizer | None = None
    distilled: Dataset | None = None


def base_config(budget: Budget, fixed_windows: bool = False) -> TrainConfig:
    """Return the settings that variants start from: the package's own, smaller.

    Parameters
    ----------
    budget : Budget
        Sizes.
    fixed_windows : bool
        Draw from a fixed number of training windows, as features of a frozen embedder need, and overfitting does.
    """
    return TrainConfig(
        network=ModelConfig(
            width=budget.width, layers=budget.layers, heads=8, ffn_width=4 * budget.width, dropout=0.1
        ),
        sampler=SamplerConfig(tokens=budget.tokens, windows=budget.windows if fixed_windows else None),
        steps=budget.steps,
        warmup=max(1, budget.steps // 10),
        evaluate_every=max(1, budget.steps // EVALUATIONS),
        patience=EVALUATIONS * 2,  # all variants take the same steps
        calibrate=False,
    )


def with_network(config: TrainConfig, **changes: Any) -> TrainConfig:
    """Return settings with another network."""
    return dataclasses.replace(config, network=dataclasses.replace(config.network, **changes))
