"""A stand-in for a frozen embedder, and small caches of what it makes."""

import zlib

import numpy as np

from betafold_mlx.data.fill import fill_cache
from betafold_mlx.model.config import EmbedderConfig
from betafold_mlx.peptide.sequence import residue_ids

WIDTH = 4
EMBEDDER = EmbedderConfig("esm2", WIDTH, "toy", "e" * 64, "toy (toy, NOT the published ESM-2 weights)", False)
FINGERPRINT = "d" * 64


def toy_embedding(sequence):
    """(L, 4) float16: the residue, its place, the length, and a number of the whole sequence."""
    length = len(sequence)
    columns = [
        residue_ids(sequence),
        np.arange(length),
        np.full(length, length),
        np.full(length, zlib.crc32(sequence.encode()) % 2048),
    ]
    return np.stack(columns, axis=1).astype(np.float16)


def toy_embed(sequences):
    return [toy_embedding(sequence) for sequence in sequences]


def fill_toy(directory, dataset, embed=toy_embed, **arguments):
    """Fill a cache of many small shards."""
    arguments = {"windows": 100, "seed": 0, "shard_size": 16} | arguments
    return fill_cache(directory, dataset, FINGERPRINT, EMBEDDER, lambda: embed, **arguments)


def contents(directory):
    """What is in a cache, by file; the lock file has nothing to tell."""
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir()) if path.name != ".lock"}


def times(directory):
    return {path.name: path.stat().st_mtime_ns for path in directory.glob("shard-*")}
