"""Where the features of a training run come from: nowhere, or a cache of embeddings that is filled first."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import rich_click as click

from betafold_mlx.cli.filling import default_cache, fill
from betafold_mlx.data.cache import check_index, read_index
from betafold_mlx.data.store import Dataset
from betafold_mlx.distributed.ranks import ALONE, Ranks
from betafold_mlx.errors import BetafoldError
from betafold_mlx.fold.registry import find_embedder
from betafold_mlx.train.batches import Featurizer
from betafold_mlx.train.config import TrainConfig

RESIDUE = "residue"


def new_features(
    dataset: Path,
    data: Dataset,
    fingerprint: str,
    config: TrainConfig,
    embedder: str | None,
    cache: Path | None,
    ranks: Ranks = ALONE,
) -> tuple[TrainConfig, Featurizer | None]:
    """Return the settings of a new run with its embedder in them, and what makes its features.

    Parameters
    ----------
    dataset : Path
        The data set's folder.
    data : Dataset
        What is in it.
    fingerprint : str
        Its SHA-256.
    config : TrainConfig
        The settings without embedder.
    embedder : str or None
        ``residue`` (also where it is None) or the directory of a converted ESM-2.
    cache : Path or None
        The cache, where it is not the usual place.
    ranks : Ranks
        Who share the work of filling it.

    Raises
    ------
    BetafoldError
        As `betafold_mlx.data.fill.fill_cache`.
    click.UsageError
        Options that do not go together, or an embedder that is not there.
    """
    if embedder in (None, RESIDUE):
        if cache is not None:
            raise click.UsageError("--cache goes with --embedder DIR, the ESM-2 that it was made by")
        return config, None
    directory = Path(str(embedder))
    if not directory.is_dir():
        raise click.UsageError(f"--embedder {embedder}: give 'residue' or a converted ESM-2 directory")
    from betafold_mlx.esm.converted import describe_esm

    known = describe_esm(directory).embedder_config()
    place = cache or default_cache(dataset, known)
    filled = fill(place, data, fingerprint, known, lambda: directory, config.sampler.windows, ranks=ranks)
    index = filled.cache.index
    return (
        dataclasses.replace(
            config,
            network=dataclasses.replace(config.network, embedder=known),
            sampler=dataclasses.replace(config.sampler, windows=index.windows, windows_seed=index.seed),
        ),
        filled.cache,
    )


def resumed_features(
    dataset: Path,
    data: Dataset,
    fingerprint: str,
    config: TrainConfig,
    run: Path,
    embedder: str | None,
    cache: Path | None,
    ranks: Ranks = ALONE,
) -> Featurizer | None:
    """Return what makes the features of a run that goes on.

    The ESM-2 is needed only where the cache is no longer whole.

    Parameters
    ----------
    dataset, data, fingerprint, cache, ranks
        As in `new_features`.
    config : TrainConfig
        The settings of the run.
    run : Path
        Its folder.
    embedder : str or None
        Its embedder, where it is to be named again.

    Raises
    ------
    BetafoldError
        Another embedder or cache than the run began with, a cache that is not there, or as `fill_cache`.
    """
    wanted = config.network.embedder
    if embedder is not None and (embedder == RESIDUE) != (wanted.kind == RESIDUE):
        raise BetafoldError(f"the run {run} reads {wanted.describe()}: leave out --embedder {embedder}")
    if wanted.kind == RESIDUE:
        if cache is not None:
            raise click.UsageError(f"the run {run} reads no embeddings: leave out --cache")
        return None
    if embedder is not None:
        find_embedder(wanted, run, embedder)
    place = cache or default_cache(dataset, wanted)
    try:
        index = read_index(place)
    except BetafoldError as error:
        raise BetafoldError(f"{error} (the run {run} reads one: name it with --cache)") from error
    check_index(place, index, wanted, config.sampler.windows, config.sampler.windows_seed)
    find = functools.partial(find_embedder, wanted, run, embedder)
    return fill(place, data, fingerprint, wanted, find, ranks=ranks).cache
