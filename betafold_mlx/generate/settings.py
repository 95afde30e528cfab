"""The settings of a generator's training run."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

from betafold_mlx.errors import BetafoldError
from betafold_mlx.generate.config import GeneratorConfig
from betafold_mlx.generate.flow import FlowConfig
from betafold_mlx.train.schedule import Schedule


@dataclass(frozen=True)
class GeneratorTrainConfig(Schedule):
    """Everything that determines a run, with the data set and the versions.

    Attributes
    ----------
    network : GeneratorConfig
        Sizes of the network.
    flow : FlowConfig
        What the network is made used to.
    seed : int
        Of the initial weights, the order of the data and the noise.
    tokens : int
        Residues of a batch at the finest scale, padding included.
    steps : int
        Optimiser steps; the learning rate reaches its floor at the last one.
    learning_rate, final_learning_rate : float
        AdamW's peak after the warm-up, and floor at the end of the cosine.
    block_learning_rate : float
        Muon's peak, for the matrices of the blocks; it rises and falls with the other. 0: AdamW for these too.
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
        for name, smallest in (("tokens", 1), ("seed", 0)):
            value = getattr(self, name)
            if type(value) is not int or value < smallest:
                raise BetafoldError(
                    f"training: {name} must be a whole number from {smallest}, not {value!r:.40}"
                )
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
            Where a key is unknown or missing, or a value is none: a run of another version, or of something else.
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
