"""Locks that end with their process, however it ends."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from betafold_mlx.errors import BetafoldError


class ByteLocks:
    """Locks between processes, each a byte of one file: many locks, no litter.

    Parameters
    ----------
    path : Path
        The file. It is made with its folder where it does not exist, and stays.

    Attributes
    ----------
    work : bool
        False in a folder that is read-only, and on a file system without locks: then every lock is had at once.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.work = True
        self._file = -1

    def __enter__(self) -> ByteLocks:
        """Open the file.

        Raises
        ------
        BetafoldError
            Where the file system refuses, but for a folder that is read-only.
        """
        folder = self.path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM) or not folder.is_dir():
                raise BetafoldError(f"cannot write {folder}: {error.strerror or error}") from error
            self.work = False
        return self

    def __exit__(self, *_: object) -> None:
        if self._file >= 0:
            os.close(self._file)  # which gives all locks back

    @contextlib.contextmanager
    def at_once(self, byte: int) -> Iterator[bool]:
        """Try for a lock without waiting: yield whether it is held."""
        if self.work:
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
            except OSError as error:
                if error.errno in (errno.EACCES, errno.EAGAIN):
                    yield False
                    return
                self.work = False
        try:
            yield True
        finally:
            self._release(byte)

    @contextlib.contextmanager
    def waiting(self, byte: int, say: Callable[[], None]) -> Iterator[None]:
        """Hold a lock, after a wait where another process has it; `say` is called before the wait."""
        with self.at_once(byte) as mine:
            if mine:
                yield
                return
        say()
        fcntl.lockf(self._file, fcntl.LOCK_EX, 1, byte)
        try:
            yield
        finally:
            self._release(byte)

    def _release(self, byte: int) -> None:
        if self.work:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, byte)
