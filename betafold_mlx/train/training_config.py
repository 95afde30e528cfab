"""Settings of the training of a folding model."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

from betafold_mlx.data.sampling import SamplerConfig
from betafold_mlx.errors import BetafoldError
from betafold_mlx.fields import check_settings, setting
from betafold_mlx.model.config import ModelConfig
from betafold_mlx.train.schedule import Schedule


@dataclass(frozen=True)
class LossWeights:
    """What each part of the loss counts."""

    # squared error of the torsion vectors, `betafold_mlx.train.losses.torsion_loss`
    torsion: float = setting(1.0, min=0)
    ramachandran: float = setting(0.2, min=0)  # negative log density of phi and psi, `ramachandran_loss`
    distogram: float = setting(0.3, min=0)  # cross-entropy of C-alpha distances, `distogram_loss`
    # losses through the reconstruction
    drmsd: float = setting(0.03, min=0)
    fape: float = setting(0.0, min=0)
    # cross-entropy of the predicted lDDT; it trains the confidence head alone
    confidence: float = setting(0.1, min=0)

    def __post_init__(self) -> None:
        check_settings(self, "training: loss weights")


@dataclass(frozen=True)
class Mix:
    """How a distilled data set takes part in a run."""

    dataset_sha256: str  # its fingerprint
    # weights: their ratio is that of the examples of a batch
    experimental: float = 0.5
    distilled: float = 0.5
    until: int | None = None  # steps after which it takes no part any more

    def __post_init__(self) -> None:
        for weight in (self.experimental, self.distilled):
            if type(weight) not in (int, float) or not 0 <= weight < math.inf:
                raise BetafoldError("training: the weights of a mix must be zero or positive numbers")
        if not 0 < self.experimental + self.distilled < math.inf:
            raise BetafoldError("training: the weights of a mix must not all be zero")
        if self.until is not None and (type(self.until) is not int or self.until < 1):
            raise BetafoldError("training: a mix must last for at least 1 step")

    @property
    def share(self) -> float:
        """Share of the distilled examples."""
        return self.distilled / (self.experimental + self.distilled)


@dataclass(frozen=True)
class TrainConfig(Schedule):
    """Everything that determines a run, with the data set and the versions."""

    network: ModelConfig = field(default_factory=ModelConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    seed: int = setting(0, min=0)  # of the initial weights, the dropout and the order of the data
    steps: int = setting(3500, "Optimiser steps, at most.", min=1)
    # peak after the warm-up, and floor at the end of the cosine
    learning_rate: float = setting(8e-4, "Learning rate at its peak.", min=0, min_open=True)
    block_learning_rate: float = setting(
        0.0, "Muon's rate at its peak, for the matrices of the blocks; 0: AdamW for these too.", min=0
    )
    final_learning_rate: float = setting(1e-5, min=0)
    warmup: int = setting(200, "Steps of warm-up.", min=0)
    weight_decay: float = setting(0.05, min=0)  # AdamW's
    clip: float = setting(1.0, min=0, min_open=True)  # largest global norm of the gradient
    loss: LossWeights = field(default_factory=LossWeights)
    evaluate_every: int = setting(250, "Steps between evaluations.", min=1)
    # With it the mean is what is validated, and the last one is kept rather than the best, which noise would pick.
    average: float = setting(
        0.0,
        "Keep the running mean of the weights with this decay a step; 0: none.",
        min=0,
        max=1,
        max_open=True,
    )
    # fit the confidence of the best weights to their errors on the validation split when the run is complete
    calibrate: bool = setting(True)
    patience: int = setting(8, "Evaluations without a better one before stopping.", min=1)
    mix: Mix | None = None  # the distilled data set that takes part; None for experimental structures alone

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON values; those of a run without a mix do not name it."""
        values = dataclasses.asdict(self) | {"network": self.network.to_dict()}
        if self.mix is None:
            del values["mix"]
        return values
