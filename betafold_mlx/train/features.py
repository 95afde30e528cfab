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
    """Make what a cache lacks by a converted ESM-2, as `betafold_mlx.data.fill.fill_cache`.

    `find` returns the directory of the ESM-2. It is called where something is missing only.
    """

    def load() -> Embed:
        from betafold_mlx.esm.embedder import embed_sequences  # a whole cache needs none of it

        embed = functools.partial(embed_sequences, find())
        embed([])  # loads it
        return embed

    return fill_cache(
        directory, dataset, fingerprint, embedder, load, windows, seed, reporter=reporter, workers=workers
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

    `dataset` is the folder of the data, `fingerprint` their SHA-256. `embedder` is the directory of a converted
    ESM-2, None for the residue embedder; `cache` the cache, where it is not the usual place.
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

    `run` is the folder of the run; `embedder` (``residue`` or a directory) is its embedder, where it is named again.
    All else is as in `new_features`. BetafoldError for another embedder or cache than the run began with, or a cache
    that is not there.
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
    """Check that a run goes on with the distilled data that it began with, or with none; else BetafoldError."""
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
