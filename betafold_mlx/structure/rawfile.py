"""Bytes of plain and gzipped files, with every failure as one clear line."""

from __future__ import annotations

import contextlib
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from betafold_mlx.errors import BetafoldError

GZIP_MAGIC = b"\x1f\x8b"
MAX_BYTES = 2**30
"""Decompressed size of a structure file, or of one line of a text file, beyond which reading stops.

The largest mmCIF files of the wwPDB archive stay below it; a decompression bomb does not.
"""


def read_bytes(path: Path) -> bytes:
    """Return the contents of a file, decompressed where its first bytes are those of gzip.

    Raises
    ------
    BetafoldError
        Where the file cannot be read, is a damaged gzip file or holds more than `MAX_BYTES`.
    """
    with _opened(path) as handle:
        content = handle.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise BetafoldError(f"{path} holds more than {MAX_BYTES} bytes: too large to be read")
    return content


def read_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a UTF-8 text file one by one, decompressed where it is gzip.

    Raises
    ------
    BetafoldError
        As `read_bytes`, and where the file is not text.
    """
    with _opened(path) as handle:
        for number, line in enumerate(iter(lambda: handle.readline(MAX_BYTES + 1), b""), start=1):
            if len(line) > MAX_BYTES:
                raise BetafoldError(f"{path}: line {number} is too long to be read")
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                text = "\0"
            if "\0" in text:
                raise BetafoldError(f"{path} is not a text file (line {number})")
            yield text


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with Path(path).open("rb") as raw:
            zipped = raw.peek(2).startswith(GZIP_MAGIC)
            yield io.BufferedReader(gzip.GzipFile(fileobj=raw)) if zipped else raw
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BetafoldError(f"{path} is a truncated or damaged gzip file: fetch it again") from error
    except OSError as error:
        raise BetafoldError(f"cannot read {path}: {error.strerror or error}") from error
