"""Settings of the generator: network sizes, training, sampling. Plain dataclasses; nothing here imports MLX."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from betafold_mlx.errors import BetafoldError
from betafold_mlx.fields import check_settings, setting
from betafold_mlx.train.schedule import Schedule

MIN_LENGTH, MAX_LENGTH = 8, 32  # residues of a generated chain
MAX_SCALES = 3


@dataclass(frozen=True)
class GeneratorConfig:
    """Sizes of the network: the ``network`` object of a generator's ``config.json``."""

    # 1 is plain flow matching of the whole trace.
    scales: int = setting(3, "The finest so many of L/4, L/2 and L.", min=1, max=MAX_SCALES)
    width: int = setting(192, "Width of a point's state.", min=8, max=4096)
    layers: int = setting(4, "Blocks of the autoregressive Transformer.", min=1, max=64)
    decoder_layers: int = setting(4, "Blocks of the flow-matching decoder.", min=1, max=64)
    heads: int = setting(8, "Attention heads of a block.", min=1, max=256)
    ffn_width: int = setting(768, "Width of the feed-forward networks.", min=8, max=16384)

    def __post_init__(self) -> None:
        check_settings(self, "generator config")
        if self.width % self.heads or self.width % 2:
            raise BetafoldError(
                f"generator config: width {self.width} is not an even multiple of {self.heads} heads"
            )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> GeneratorConfig:
        """Build a config from parsed JSON; BetafoldError for an unknown key or an impossible value."""
        unknown = set(values) - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise BetafoldError(
                f"generator config: unknown key {min(unknown)!r:.40} (another version's file?)"
            )
        return cls(**values)

    def describe(self) -> str:
        """Return the network in words, as a model card names it."""
        scales = {1: "one scale (L)", 2: "two scales (L/2, L)", 3: "three scales (L/4, L/2, L)"}[self.scales]
        return (
            f"{scales}; autoregressive Transformer of {self.layers} layers, flow-matching decoder of "
            f"{self.decoder_layers}, both {self.width} wide with {self.heads} heads"
        )


@dataclass(frozen=True)
class FlowConfig:
    """Parts of the training objective, each of which can be switched off."""

    # context' = w x + (1 - w) e, w uniform in [0, 1]. The decoder, which adds to the coarser scale, sees it as it is.
    noisy_context: bool = setting(True, "Blur the coarser scales that are read.")
    # with probability 1/2, where the estimates were made late enough.
    scheduled_sampling: bool = setting(True, "Read the model's own coarser scales half of the time.")
    self_conditioning: bool = setting(True, "Show the decoder its own estimate half of the time.")
    # in late estimates of the finest scale.
    local_distances: bool = setting(True, "Learn distances along the chain too.")
    # `betafold_mlx.generate.flow.first_draws`
    further_draws: bool = setting(True, "Train the coarsest scale on more noise than the others.")

    def __post_init__(self) -> None:
        check_settings(self, "training")


@dataclass(frozen=True)
class GeneratorTrainConfig(Schedule):
    """Everything that determines a run, with the data set and the versions; all rates but Muon's are AdamW's."""

    network: GeneratorConfig = field(default_factory=GeneratorConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    seed: int = setting(0, min=0)  # of the initial weights, the order of the data and the noise
    tokens: int = setting(2048, "Residues of a batch, padding included.", min=1)
    steps: int = setting(3000, "Optimiser steps, at most.", min=1)
    learning_rate: float = setting(1e-3, "AdamW's rate at its peak.", min=0, min_open=True)
    # follows the same schedule.
    block_learning_rate: float = setting(
        0.02, "Muon's rate at its peak, for the matrices of the blocks; 0: AdamW for these too.", min=0
    )
    final_learning_rate: float = setting(1e-6, min=0)
    warmup: int = setting(50, "Steps of warm-up.", min=0)
    weight_decay: float = setting(0.02, min=0)
    clip: float = setting(1.0, min=0, min_open=True)
    evaluate_every: int = setting(250, "Steps between evaluations.", min=1)
    patience: int = setting(8, "Evaluations without a better one before stopping.", min=1)


@dataclass(frozen=True)
class SamplingConfig:
    """How to sample: SDE steps at the coarsest scale, ODE steps at each later one."""

    steps: int = setting(60, "Steps at the coarsest scale.", min=1, max=10_000)
    ode_steps: int = setting(12, "Steps at each later scale.", min=1, max=10_000)
    gamma: float = setting(0.7, "Temperature of the noise: less, the most usual shapes.", min=0, max=10)

    def __post_init__(self) -> None:
        check_settings(self, "sampling")
