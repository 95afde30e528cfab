"""One file of a cache of embeddings.

It is a safetensors file with ``features``, the (residues, E) float16 embeddings of its sequences, concatenated,
and ``offsets``, where each begins and the last ends. Its header says which embedder made it, of which sequences, and
what the checksum of the two arrays is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from betafold_mlx.data.plan import sequences_sha256
from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import atomic_path

_NOTES = "betafold-embeddings"  # one entry of the header: safetensors puts several in any order


def write_shard(
    path: Path, sequences: Sequence[str], embeddings: Sequence[np.ndarray], embedder_sha256: str
) -> None:
    """Write a shard, whole or not at all: of each sequence its embedding (L, E), float16."""
    offsets = np.cumsum([0, *(len(embedding) for embedding in embeddings)], dtype=np.int64)
    arrays = {"offsets": offsets, "features": np.concatenate(embeddings)}
    notes = {
        "embedder_sha256": embedder_sha256,
        "sequences_sha256": sequences_sha256(sequences),
        "data_sha256": _data_sha256(arrays),
    }
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(arrays, {_NOTES: json.dumps(notes)}))


def _data_sha256(arrays: dict[str, np.ndarray]) -> str:
    return hashlib.sha256(arrays["offsets"].tobytes() + arrays["features"].tobytes()).hexdigest()


class Shard:
    """A checked shard, whose rows are read from the disk when they are asked for.

    BetafoldError where it is missing, truncated, changed since it was written, or of another embedder or other
    sequences. All bytes are read.
    """

    def __init__(self, path: Path, sequences: Sequence[str], width: int, embedder_sha256: str) -> None:
        self.path = path
        self._ends = np.cumsum([0, *map(len, sequences)], dtype=np.int64)
        try:
            with safe_open(path, framework="numpy") as file:
                notes = json.loads(file.metadata()[_NOTES])
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            found = _data_sha256(arrays)
        except FileNotFoundError as error:
            raise BetafoldError(f"{path} is not there") from error
        except OSError as error:
            raise BetafoldError(f"cannot read {path}: {error.strerror or error}") from error
        except (SafetensorError, LookupError, TypeError, ValueError) as error:
            raise BetafoldError(f"{path} is not a whole shard of embeddings") from error
        if notes.get("embedder_sha256") != embedder_sha256:
            raise BetafoldError(f"{path} holds the embeddings of another embedder")
        if notes.get("sequences_sha256") != sequences_sha256(sequences):
            raise BetafoldError(f"{path} holds the embeddings of other sequences")
        features = arrays["features"]
        if features.shape != (self._ends[-1], width) or features.dtype != np.float16:
            raise BetafoldError(f"{path} does not hold the arrays that it should")
        if notes.get("data_sha256") != found:
            raise BetafoldError(
                f"{path} is damaged: its arrays do not have the checksum that its header notes"
            )

    def read(self, rows: Sequence[int]) -> list[np.ndarray]:
        """Return the embeddings (L, E), float16, of the sequences with these numbers.

        BetafoldError where the file went away or changed since it was checked.
        """
        try:
            with safe_open(self.path, framework="numpy") as file:
                features = file.get_slice("features")
                return [
                    features[begin:end] for begin, end in (self._ends[row : row + 2].tolist() for row in rows)
                ]
        except (OSError, SafetensorError, LookupError) as error:
            raise BetafoldError(f"{self.path} changed while it was in use: {error}") from error
