"""Distilled data beside a data set, for ``betafold-mlx train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from betafold_mlx.errors import BetafoldError

if TYPE_CHECKING:
    from betafold_mlx.data.store import Dataset
    from betafold_mlx.distributed.ranks import Ranks
    from betafold_mlx.train.batches import Featurizer
    from betafold_mlx.train.config import Mix, TrainConfig


def check_mix(mix: Mix | None, distilled: Path | None, run: Path) -> None:
    """Check that a run goes on with the distilled data that it began with, or with none.

    Raises
    ------
    BetafoldError
        Where it does not.
    """
    from betafold_mlx.data.store import dataset_sha256

    if mix is None and distilled is not None:
        raise BetafoldError(f"the run {run} has no distilled data: leave out --distilled")
    if mix is not None and distilled is None:
        raise BetafoldError(f"the run {run} mixes in distilled data: name that data set with --distilled")
    if mix is not None and distilled is not None and mix.dataset_sha256 != dataset_sha256(distilled):
        raise BetafoldError(f"{run} was trained with another distilled data set: resume with that one")


def with_distilled(
    features: Featurizer | None,
    config: TrainConfig,
    run: Path,
    embedder: str | None,
    distilled: Path | None,
    labels: Dataset | None,
    ranks: Ranks,
) -> Featurizer | None:
    """Return what makes the features of both data sets: the distilled one has a cache of its own beside it."""
    if features is None or distilled is None or labels is None:
        return features
    from betafold_mlx.cli.filling import default_cache, fill
    from betafold_mlx.data.cache import EmbeddingCache
    from betafold_mlx.data.mix import MixedFeatures
    from betafold_mlx.data.store import dataset_sha256
    from betafold_mlx.fold.registry import find_embedder

    assert isinstance(features, EmbeddingCache)
    wanted, sampler = config.network.embedder, config.sampler
    filled = fill(
        default_cache(distilled, wanted),
        labels,
        dataset_sha256(distilled),
        wanted,
        lambda: find_embedder(wanted, run, embedder),
        sampler.windows,
        sampler.windows_seed,
        ranks,
    )
    return MixedFeatures(features, filled.cache)
