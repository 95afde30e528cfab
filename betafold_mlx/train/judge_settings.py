"""Settings of the training of a judge. Imports no MLX."""

from __future__ import annotations

from dataclasses import dataclass, field

from betafold_mlx.fields import setting
from betafold_mlx.model.config import JudgeConfig
from betafold_mlx.train.schedule import Schedule


@dataclass(frozen=True)
class JudgeTrainConfig(Schedule):
    """Everything that determines a run, with the decoys and the versions."""

    network: JudgeConfig = field(default_factory=JudgeConfig)
    model_sha256: str = ""  # of the weights of the folding network that makes the decoys
    seed: int = setting(0, min=0)  # of the initial weights, the order of the decoys and the dropout
    batches: int = setting(300, "Batches of decoys.", min=1)
    # as in `betafold_mlx.data.sampling.SamplerConfig`: what the decoys are made of
    peptide_share: float = setting(0.3, min=0, max=1)
    disulfide_share: float = setting(0.25, min=0, max=1)
    # structures of a step, and candidates of each
    peptides: int = setting(24, "Structures of a step.", min=1)
    candidates: int = setting(6, "Candidates of each that a step compares.", min=2)
    steps: int = setting(3000, "Optimiser steps.", min=1)
    learning_rate: float = setting(1e-3, "Learning rate at its peak.", min=0, min_open=True)
    final_learning_rate: float = setting(1e-5, min=0)
    warmup: int = setting(100, "Steps of warm-up.", min=0)
    weight_decay: float = setting(0.05, min=0)
    clip: float = setting(1.0, min=0, min_open=True)
    evaluate_every: int = setting(500, "Steps between evaluations.", min=1)
    patience: int = setting(100, min=1)
    average: float = setting(0.995, min=0, max=1, max_open=True)
