"""Settings that all training runs share: steps, learning rate, evaluations."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, TypeVar, get_args, get_type_hints

from betafold_mlx.errors import BetafoldError
from betafold_mlx.fields import check_settings

_S = TypeVar("_S", bound="Schedule")


class Schedule:
    """Base of a frozen dataclass of settings, which has these fields; they are checked when it is made."""

    steps: int  # optimiser steps, at most; the learning rate reaches its floor at the last one
    # peak after the warm-up, and floor at the end of the cosine
    learning_rate: float
    final_learning_rate: float
    warmup: int  # steps of linear warm-up
    weight_decay: float  # AdamW's
    clip: float  # largest global norm of the gradient
    evaluate_every: int  # steps between evaluations
    patience: int  # evaluations without a better one before the run stops early
    average = 0.0  # decay a step of the running mean of the weights; 0: none

    def __post_init__(self) -> None:
        check_settings(self, "training")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON values."""
        return dataclasses.asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_dict(cls: type[_S], values: dict[str, Any]) -> _S:
        """Build the settings from parsed JSON, as `to_dict` wrote them.

        BetafoldError where a key is unknown or missing, or a value is of another type: another version, or another
        kind of run.
        """
        another = "training settings of another version, or of another kind of run"
        try:
            rest = dict(values)
            for name, kind in get_type_hints(cls).items():
                of = get_args(kind)  # of a part that may be None
                part = of[0] if of else kind
                if dataclasses.is_dataclass(part) and not (of and rest.get(name) is None):
                    rest[name] = _read_part(part, rest[name])
            settings = cls(**rest)
        except (KeyError, TypeError, ValueError) as error:
            raise BetafoldError(f"{another}: {error}") from error
        if settings.to_dict() != values:
            raise BetafoldError(f"{another}: a setting is missing")
        return settings

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step: linear warm-up, then half a cosine (Loshchilov & Hutter 2017)."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        return self.final_learning_rate + (self.learning_rate - self.final_learning_rate) * cosine


def _read_part(kind: Any, values: dict[str, Any]) -> Any:
    return kind.from_dict(values) if hasattr(kind, "from_dict") else kind(**values)
