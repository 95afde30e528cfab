"""Numpy arrays in one safetensors file, read with every length checked.

The format: 8 bytes little-endian length of the header; the header, a JSON object that names each tensor's
type, shape and byte range; the bytes. Written here so that equal arrays give equal files, and so that a damaged
file is an error message and not a lazy load that fails later.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import atomic_path

_TYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
    "BOOL": np.dtype("?"),
}
_MAX_HEADER = 1 << 20


class Header(NamedTuple):
    """What stands before the bytes of a safetensors file.

    Attributes
    ----------
    entries : dict
        Name of each tensor -> its ``dtype``, ``shape`` and ``data_offsets``.
    metadata : dict of str to str
        What the writer noted.
    start : int
        Where the bytes begin in the file: the offsets count from here.
    """

    entries: dict[str, dict[str, Any]]
    metadata: dict[str, str]
    start: int


def write_arrays(
    path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """Write float32, float16, int64 and boolean arrays to a safetensors file, atomically.

    Parameters
    ----------
    path : Path
        The file.
    arrays : mapping of str to numpy.ndarray
        By name.
    metadata : mapping of str to str, optional
        Notes for the header.

    Raises
    ------
    BetafoldError
        Where the file system refuses.
    """
    names = {dtype: name for name, dtype in _TYPES.items()}
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, array in arrays.items():
        begin, end = end, end + array.nbytes
        header[name] = {"dtype": names[array.dtype], "shape": array.shape, "data_offsets": (begin, end)}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors start at a multiple of 8 bytes
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            file.write(np.ascontiguousarray(array).data)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read a safetensors file of arrays of the types that `write_arrays` writes.

    Raises
    ------
    BetafoldError
        Missing, unreadable, truncated, or not such a file.
    """
    try:
        with path.open("rb") as file:
            header = read_header(file)
            body = memoryview(file.read())
        return {name: _array(entry, body) for name, entry in header.entries.items()}
    except OSError as error:
        raise BetafoldError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise BetafoldError(f"{path} is not a whole file of arrays (truncated or another format)") from error


def read_header(file: IO[bytes]) -> Header:
    """Read the header of a safetensors file, and check it against the size of the file.

    Parameters
    ----------
    file : binary file
        Open at its start; left at the first byte after the header.

    Raises
    ------
    ValueError
        Truncated, longer than its header says, of types that are not ours, or not safetensors.
    """
    length = file.seek(0, 2)
    file.seek(0)
    size = int.from_bytes(file.read(8), "little")
    if not 2 <= size <= min(_MAX_HEADER, length - 8):
        raise ValueError("header size")
    try:
        document = json.loads(file.read(size))
        metadata = document.pop("__metadata__", {})
        for entry in document.values():
            _check(entry)
        end = max((entry["data_offsets"][1] for entry in document.values()), default=0)
    except (KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise ValueError("header") from error
    if end != length - 8 - size or not isinstance(metadata, dict):
        raise ValueError("file size")
    return Header(document, metadata, 8 + size)


def _check(entry: dict[str, Any]) -> None:
    shape, (begin, end) = entry["shape"], entry["data_offsets"]
    if not all(type(number) is int and number >= 0 for number in (*shape, begin, end)):
        raise ValueError("not sizes")
    if end - begin != math.prod(shape) * _TYPES[entry["dtype"]].itemsize:
        raise ValueError("byte range")


def _array(entry: dict[str, Any], body: memoryview) -> np.ndarray:
    begin, end = entry["data_offsets"]
    return np.frombuffer(body[begin:end], dtype=_TYPES[entry["dtype"]]).reshape(entry["shape"])
