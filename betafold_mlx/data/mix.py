"""Training batches from two data sets: experimental structures, and distilled ones beside them."""

from __future__ import annotations

import dataclasses

import numpy as np

from betafold_mlx.data.store import DISTILLED, EXPERIMENTAL, Dataset
from betafold_mlx.data.windows import Window, WindowSampler
from betafold_mlx.errors import BetafoldError

_STREAM = 1
"""Keeps the random numbers of a mixed batch apart from those of an experimental one."""


def check_origins(experimental: Dataset, sha256: str, distilled: Dataset | None) -> None:
    """Check that a data set with this SHA-256, which is validated on, and a distilled one can be trained on together.

    BetafoldError where one is not of its origin, or the second was not kept apart from what the first is evaluated
    on.
    """
    if experimental.origin != EXPERIMENTAL:
        raise BetafoldError(
            "the data set is a distilled one, which cannot measure a model: train on an experimental one, and name "
            "this one with --distilled"
        )
    if distilled is None:
        return
    if distilled.origin != DISTILLED:
        raise BetafoldError(
            "--distilled names a data set that is not distilled: make one with `betafold-mlx distill`"
        )
    if distilled.report["distillation"]["against"] != sha256:
        raise BetafoldError(
            "the distilled data set was kept apart from another data set than the one to train on: distill it again "
            "with --against that one"
        )


class MixedSampler:
    """Draw batches of which a share, 0 to 1, is distilled; both samplers have the same buckets.

    The batch of a step depends on the seed and the step alone, as that of `WindowSampler`. Distilled examples do not
    count in the loss of the confidence, which is to learn the error against experiments: the experimental ones of the
    batch count the more, so that their mean counts as much as in a batch without distilled ones.

    Where the share comes to a fraction of an example, that is the chance of one more. From step `until` on there are
    no distilled examples: the batches are those of a run without.
    """

    def __init__(
        self, experimental: WindowSampler, distilled: WindowSampler, share: float, until: int | None = None
    ) -> None:
        self.experimental = experimental
        self.distilled = distilled
        self.share = share
        self.until = until

    def batch(self, step: int) -> tuple[list[Window], int]:
        """Return the examples of a step, the experimental ones first, and the length to pad them to.

        A bucket that one of the data sets has nothing for is filled by the other.
        """
        if self.until is not None and step >= self.until:
            return self.experimental.batch(step)
        rng = np.random.default_rng([self.experimental.seed, step, _STREAM])
        padded = self.experimental.draw_length(rng)
        count = self.experimental.batch_size(padded)
        predicted = self.distilled.draw(rng, padded, int(count * self.share + rng.random()))
        measured = self.experimental.draw(rng, padded, count - len(predicted))
        weight = (len(measured) + len(predicted)) / max(1, len(measured))
        return (
            [dataclasses.replace(window, confidence=weight) for window in measured]
            + [dataclasses.replace(window, confidence=0.0) for window in predicted],
            padded,
        )
