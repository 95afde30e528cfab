"""Making a cache of embeddings: shard by shard, by any number of processes, through kills and damage.

Whoever holds the lock of a shard makes it; locks end with their process. A shard appears whole under its name, so
there are three states: whole, damaged (made again, alone), or not there yet.

Ranks divide what is missing among them beforehand, and then hand round what some lack: on a common disk nothing, on
disks of their own what the others made. All have the same whole cache in the end.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from betafold_mlx.data.cache import (
    INDEX_FILE,
    SHARD_SIZE,
    CacheIndex,
    EmbeddingCache,
    check_index,
    index_document,
    planned,
    read_index,
    shard_path,
)
from betafold_mlx.data.locks import ByteLocks
from betafold_mlx.data.plan import Plan, make_plan
from betafold_mlx.data.sampling import DEFAULT_WINDOWS
from betafold_mlx.data.shards import Shard, write_shard
from betafold_mlx.data.store import Dataset
from betafold_mlx.distributed.ranks import ALONE, Ranks
from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import atomic_path, to_json, write_text
from betafold_mlx.model.config import EmbedderConfig

LOCK_FILE = ".lock"
_INDEX_LOCK, _FIRST_SHARD_LOCK = 0, 1  # bytes of the lock file
_TOGETHER = 256  # sequences between two reports of progress

Embed = Callable[[Sequence[str]], list[np.ndarray]]
"""Sequences -> (L, E) float16 of each."""


class Filled(NamedTuple):
    """What `fill_cache` did.

    Attributes
    ----------
    cache : EmbeddingCache
        Whole, checked, open.
    made : int
        Shards that were made here, or by any of the ranks; the others were there, or another process made them.
    """

    cache: EmbeddingCache
    made: int


class Reporter:
    """Is told how the work goes on; this one keeps it to itself."""

    def begin(self, sequences: int) -> None:
        """So many sequences there will be."""

    def say(self, text: str) -> None:
        """Something out of the ordinary, in a line."""

    def advance(self, sequences: int, embedded: bool) -> None:
        """So many more sequences are there, because they were embedded now, or already before."""


def fill_cache(
    directory: Path,
    dataset: Dataset,
    dataset_sha256: str,
    embedder: EmbedderConfig,
    load: Callable[[], Embed],
    windows: int | None = None,
    seed: int | None = None,
    shard_size: int = SHARD_SIZE,
    reporter: Reporter | None = None,
    ranks: Ranks = ALONE,
) -> Filled:
    """Make what a cache lacks, and check the rest.

    Parameters
    ----------
    directory : Path
        The cache; it is made where it does not exist.
    dataset : Dataset
        What to embed (see `betafold_mlx.data.plan.make_plan`).
    dataset_sha256 : str
        Its fingerprint.
    embedder : EmbedderConfig
        Who embeds.
    load : callable
        Returns what embeds. It is called where something is missing only.
    windows, seed : int, optional
        Of the plan; by default those of the cache, or `DEFAULT_WINDOWS` and 0 for a new one.
    shard_size : int
        Sequences a shard of a new cache.
    reporter : Reporter, optional
        Is told of the progress, of several ranks of that of its own share.
    ranks : Ranks
        Who share the work.

    Returns
    -------
    Filled

    Raises
    ------
    BetafoldError
        A cache of another embedder, data set or plan, a folder that is something else, a full disk, ranks that do not
        make the same cache, or what `load` and what it returns raise. Shards that are whole stay.
    """
    reporter = reporter or Reporter()
    load = functools.cache(load)
    _check_folder(directory)
    with ByteLocks(directory / LOCK_FILE) as locks:
        with locks.waiting(_INDEX_LOCK, lambda: None):
            _sweep(directory, INDEX_FILE, locks)
            if (directory / INDEX_FILE).exists():
                index = read_index(directory)
                check_index(directory, index, embedder, windows, seed)
                plan = planned(directory, index, dataset, dataset_sha256)
            else:
                plan = make_plan(dataset, DEFAULT_WINDOWS if windows is None else windows, seed or 0)
                index = _new_index(plan, embedder, dataset_sha256, shard_size)
                load()  # an embedder that cannot be loaded makes no cache
                write_text(directory / INDEX_FILE, to_json(index_document(index)))
        ranks.same("a cache with", index_document(index))
        filler = _Filler(directory, index, plan, load, locks, reporter)
        if ranks.size > 1:
            filler.share(ranks)
        else:
            reporter.begin(index.sequences)
        shards = filler.run()
    return Filled(EmbeddingCache(directory, index, plan, shards), sum(ranks.gather(filler.made)))


def _check_folder(directory: Path) -> None:
    """Refuse a folder of something else, before anything is written into it."""
    try:
        names = sorted(entry.name for entry in directory.iterdir()) if directory.exists() else []
    except OSError as error:
        raise BetafoldError(f"cannot read {directory}: {error.strerror or error}") from error
    if INDEX_FILE in names:
        read_index(directory)
        return
    others = [name for name in names if not name.startswith((".", "shard-"))]
    if others:
        raise BetafoldError(
            f"{directory} is no cache of embeddings, and {others[0]} is in it: choose another folder"
        )


def _new_index(plan: Plan, embedder: EmbedderConfig, dataset_sha256: str, shard_size: int) -> CacheIndex:
    return CacheIndex(
        embedder=embedder,
        dataset_sha256=dataset_sha256,
        windows=plan.windows,
        seed=plan.seed,
        plan_sha256=plan.sha256,
        sequences=len(plan.sequences),
        residues=sum(map(len, plan.sequences)),
        shard_size=shard_size,
    )


def _sweep(directory: Path, name: str, locks: ByteLocks) -> None:
    """Delete what a killed process left of a file whose lock is held."""
    if locks.work:
        path = Path(name)
        for temporary in directory.glob(
            f".{path.stem}.*-????????{path.suffix}"
        ):  # as `atomic_path` names them
            temporary.unlink(missing_ok=True)


class _Filler:
    """The shards of one cache, as one process goes over them."""

    def __init__(
        self,
        directory: Path,
        index: CacheIndex,
        plan: Plan,
        load: Callable[[], Embed],
        locks: ByteLocks,
        reporter: Reporter,
    ) -> None:
        self.directory, self.index, self.plan = directory, index, plan
        self.load, self.locks, self.reporter = load, locks, reporter
        self.made = 0
        assert index.embedder.sha256 is not None  # CacheIndex sees to it
        self._sha256 = index.embedder.sha256

    def run(self) -> list[Shard]:
        """Return all shards, having made those that were missing."""
        shards: dict[int, Shard] = {}
        busy = []
        for number in range(self.index.shards):
            with self.locks.at_once(_FIRST_SHARD_LOCK + number) as mine:
                if mine:
                    shards[number] = self._whole(number)
                else:
                    busy.append(number)
        for number in busy:  # by now most of them are done; one whose maker was killed is made here
            say = functools.partial(
                self.reporter.say, f"waiting for another process, which makes file {number}"
            )
            with self.locks.waiting(_FIRST_SHARD_LOCK + number, say):
                shards[number] = self._whole(number)
        return [shards[number] for number in range(self.index.shards)]

    def share(self, ranks: Ranks) -> None:
        """Make this rank's share of the shards that no rank has, and get those that it lacks."""
        there = set().union(*ranks.gather(self._there()))
        missing = [number for number in range(self.index.shards) if number not in there]
        mine = missing[ranks.share()]
        self.reporter.begin(sum(len(self.index.part(number, self.plan)) for number in mine))
        for number in mine:
            with self.locks.waiting(_FIRST_SHARD_LOCK + number, lambda: None):
                self._whole(number)
        self.reporter = Reporter()  # what follows is quick
        ranks.barrier()
        holders = ranks.gather(self._there())
        for number in range(self.index.shards):
            has = [number in numbers for numbers in holders]
            if any(has) and not all(has):
                path, root = shard_path(self.directory, number), has.index(True)
                data = ranks.broadcast_bytes(path.read_bytes() if root == ranks.rank else None, root)
                if not has[ranks.rank]:
                    with atomic_path(path) as temporary:
                        temporary.write_bytes(data)

    def _there(self) -> list[int]:
        """Return the numbers of the shards that are whole here."""
        found = []
        for number in range(self.index.shards):
            with contextlib.suppress(BetafoldError):
                self.index.open_shard(self.directory, number, self.plan)
                found.append(number)
        return found

    def _whole(self, number: int) -> Shard:
        """Return a shard whose lock is held, made where it is not whole."""
        path = shard_path(self.directory, number)
        _sweep(self.directory, path.name, self.locks)
        sequences = self.index.part(number, self.plan)
        if path.exists():
            try:
                shard = self.index.open_shard(self.directory, number, self.plan)
                self.reporter.advance(len(sequences), embedded=False)
                return shard
            except BetafoldError as error:
                self.reporter.say(f"{error}: it is made again")
        write_shard(path, sequences, self._embedded(sequences), self._sha256)
        self.made += 1
        return self.index.open_shard(self.directory, number, self.plan)

    def _embedded(self, sequences: Sequence[str]) -> list[np.ndarray]:
        embed = self.load()
        embeddings: dict[int, np.ndarray] = {}
        order = sorted(range(len(sequences)), key=lambda index: len(sequences[index]))  # little padding
        for first in range(0, len(order), _TOGETHER):
            members = order[first : first + _TOGETHER]
            made = embed([sequences[index] for index in members])
            embeddings.update(zip(members, made, strict=True))
            self.reporter.advance(len(members), embedded=True)
        return [embeddings[index] for index in range(len(sequences))]
