"""Mix a distilled data set into a run: its batches, and its model card."""

from __future__ import annotations

import dataclasses

from betafold_mlx.data.mix import MixedSampler, check_origins
from betafold_mlx.data.store import Dataset
from betafold_mlx.data.windows import WindowSampler
from betafold_mlx.errors import BetafoldError
from betafold_mlx.model.inputs import PADDED_LENGTHS
from betafold_mlx.train.training_config import Mix


def mixed(
    sampler: WindowSampler, dataset_sha256: str, distilled: Dataset | None, mix: Mix | None
) -> WindowSampler | MixedSampler:
    """Return what draws the batches of a run, from the sampler of the experimental data set with this fingerprint.

    BetafoldError where one of the distilled data set and its mix is missing, or as
    `betafold_mlx.data.mix.check_origins`.
    """
    check_origins(sampler.dataset, dataset_sha256, distilled)
    if (mix is None) != (distilled is None):
        raise BetafoldError("the settings of a mix and its distilled data set do not go together")
    if mix is None or distilled is None:
        return sampler
    config = dataclasses.replace(sampler.config, substitutions=0.0)  # a label belongs to its very sequence
    second = WindowSampler(distilled, PADDED_LENGTHS, sampler.seed, config)
    return MixedSampler(sampler, second, mix.share, mix.until)


def describe_mix(distilled: Dataset | None, mix: Mix | None) -> str:
    """Return what a card adds to the number of experimental records."""
    if distilled is None or mix is None:
        return ""
    until = "" if mix.until is None else f" up to step {mix.until}"
    return (
        f", and {len(distilled.records)} distilled ones (predictions, {mix.share:.0%} of the examples{until}; "
        f"sha256 {mix.dataset_sha256:.12})"
    )
