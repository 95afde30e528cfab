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

import numpy as np

from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import atomic_path

_TYPES = {"F32": np.dtype("<f4"), "BOOL": np.dtype("?")}
_MAX_HEADER = 1 << 20


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write float32 and boolean arrays to a safetensors file, atomically.

    Raises
    ------
    BetafoldError
        Where the file system refuses.
    """
    names = {dtype: name for name, dtype in _TYPES.items()}
    header: dict[str, object] = {}
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
    """Read a safetensors file of float32 and boolean arrays.

    Raises
    ------
    BetafoldError
        Missing, unreadable, truncated, or not such a file.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BetafoldError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        size = int.from_bytes(content[:8], "little")
        if not 2 <= size <= min(_MAX_HEADER, len(content) - 8):
            raise ValueError("header size")
        header = json.loads(content[8 : 8 + size])
        header.pop("__metadata__", None)
        body = memoryview(content)[8 + size :]
        arrays = {name: _array(entry, body) for name, entry in header.items()}
        if max((entry["data_offsets"][1] for entry in header.values()), default=0) != len(body):
            raise ValueError("file size")
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise BetafoldError(f"{path} is not a whole file of arrays (truncated or another format)") from error
    return arrays


def _array(entry: dict, body: memoryview) -> np.ndarray:
    dtype, shape, (begin, end) = _TYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
    if not all(type(number) is int and number >= 0 for number in (*shape, begin, end)):
        raise ValueError("not sizes")
    if end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError("byte range")
    return np.frombuffer(body[begin:end], dtype=dtype).reshape(shape)  # ValueError past the end of the file
