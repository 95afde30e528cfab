"""Fill a cache of embeddings, file by file; a run that was stopped resumes with the missing files."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from betafold_mlx.data.cache import (
    INDEX_FILE,
    SHARD_SIZE,
    CacheIndex,
    EmbeddingCache,
    cached_sequences,
    check_index,
    index_document,
    read_index,
    shard_path,
)
from betafold_mlx.data.plan import DEFAULT_WINDOWS, planned_sequences, sequences_sha256
from betafold_mlx.data.shards import Shard, write_shard
from betafold_mlx.data.store import Dataset
from betafold_mlx.errors import BetafoldError
from betafold_mlx.executors import INLINE, Workers
from betafold_mlx.files import locked, os_errors, sweep_temporary, to_json, write_text
from betafold_mlx.model.config import EmbedderConfig

LOCK_FILE = ".lock"
_TOGETHER = 256  # sequences of a task

Embed = Callable[[Sequence[str]], list[np.ndarray]]
"""Sequences -> (L, E) float16 of each."""


class FilledCache(NamedTuple):
    """What `fill_cache` returns: the cache, whole, checked and open, and how many shards were made now."""

    cache: EmbeddingCache
    made: int


class FillReporter:
    """Is told how the work goes on; this one keeps it to itself."""

    def begin(self, sequences: int) -> None:
        """Start, with the number of sequences to embed."""

    def say(self, text: str) -> None:
        """Something out of the ordinary, in a line."""

    def advance(self, sequences: int) -> None:
        """Add to the number of embedded sequences."""


def fill_cache(
    directory: Path,
    dataset: Dataset,
    dataset_sha256: str,
    embedder: EmbedderConfig,
    load: Callable[[], Embed],
    windows: int | None = None,
    seed: int | None = None,
    shard_size: int = SHARD_SIZE,
    reporter: FillReporter | None = None,
    workers: Workers = INLINE,
) -> FilledCache:
    """Make what a cache lacks, and check the rest. One process at a time does it in a folder; others wait.

    `load` returns what embeds; it is called where something is missing only. `windows` and `seed` of the plan
    (`planned_sequences`) are by default those of the cache, or `DEFAULT_WINDOWS` and 0 for a new one.

    BetafoldError for a cache of another embedder, data set or plan, a folder that is something else, a full disk, or
    what `load` and what it returns raise. Shards that are whole stay.
    """
    reporter = reporter or FillReporter()
    _check_folder(directory)

    def existing() -> tuple[CacheIndex, list[str], dict[int, Shard], list[str]]:
        index = read_index(directory)
        check_index(directory, index, embedder, windows, seed)
        sequences = cached_sequences(directory, index, dataset, dataset_sha256)
        return index, sequences, *_whole_shards(directory, index, sequences)

    if (directory / INDEX_FILE).exists():
        index, planned, shards, _ = existing()
        if len(shards) == index.shards:  # needs no lock: the folder may be read-only
            return FilledCache(EmbeddingCache(directory, index, planned, list(shards.values())), 0)
    with _lock(directory, reporter):
        sweep_temporary(directory)
        if (directory / INDEX_FILE).exists():
            index, planned, shards, damage = existing()
            embed = load()
        else:
            windows, seed = DEFAULT_WINDOWS if windows is None else windows, seed or 0
            planned = planned_sequences(dataset, windows, seed)
            index = CacheIndex(
                embedder=embedder,
                dataset_sha256=dataset_sha256,
                windows=windows,
                seed=seed,
                plan_sha256=sequences_sha256(planned),
                sequences=len(planned),
                residues=sum(map(len, planned)),
                shard_size=shard_size,
            )
            embed = load()  # an embedder that cannot be loaded makes no cache
            write_text(directory / INDEX_FILE, to_json(index_document(index)))
            shards, damage = _whole_shards(directory, index, planned)
        for text in damage:
            reporter.say(f"{text}: it is made again")
        missing = [number for number in range(index.shards) if number not in shards]
        parts = {number: index.part(number, planned) for number in missing}
        reporter.begin(sum(map(len, parts.values())))

        tasks = ([part[place] for place in places] for part in parts.values() for places in _together(part))
        embedded = workers.results(embed, tasks)
        for number, part in parts.items():
            embeddings: dict[int, np.ndarray] = {}
            for places in _together(part):
                embeddings.update(zip(places, next(embedded), strict=True))
                reporter.advance(len(places))
            assert index.embedder.sha256 is not None  # CacheIndex sees to it
            ordered = [embeddings[place] for place in range(len(part))]
            write_shard(shard_path(directory, number), part, ordered, index.embedder.sha256)
            shards[number] = index.open_shard(directory, number, planned)
    opened = [shards[number] for number in range(index.shards)]
    return FilledCache(EmbeddingCache(directory, index, planned, opened), len(missing))


def _together(sequences: Sequence[str]) -> Iterator[list[int]]:
    """Yield the places of sequences that are embedded in one task: of similar lengths, for little padding."""
    order = sorted(range(len(sequences)), key=lambda place: len(sequences[place]))
    for first in range(0, len(order), _TOGETHER):
        yield order[first : first + _TOGETHER]


def _whole_shards(
    directory: Path, index: CacheIndex, planned: list[str]
) -> tuple[dict[int, Shard], list[str]]:
    """Return the shards that are whole, and what is wrong with those that are there and are not."""
    shards, damage = {}, []
    for number in range(index.shards):
        try:
            shards[number] = index.open_shard(directory, number, planned)
        except BetafoldError as error:
            if shard_path(directory, number).exists():
                damage.append(str(error))
    return shards, damage


@contextlib.contextmanager
def _lock(directory: Path, reporter: FillReporter) -> Iterator[None]:
    """Hold the lock of a folder, after a wait where another process has it."""
    busy = f"another process fills {directory}"
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(directory / LOCK_FILE, busy))
        except BetafoldError as error:
            if str(error) != busy:
                raise
            reporter.say(f"{busy}: waiting for it")
            stack.enter_context(locked(directory / LOCK_FILE, busy, timeout=-1))
        yield


def _check_folder(directory: Path) -> None:
    """Refuse a folder of something else, before anything is written into it."""
    with os_errors(f"cannot read {directory}"):
        names = sorted(entry.name for entry in directory.iterdir()) if directory.exists() else []
    others = [name for name in names if not name.startswith((".", "shard-"))]
    if others and INDEX_FILE not in names:
        raise BetafoldError(
            f"{directory} is not a cache of embeddings, and {others[0]} is in it: choose another folder"
        )
