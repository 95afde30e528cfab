"""Features of a training run: none with a residue embedder, else caches of embeddings, which are filled first."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path

from betafold_mlx.data.cache import EmbeddingCache, check_index, read_index
from betafold_mlx.data.fill import Embed, FilledCache, FillReporter, fill_cache
from betafold_mlx.data.store import Dataset, dataset_sha256
from betafold_mlx.errors import BetafoldError
from betafold_mlx.executors import INLINE, Workers
from betafold_mlx.fold.registry import find_embedder
from betafold_mlx.model.config import EmbedderConfig
from betafold_mlx.train.training_config import Mix, TrainConfig

RESIDUE = "residue"


def default_cache(dataset: Path, embedder: EmbedderConfig) -> Path:
    """Return where the cache of a data set and an embedder lies unless the user says otherwise: beside the data set."""
    path = Path(os.path.abspath(dataset))  # noqa: PTH100 - a name for `.` and `..`, and links as they are
    return path.with_name(f"{path.name}.esm2-{embedder.size}-{embedder.sha256:.12}")


def fill_by_esm(
    directory: Path,
    dataset: Dataset,
    fingerprint: str,
    embedder: EmbedderConfig,
    find: Callable[[], Path],
    windows: int | None = None,
    seed: int | None = None,
    reporter: FillReporter | None = None,
    workers: Workers = INLINE,
) -> FilledCache:
    """Make what a cache lacks by a converted ESM-2.

    Parameters
    ----------
    find : callable
        Returns the directory of the ESM-2. It is called where something is missing only.
    directory, dataset, fingerprint, embedder, windows, seed, reporter, workers
        As in `betafold_mlx.data.fill.fill_cache`.

    Raises
    ------
    BetafoldError
        As `fill_cache`, and for an ESM-2 that is missing or damaged.
    """

    def load() -> Embed:
        from betafold_mlx.esm.embedder import embed_sequences  # a whole cache needs none of it

        embed = functools.partial(embed_sequences, find())
        embed([])  # loads it
        return embed

    return fill_cache(
        directory,
        dataset,
        fingerprint,
        embedder,
        load,
        windows,
        seed,
        reporter=reporter,
        workers=workers,
    )


def new_features(
    dataset: Path,
    data: Dataset,
    fingerprint: str,
    config: TrainConfig,
    embedder: Path | None,
    cache: Path | None,
    reporter: FillReporter | None = None,
) -> tuple[TrainConfig, EmbeddingCache | None]:
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
    embedder : Path or None
        Directory of a converted ESM-2; None for the residue embedder.
    cache : Path or None
        The cache, where it is not the usual place.
    reporter : FillReporter, optional
        Receives the progress of filling the cache.

    Raises
    ------
    BetafoldError
        As `betafold_mlx.data.fill.fill_cache`.
    """
    if embedder is None:
        return config, None
    from betafold_mlx.esm.converted import describe_esm

    known = describe_esm(embedder).embedder_config()
    place = cache or default_cache(dataset, known)
    windows = config.sampler.windows
    filled = fill_by_esm(place, data, fingerprint, known, lambda: embedder, windows, reporter=reporter)
    index = filled.cache.index
    network = dataclasses.replace(config.network, embedder=known)
    sampler = dataclasses.replace(config.sampler, windows=index.windows, windows_seed=index.seed)
    return dataclasses.replace(config, network=network, sampler=sampler), filled.cache


def resumed_features(
    dataset: Path,
    data: Dataset,
    fingerprint: str,
    config: TrainConfig,
    run: Path,
    embedder: str | None,
    cache: Path | None,
    reporter: FillReporter | None = None,
) -> EmbeddingCache | None:
    """Return what makes the features of a run that goes on. The ESM-2 is needed only where the cache is not whole.

    Parameters
    ----------
    dataset, data, fingerprint, cache, reporter
        As in `new_features`.
    config : TrainConfig
        The settings of the run.
    run : Path
        Its folder.
    embedder : str or None
        Its embedder (``residue`` or a directory), where it is named again.

    Raises
    ------
    BetafoldError
        Another embedder or cache than the run began with, a cache that is not there, or as `fill_cache`.
    """
    wanted = config.network.embedder
    if embedder is not None and (embedder == RESIDUE) != (wanted.kind == RESIDUE):
        raise BetafoldError(f"the run {run} reads {wanted.describe()}: leave out --embedder {embedder}")
    if wanted.kind == RESIDUE:
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
    return fill_by_esm(place, data, fingerprint, wanted, find, reporter=reporter).cache


def check_mix(mix: Mix | None, distilled: Path | None, run: Path) -> None:
    """Check that a run goes on with the distilled data that it began with, or with none.

    Raises
    ------
    BetafoldError
        Where it does not.
    """
    if mix is None and distilled is not None:
        raise BetafoldError(f"the run {run} has no distilled data: leave out --distilled")
    if mix is not None and distilled is None:
        raise BetafoldError(f"the run {run} mixes in distilled data: name that data set with --distilled")
    if mix is not None and distilled is not None and mix.dataset_sha256 != dataset_sha256(distilled):
        raise BetafoldError(f"{run} was trained with another distilled data set: resume with that one")


def with_distilled(
    features: EmbeddingCache | None,
    config: TrainConfig,
    run: Path,
    embedder: str | None,
    distilled: Path | None,
    labels: Dataset | None,
    reporter: FillReporter | None = None,
) -> EmbeddingCache | None:
    """Return what makes the features of both data sets: the distilled one has a cache of its own beside it."""
    if features is None or distilled is None or labels is None:
        return features
    wanted, sampler = config.network.embedder, config.sampler
    filled = fill_by_esm(
        default_cache(distilled, wanted),
        labels,
        dataset_sha256(distilled),
        wanted,
        lambda: find_embedder(wanted, run, embedder),
        sampler.windows,
        sampler.windows_seed,
        reporter,
    )
    return features.beside(filled.cache)
