"""The three standard streams as the commands need them, whatever the caller did to them."""

from __future__ import annotations

import io
import os
import sys
from typing import BinaryIO, TextIO

from betafold_mlx.errors import BetafoldError


class _Results(io.TextIOWrapper):
    """Standard output: that results cannot be written is an error of one line."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            raise self._failure(error) from error

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> Exception:
        discard(1)
        if isinstance(error, BrokenPipeError):  # the reader has enough (`| head`): nothing to complain of
            return error
        return BetafoldError(f"cannot write to standard output: {error.strerror or error}")


class _Messages(io.TextIOWrapper):
    """Standard error: that nobody can read a message stops no work."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError:
            discard(2)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError:
            discard(2)


def discard(descriptor: int) -> None:
    """Send what is still buffered for a stream, and all that follows, nowhere: Python flushes once more at its end."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)


def prepare_streams() -> None:
    """Make the standard streams safe to use.

    A stream that the caller closed becomes the null device; otherwise the next file to be opened would take its
    place. Text is UTF-8 in every locale (JSON is nothing else); odd bytes of a file name come out as they are.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free descriptor: this one
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - for the whole process
    if sys.stdout is sys.__stdout__:  # else a test or a host program took its place
        sys.stdout = _Results(_binary(sys.stdout, 1), encoding="utf-8", errors="surrogateescape")
    if sys.stderr is sys.__stderr__:
        binary = _binary(sys.stderr, 2)
        sys.stderr = _Messages(binary, encoding="utf-8", errors="backslashreplace", line_buffering=True)


def _binary(stream: TextIO | None, descriptor: int) -> BinaryIO:
    return open(descriptor, "wb", closefd=False) if stream is None else stream.buffer
