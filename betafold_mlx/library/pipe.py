"""Messages between a process and one that it started: over pipes, in order, each whole or not at all."""

from __future__ import annotations

import contextlib
import struct
import threading
from typing import BinaryIO

from betafold_mlx.errors import BetafoldError

_HEADER = struct.Struct(">?Q")  # whether it is an error, and its length in bytes


class Pipe:
    """Both directions of one connection.

    Parameters
    ----------
    incoming, outgoing : BinaryIO
        The ends of two pipes.
    """

    def __init__(self, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        self._incoming, self._outgoing = incoming, outgoing
        self._sending = threading.Lock()

    def send(self, data: bytes, failed: bool = False) -> None:
        """Send bytes, or the text of an error.

        Raises
        ------
        BrokenPipeError
            Where the other process is gone.
        """
        with self._sending:
            self._outgoing.write(_HEADER.pack(failed, len(data)))
            self._outgoing.write(data)
            self._outgoing.flush()

    def receive(self) -> bytes:
        """Return what was sent next; wait for it.

        Raises
        ------
        BetafoldError
            What the other process sent as an error.
        EOFError
            Where it is gone.
        """
        failed, length = _HEADER.unpack(self._read(_HEADER.size))
        data = self._read(length)
        if failed:
            raise BetafoldError(data.decode())
        return data

    def close(self) -> None:
        """Close both ends; what could not be sent is dropped."""
        for end in (self._incoming, self._outgoing):
            with contextlib.suppress(OSError):
                end.close()

    def _read(self, size: int) -> bytes:
        data = self._incoming.read(size)
        if len(data) < size:
            raise EOFError("the other process is gone")
        return data
