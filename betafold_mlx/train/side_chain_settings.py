"""Settings of the training of a side-chain network. Imports no MLX."""

from __future__ import annotations

from dataclasses import dataclass, field

from betafold_mlx.fields import setting
from betafold_mlx.model.config import SideChainConfig
from betafold_mlx.train.schedule import Schedule


@dataclass(frozen=True)
class SideChainTrainConfig(Schedule):
    """Everything that determines a run, with the data set and the versions."""

    network: SideChainConfig = field(default_factory=SideChainConfig)
    model_sha256: str = ""  # of the weights of the folding network whose states it reads
    seed: int = setting(0, min=0)  # of the initial weights, the order of the examples and the noise
    read_states: bool = setting(False, "Let the network read the states of the folding network.")
    # as in `betafold_mlx.data.sampling.SamplerConfig`
    tokens: int = setting(1536, "Residues of a step, padding included.", min=1)
    peptide_share: float = setting(0.03, min=0, max=1)
    disulfide_share: float = setting(0.15, min=0, max=1)
    # 50 where the network reads states
    longest: int = setting(
        144, "Residues of the longest window: what is around a residue is seldom all in 50.", min=8, max=1024
    )
    # share of the examples whose atoms are displaced, and the largest standard deviation, Angstrom
    noisy: float = setting(0.5, "Share of the examples whose atoms are displaced.", min=0, max=1)
    noise: float = setting(
        0.2, "Standard deviation of that, at most (Angstrom): backbones of a fold are not exact.", min=0
    )
    steps: int = setting(5000, "Optimiser steps.", min=1)
    learning_rate: float = setting(1.5e-3, "Learning rate at its peak.", min=0, min_open=True)
    final_learning_rate: float = setting(1e-5, min=0)
    warmup: int = setting(100, "Steps of warm-up.", min=0)
    weight_decay: float = setting(0.02, min=0)
    clip: float = setting(1.0, min=0, min_open=True)
    evaluate_every: int = setting(250, "Steps between evaluations.", min=1)
    patience: int = setting(100, min=1)
    average: float = setting(0.99, min=0, max=1, max_open=True)
