"""Settings of the generator: network sizes, training, sampling. Plain dataclasses; nothing here imports MLX."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

from betafold_mlx.errors import BetafoldError
from betafold_mlx.train.schedule import Schedule

MIN_LENGTH, MAX_LENGTH = 8, 32
"""Residues of a generated chain."""

MAX_SCALES = 3

NETWORK_RANGES: dict[str, tuple[int, int]] = {
    "scales": (1, MAX_SCALES),
    "width": (8, 4096),
    "layers": (1, 64),
    "decoder_layers": (1, 64),
    "heads": (1, 256),
    "ffn_width": (8, 16384),
}
"""Smallest and largest: a damaged or hostile ``config.json`` must not fill the memory."""


@dataclass(frozen=True)
class GeneratorConfig:
    """Sizes of the network: the ``network`` object of a generator's ``config.json``.

    Attributes
    ----------
    scales : int
        Number of scales, the finest ones of L/4, L/2 and L; 1 is plain flow matching of the whole trace.
    width : int
        Width of the state of a point.
    layers, decoder_layers : int
        Blocks of the autoregressive Transformer, and of the flow-matching decoder.
    heads, ffn_width : int
        Attention heads and feed-forward width of each block.
    """

    scales: int = 3
    width: int = 192
    layers: int = 4
    decoder_layers: int = 4
    heads: int = 8
    ffn_width: int = 768

    def __post_init__(self) -> None:
        for name, (low, high) in NETWORK_RANGES.items():
            _check_integer(self, name, low, high, "generator config")
        if self.width % self.heads or self.width % 2:
            raise BetafoldError(
                f"generator config: width {self.width} is not an even multiple of {self.heads} heads"
            )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> GeneratorConfig:
        """Build a config from parsed JSON.

        Raises
        ------
        BetafoldError
            For an unknown key (written by another version) or an impossible value.
        """
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
    """Parts of the training objective, each of which can be switched off.

    Attributes
    ----------
    noisy_context : bool
        Blur the coarser scales that the Transformer reads: context' = w x + (1 - w) e, w uniform in [0, 1]. The
        decoder, which adds to the coarser scale, sees it as it is.
    scheduled_sampling : bool
        With probability 1/2 the coarser scales are the model's own estimates, where those were made late enough.
    self_conditioning : bool
        With probability 1/2 the decoder gets its own earlier estimate.
    local_distances : bool
        A second loss: distances along the chain in late estimates of the finest scale.
    further_draws : bool
        Train the coarsest scale at several times and noises an example (`betafold_mlx.generate.flow.first_draws`).
    """

    noisy_context: bool = True
    scheduled_sampling: bool = True
    self_conditioning: bool = True
    local_distances: bool = True
    further_draws: bool = True

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if type(value) is not bool:
                raise BetafoldError(f"training: {name} must be true or false, not {value!r:.40}")


@dataclass(frozen=True)
class GeneratorTrainConfig(Schedule):
    """Everything that determines a run, with the data set and the versions.

    Attributes
    ----------
    network : GeneratorConfig
        Sizes of the network.
    flow : FlowConfig
        Parts of the training objective.
    seed : int
        Random seed of the initial weights, the order of the data and the noise.
    tokens : int
        Residues of a batch at the finest scale, padding included.
    steps : int
        Optimiser steps; the learning rate reaches its floor at the last one.
    learning_rate, final_learning_rate : float
        AdamW's peak after the warm-up, and floor at the end of the cosine.
    block_learning_rate : float
        Muon's peak, for the matrices of the blocks; it follows the same schedule. 0: AdamW for these too.
    warmup : int
        Steps of linear warm-up.
    weight_decay : float
        AdamW's.
    clip : float
        Largest global norm of the gradient.
    evaluate_every : int
        Steps between evaluations on the validation split.
    patience : int
        Evaluations without a better one before the run stops early.
    """

    network: GeneratorConfig = field(default_factory=GeneratorConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    seed: int = 0
    tokens: int = 2048
    steps: int = 3000
    learning_rate: float = 1e-3
    block_learning_rate: float = 0.02
    final_learning_rate: float = 1e-6
    warmup: int = 50
    weight_decay: float = 0.02
    clip: float = 1.0
    evaluate_every: int = 250
    patience: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_integer(self, "tokens", 1, math.inf, "training")
        _check_integer(self, "seed", 0, math.inf, "training")
        if not 0 <= self.block_learning_rate < math.inf:
            raise BetafoldError("training: block_learning_rate must be zero or a positive number")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> GeneratorTrainConfig:
        """Build the settings from parsed JSON, as `to_dict` wrote them.

        Raises
        ------
        BetafoldError
            For an unknown or missing key, or a wrong value: the run of another version, or of another command.
        """
        try:
            rest = dict(values)
            for kind, given in ((cls, rest), (GeneratorConfig, rest["network"]), (FlowConfig, rest["flow"])):
                missing = {field.name for field in dataclasses.fields(kind)} - set(given)
                if missing:
                    raise KeyError(f"no {min(missing)}")
            network, flow = GeneratorConfig.from_dict(rest.pop("network")), FlowConfig(**rest.pop("flow"))
            return cls(network=network, flow=flow, **rest)
        except (KeyError, TypeError, ValueError) as error:
            raise BetafoldError(
                f"training settings of another version, or not of a generator: {error}"
            ) from error


@dataclass(frozen=True)
class SamplingConfig:
    """How to sample.

    Attributes
    ----------
    steps : int
        SDE steps at the coarsest scale.
    ode_steps : int
        ODE steps at each later scale.
    gamma : float
        Temperature of the SDE's noise: 1 samples the learned distribution, less favours its most common shapes.
    """

    steps: int = 60
    ode_steps: int = 12
    gamma: float = 0.7

    def __post_init__(self) -> None:
        for name in ("steps", "ode_steps"):
            _check_integer(self, name, 1, 10_000, "sampling")
        if not 0 <= self.gamma <= 10:
            raise BetafoldError(f"sampling: gamma must lie in [0, 10], not {self.gamma!r:.40}")


def _check_integer(config: object, name: str, low: int, high: float, what: str) -> None:
    value = getattr(config, name)
    if type(value) is not int or not low <= value <= high:
        limits = f"from {low} to {high}" if high < math.inf else f"from {low}"
        raise BetafoldError(f"{what}: {name} must be a whole number {limits}, not {value!r:.40}")
