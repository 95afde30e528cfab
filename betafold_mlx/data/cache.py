"""A folder of embeddings: made once by a frozen embedder, read at every training step.

``CACHE/index.json``                    embedder, data set, plan
``CACHE/shard-00000.safetensors`` ...   the embeddings, a fixed number of sequences a file (see `shards`)

It does not hold the sequences: they follow from the data set and the numbers in the index (see `plan`).
"""

from __future__ import annotations

import copy
import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from betafold_mlx.data.plan import planned_sequences, sequences_sha256
from betafold_mlx.data.shards import Shard
from betafold_mlx.data.store import Dataset
from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import read_json
from betafold_mlx.model.config import EmbedderConfig
from betafold_mlx.model.inputs import pad_features

FORMAT, SCHEMA_VERSION = "betafold-embeddings", 1
INDEX_FILE = "index.json"
SHARD_SIZE = 2048
"""Sequences a shard: 26 MB of ESM2-8M, the most that a kill can cost."""


@dataclass(frozen=True)
class CacheIndex:
    """What a cache is of."""

    embedder: EmbedderConfig
    dataset_sha256: str  # SHA-256 of the data set
    windows: int  # with the seed, of the plan (`betafold_mlx.data.plan.planned_sequences`)
    seed: int
    plan_sha256: str  # of the plan's sequences
    sequences: int  # how many there are to embed
    residues: int
    shard_size: int = SHARD_SIZE  # sequences a shard

    def __post_init__(self) -> None:
        numbers = (self.windows, self.sequences, self.residues, self.shard_size, self.embedder.width)
        texts = (self.dataset_sha256, self.plan_sha256, self.embedder.sha256)
        if not all(type(number) is int and number > 0 for number in numbers):
            raise ValueError("a number is none")
        if type(self.seed) is not int or self.seed < 0 or not all(isinstance(text, str) for text in texts):
            raise ValueError("a field of the wrong type")

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.sequences // self.shard_size)

    def part(self, number: int, sequences: list[str]) -> list[str]:
        """Return those of all sequences that are in a shard."""
        return sequences[number * self.shard_size : (number + 1) * self.shard_size]

    def open_shard(self, directory: Path, number: int, sequences: list[str]) -> Shard:
        """Open and check a shard; raises BetafoldError as `Shard` does."""
        assert self.embedder.width is not None and self.embedder.sha256 is not None  # checked above
        part = self.part(number, sequences)
        return Shard(shard_path(directory, number), part, self.embedder.width, self.embedder.sha256)


def shard_path(directory: Path, number: int) -> Path:
    """Return the file of a shard."""
    return directory / f"shard-{number:05}.safetensors"


def read_index(directory: Path) -> CacheIndex:
    """Read the index of a cache; BetafoldError where there is no cache, one of another version, or a damaged index."""
    path = directory / INDEX_FILE
    if not path.is_file():
        raise BetafoldError(
            f"there is no cache of embeddings at {directory}: make one with `betafold-mlx embed`"
        )
    try:
        document = read_json(path)
        if document.pop("format") != FORMAT:
            raise ValueError("another format")
        version = document.pop("schema_version")
        if version == SCHEMA_VERSION:
            count = document.pop("shards")
            index = CacheIndex(embedder=EmbedderConfig(**document.pop("embedder")), **document)
            if count != index.shards:
                raise ValueError("the number of shards")
            return index
    except (ValueError, KeyError, TypeError, AttributeError, BetafoldError) as error:
        raise BetafoldError(
            f"{path} is not a whole index of embeddings: delete it and embed again (the shards that fit are kept)"
        ) from error
    raise BetafoldError(
        f"{directory} has schema {version!r:.40}, this version reads {SCHEMA_VERSION}: embed into another folder"
    )


def index_document(index: CacheIndex) -> dict[str, Any]:
    """Return an index as plain JSON values."""
    return {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        **dataclasses.asdict(index),
        "shards": index.shards,
    }


class EmbeddingCache:
    """Embeddings on disk as the features of training batches: the embedder itself is needed no more.

    Of each batch its own rows are read, so the memory does not grow with the cache. `shards` are all of them, checked.
    """

    def __init__(
        self, directory: Path, index: CacheIndex, sequences: list[str], shards: Sequence[Shard]
    ) -> None:
        self.directory = directory
        self.index = index
        self.shards = shards
        self._places = {
            sequence: (shards[place // index.shard_size], place % index.shard_size)
            for place, sequence in enumerate(sequences)
        }

    def beside(self, other: EmbeddingCache) -> EmbeddingCache:
        """Return the features of this and of another data set, made by the same embedder."""
        both = copy.copy(self)
        both._places = other._places | self._places
        return both

    @property
    def bytes(self) -> int:
        """Size of the shards on disk."""
        return sum(shard.path.stat().st_size for shard in self.shards)

    def __call__(self, sequences: Sequence[str], padded: int) -> mx.array:
        """Return the features (B, L, E), float32, of B sequences; zero at the padding up to L.

        BetafoldError for a sequence that was not embedded, or a shard that cannot be read any more.
        """
        wanted: dict[Shard, list[tuple[int, int]]] = defaultdict(list)  # shard -> rows of it and of the batch
        for place, sequence in enumerate(sequences):
            if sequence not in self._places:
                raise BetafoldError(f"the cache {self.directory} holds no embedding of {sequence:.60}")
            shard, row = self._places[sequence]
            wanted[shard].append((row, place))
        embeddings: list[np.ndarray] = [np.empty(0)] * len(sequences)
        for shard, rows in wanted.items():
            found = shard.read([row for row, _ in rows])
            for (_, place), embedding in zip(rows, found, strict=True):
                embeddings[place] = embedding
        return pad_features(embeddings, padded)


def check_index(
    directory: Path, index: CacheIndex, embedder: EmbedderConfig, windows: int | None, seed: int | None
) -> None:
    """Check that a cache was made by an embedder and, where that matters, with a plan; else BetafoldError."""
    advice = "choose another folder, or delete it"
    if index.embedder.sha256 != embedder.sha256:
        made_by = f"{index.embedder.describe()}, not by {embedder.describe()}"
        raise BetafoldError(f"the cache {directory} was made by {made_by}: {advice}")
    for name, wanted, found in (("windows", windows, index.windows), ("seed", seed, index.seed)):
        if wanted is not None and wanted != found:
            raise BetafoldError(
                f"the cache {directory} was planned with {name} {found}, not {wanted}: {advice}"
            )


def cached_sequences(directory: Path, index: CacheIndex, dataset: Dataset, dataset_sha256: str) -> list[str]:
    """Return the sequences of a cache, checked against the data set.

    BetafoldError where the cache is of another data set, or its plan can no longer be reproduced.
    """
    if index.dataset_sha256 != dataset_sha256:
        raise BetafoldError(
            f"the cache {directory} was made for another data set: choose another folder, or delete it"
        )
    sequences = planned_sequences(dataset, index.windows, index.seed)
    if sequences_sha256(sequences) != index.plan_sha256:
        raise BetafoldError(
            f"the cache {directory} was planned by another version of betafold-mlx or NumPy: delete it, and embed again"
        )
    return sequences
