"""What the options of ``betafold-mlx train`` say, as settings of a run."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import click

from betafold_mlx.model.config import PAIR_OPTIONS, ModelConfig

if TYPE_CHECKING:
    from betafold_mlx.train.config import TrainConfig
    from betafold_mlx.train.losses import LossWeights

OF_THE_PAIRS = ("triangle", "trunk_dtype", *PAIR_OPTIONS)
OF_THE_NETWORK = (
    *("layers", "width", "heads", "ffn_width", "dropout", "positions", "trunk"),
    *OF_THE_PAIRS,
)
_OF_THE_SAMPLER = ("windows", "tokens", "disulfide_share", "substitutions")


def train_config(options: dict[str, Any]) -> TrainConfig:
    """Return the settings of a run from the values of its options, which are used up.

    Raises
    ------
    BetafoldError
        For values that do not go together.
    click.UsageError
        For a weight of a loss that is none.
    """
    from betafold_mlx.data.windows import SamplerConfig
    from betafold_mlx.train.config import TrainConfig

    network = {name: options.pop(name) for name in OF_THE_NETWORK}
    sampler = SamplerConfig(**{name: options.pop(name) for name in _OF_THE_SAMPLER})
    loss = _loss_weights(options.pop("loss_weights"))
    return TrainConfig(network=ModelConfig(**network), sampler=sampler, loss=loss, **options)


def _loss_weights(given: tuple[str, ...]) -> LossWeights:
    from betafold_mlx.train.losses import LossWeights

    names = [field.name for field in dataclasses.fields(LossWeights)]
    weights = {}
    for item in given:
        name, _, text = item.partition("=")
        try:
            weights[name] = float(text)
        except ValueError:
            weights[name] = -1.0
        if name not in names or not 0 <= weights[name] < math.inf:
            raise click.UsageError(
                f"--loss-weight {item!r:.40}: write NAME=WEIGHT with one of {', '.join(names)} and a number from 0"
            )
    return LossWeights(**weights)


def mix_weights(text: str) -> dict[str, float]:
    """Return the weights of a mix by the names of the origins.

    Raises
    ------
    click.UsageError
        For another name, a weight that is none, or a mix of nothing.
    """
    from betafold_mlx.data.store import ORIGINS

    items = [item.partition("=") for item in text.split(",")]
    try:
        weights = {name.strip(): float(number) for name, _, number in items}
    except ValueError:
        weights = {}
    known = sorted(weights) == sorted(ORIGINS) and len(items) == len(ORIGINS)
    if (
        not known
        or not all(0 <= weight < math.inf for weight in weights.values())
        or not any(weights.values())
    ):
        raise click.UsageError(
            f"--mix {text!r:.60}: write {ORIGINS[0]}=X,{ORIGINS[1]}=X with numbers from 0, not both of them 0"
        )
    return weights
