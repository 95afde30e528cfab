"""Reads files, plain or gzipped; every failure is one clear line."""

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

    It is refused where it cannot be read, is a damaged gzip file or holds more than `MAX_BYTES`.
    """
    with open_binary(path) as handle:
        content = handle.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise BetafoldError(f"{path} holds more than {MAX_BYTES} bytes: too large to be read")
    return content


def read_lines(path: Path | None) -> Iterator[str]:
    """Yield the lines of a UTF-8 text file, or of standard input for None, decompressed where it is gzip.

    It is refused as by `read_bytes`, and where it is not text.
    """
    with open_binary(path) as handle:
        for number, line in enumerate(iter(lambda: handle.readline(MAX_BYTES + 1), b""), start=1):
            if len(line) > MAX_BYTES:
                raise BetafoldError(f"{path or '-'}: line {number} is too long to be read")
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                text = "\0"
            if "\0" in text:
                raise BetafoldError(f"{path or '-'} is not a text file (line {number})")
            yield text


@contextlib.contextmanager
def open_binary(path: Path | None) -> Iterator[BinaryIO]:
    """Open a file, or standard input for None, for reading its bytes, decompressed where it is gzip.

    An error while it is opened, or while the block reads, is a BetafoldError.
    """
    try:
        with open(0 if path is None else path, "rb", closefd=path is not None) as raw:
            zipped = raw.peek(2).startswith(GZIP_MAGIC)
            yield io.BufferedReader(gzip.GzipFile(fileobj=raw)) if zipped else raw
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BetafoldError(f"{path or '-'} is a truncated or damaged gzip file: fetch it again") from error
    except OSError as error:
        raise BetafoldError(f"cannot read {path or '-'}: {error.strerror or error}") from error
