"""A file that grows at its end, and can be cut back to what was there before."""

from __future__ import annotations

import os
from pathlib import Path

from betafold_mlx.errors import BetafoldError


class AppendedFile:
    """A file that grows at its end. It exists from the first bytes on.

    Attributes
    ----------
    length : int
        Bytes written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.length = 0
        self._descriptor = -1

    def restore(self, length: int) -> None:
        """Cut the file back to its first `length` bytes: what a killed process wrote after its last commit goes.

        Raises
        ------
        BetafoldError
            It is shorter than that, or the file system refuses.
        """
        try:
            if length == 0:
                self.path.unlink(missing_ok=True)
                return
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)
            if os.fstat(self._descriptor).st_size < length:
                raise BetafoldError(
                    f"{self.path} is not as the unfinished run left it: start that anew with --restart"
                )
            os.ftruncate(self._descriptor, length)
            self.length = length
        except FileNotFoundError as error:
            raise BetafoldError(
                f"{self.path} of the unfinished run is gone: start that anew with --restart"
            ) from error
        except OSError as error:
            raise self._refused(error) from error

    def append(self, text: str) -> None:
        """Write text at the end, as UTF-8.

        Raises
        ------
        BetafoldError
            Where the file system refuses.
        """
        data = memoryview(text.encode())
        if not data:
            return
        try:
            if self._descriptor < 0:
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_TRUNC
                self._descriptor = os.open(self.path, flags, 0o666)
            while data:
                written = os.write(self._descriptor, data)
                data = data[written:]
                self.length += written
        except OSError as error:
            raise self._refused(error) from error

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _refused(self, error: OSError) -> BetafoldError:
        return BetafoldError(f"cannot write {self.path}: {error.strerror or error}")
