"""One process at a time writes a library into a folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from betafold_mlx.errors import BetafoldError


@contextlib.contextmanager
def folder_lock(directory: Path) -> Iterator[None]:
    """Hold the lock of a folder: no file is needed for it, and it ends with the process, however that ends.

    On file systems that cannot lock a folder (some network ones) there is no lock, and the work goes on.

    Raises
    ------
    BetafoldError
        Another process holds it.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise BetafoldError(
                    f"another fold writes into {directory}: wait for it, or choose another folder (-o)"
                ) from error
        yield
    finally:
        os.close(descriptor)
