"""One file of a cache of embeddings.

It is a safetensors file with ``features``, the (residues, E) float16 embeddings of its sequences one behind the other,
and ``offsets``, where each begins and the last ends. Its header says which embedder made it, of which sequences, and
what the checksum of the two arrays is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from betafold_mlx.data.arrays import read_header, write_arrays
from betafold_mlx.data.plan import sequences_sha256
from betafold_mlx.errors import BetafoldError

_CHUNK = 1 << 20


def write_shard(
    path: Path, sequences: Sequence[str], embeddings: Sequence[np.ndarray], embedder_sha256: str
) -> None:
    """Write a shard, whole or not at all.

    Parameters
    ----------
    path : Path
        The file.
    sequences : sequence of str
        What was embedded.
    embeddings : sequence of numpy.ndarray
        (L, E) float16 of each.
    embedder_sha256 : str
        The embedder.

    Raises
    ------
    BetafoldError
        Where the file system refuses.
    """
    offsets = np.cumsum([0, *(len(embedding) for embedding in embeddings)], dtype=np.int64)
    arrays = {"offsets": offsets, "features": np.concatenate(embeddings)}
    digest = hashlib.sha256()
    for array in arrays.values():
        digest.update(array.data)
    metadata = {
        "format": "betafold-embeddings",
        "embedder_sha256": embedder_sha256,
        "sequences_sha256": sequences_sha256(sequences),
        "data_sha256": digest.hexdigest(),
    }
    write_arrays(path, arrays, metadata)


class Shard:
    """A checked shard, whose rows are read from the disk when they are asked for.

    Parameters
    ----------
    path : Path
        The file.
    sequences : sequence of str
        What it must hold the embeddings of.
    width : int
        Of an embedding.
    embedder_sha256 : str
        Who must have made them.

    Raises
    ------
    BetafoldError
        Missing, truncated, changed since it was written, or of another embedder or other sequences. All bytes are read.
    """

    def __init__(self, path: Path, sequences: Sequence[str], width: int, embedder_sha256: str) -> None:
        self.path = path
        self.width = width
        self._ends = np.cumsum([0, *map(len, sequences)], dtype=np.int64)
        residues = int(self._ends[-1])
        try:
            with path.open("rb") as file:
                header = read_header(file)
                digest = hashlib.sha256()
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
        except FileNotFoundError as error:
            raise BetafoldError(f"{path} is not there") from error
        except OSError as error:
            raise BetafoldError(f"cannot read {path}: {error.strerror or error}") from error
        except ValueError as error:
            raise BetafoldError(f"{path} is not a whole shard of embeddings") from error
        noted = header.metadata
        if noted.get("embedder_sha256") != embedder_sha256:
            raise BetafoldError(f"{path} holds the embeddings of another embedder")
        if noted.get("sequences_sha256") != sequences_sha256(sequences):
            raise BetafoldError(f"{path} holds the embeddings of other sequences")
        shapes = {name: (entry["dtype"], entry["shape"]) for name, entry in header.entries.items()}
        if shapes != {"offsets": ("I64", [len(self._ends)]), "features": ("F16", [residues, width])}:
            raise BetafoldError(f"{path} does not hold the arrays that it should")
        if noted.get("data_sha256") != digest.hexdigest():
            raise BetafoldError(
                f"{path} is damaged: its bytes do not have the checksum that its header notes"
            )
        self._start = header.start + header.entries["features"]["data_offsets"][0]

    def read(self, rows: Sequence[int]) -> list[np.ndarray]:
        """Return embeddings.

        Parameters
        ----------
        rows : sequence of int
            Numbers of the sequences.

        Returns
        -------
        list of numpy.ndarray
            (L, E) float16 of each.

        Raises
        ------
        BetafoldError
            The file went away or got shorter since it was checked.
        """
        embeddings = []
        try:
            with self.path.open("rb", buffering=0) as file:
                for row in rows:
                    begin, end = self._ends[row : row + 2].tolist()
                    size = 2 * self.width * (end - begin)
                    file.seek(self._start + 2 * self.width * begin)
                    data = file.read(size)
                    if len(data) != size:
                        raise BetafoldError(f"{self.path} got shorter while it was in use")
                    embeddings.append(np.frombuffer(data, dtype="<f2").reshape(-1, self.width))
        except OSError as error:
            raise BetafoldError(f"cannot read {self.path}: {error.strerror or error}") from error
        return embeddings
