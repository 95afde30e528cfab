"""Atomic writes of files and folders, lock files, JSON, checksums."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from betafold_mlx.errors import BetafoldError

_TEMPORARY = re.compile(r"\..+\.(?P<pid>[0-9]+)-[0-9a-f]{8}(\.\w+)?")
"""The names that `atomic_path` and `atomic_directory` make."""


@contextlib.contextmanager
def os_errors(doing: str) -> Iterator[None]:
    """Turn a failure of the file system in the block into one line: "cannot write x", say, and why."""
    try:
        yield
    except OSError as error:
        raise BetafoldError(f"{doing}: {error.strerror or error}") from error


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block ends well.

    It has the same suffix and is in the same folder, which is made where it does not exist. It is removed when the
    block raises. BetafoldError where the file system refuses (read-only, full, not a folder ...).
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem[:80]}.{os.getpid()}-{os.urandom(4).hex()}{path.suffix}")
    try:
        with os_errors(f"cannot write {path}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def sweep_temporary(directory: Path, beginning: str = ".") -> None:
    """Remove what killed processes left of `atomic_path` and `atomic_directory` in a folder; that of living ones stays.

    Only names with this beginning are removed. BetafoldError where the file system refuses.
    """
    with os_errors(f"cannot clear {directory}"):
        for path in list(Path(directory).iterdir()):
            if path.name.startswith(beginning) and is_left(path.name):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def is_left(name: str) -> bool:
    """Return whether a file or folder of this name was left by a killed process."""
    found = _TEMPORARY.fullmatch(name)
    if found is None:
        return False
    try:
        os.kill(int(found["pid"]), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:  # a process of somebody else
        pass
    return False


@contextlib.contextmanager
def locked(path: Path, busy: str, timeout: float = 0.0) -> Iterator[None]:
    """Hold a lock file for the length of the block. The lock ends with the process, however it ends.

    The folder is made where it does not exist. After a wait of so many seconds, without end where `timeout` is
    negative, BetafoldError says that another process is `busy` with the lock; or that the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path, timeout=timeout)
    try:
        lock.acquire()
    except Timeout as error:
        raise BetafoldError(busy) from error
    except OSError as error:
        raise BetafoldError(f"cannot write {path.parent}: {error.strerror or error}") from error
    try:
        yield
    finally:
        lock.release()


def read_json(path: Path) -> Any:
    """Parse a JSON file; BetafoldError where it is not there, not readable, or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except FileNotFoundError as error:
        raise BetafoldError(f"{path} is not there") from error
    except OSError as error:
        raise BetafoldError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise BetafoldError(f"{path} is not whole JSON") from error


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def check_output(path: Path, is_ours: Callable[[Path], bool], what: str, force: bool) -> None:
    """Check that a folder may be written, before the work that fills it.

    `is_ours` tells whether an existing folder is of the kind that will be written, `what` names that kind in words,
    "a data set", and `force` replaces such a one. BetafoldError where it holds something else, or something that only
    `force` replaces, or it cannot be written.
    """
    if not path.name:
        raise BetafoldError(f"cannot write {path}: name a new folder")
    with os_errors(f"cannot write {path}"):
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            if not is_ours(path):
                raise BetafoldError(f"{path} exists and is not {what}: choose another folder with -o")
            if not force:
                raise BetafoldError(
                    f"{path} exists: replace it with --force, or choose another folder with -o"
                )
        above = next(parent for parent in path.absolute().parents if parent.exists())
        if not above.is_dir() or not os.access(above, os.W_OK):
            raise BetafoldError(f"cannot write {path}: {above} is not a folder that may be written")


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path`, atomically (see `atomic_path`)."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal text."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def to_json(document: Any) -> str:
    """Return `document` as indented JSON with a closing newline; NaN is an error, not a token.

    What UTF-8 cannot hold, the odd byte of a file name, is escaped: it comes back from `json.loads` as it was.
    """
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


@contextlib.contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path` that takes its place when the block ends well.

    An older folder at `path` is replaced as a whole, so a reader sees the old one or the new one. When the block
    raises, the older folder is untouched and the temporary one removed; that of a killed process goes with the next
    call. BetafoldError where the file system refuses.
    """
    path = Path(path)
    with os_errors(f"cannot write {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep_temporary(path.parent, f".{path.name[:80]}.")
        temporary = path.with_name(f".{path.name[:80]}.{os.getpid()}-{os.urandom(4).hex()}")
        temporary.mkdir()
        try:
            yield temporary
            if path.exists():
                _exchange(temporary, path)
            else:
                temporary.replace(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _exchange(new: Path, path: Path) -> None:
    """Let two folders change places in one step, so that a kill finds one of them at `path`.

    Where the file system cannot, it takes two steps, and the older one comes back when the second fails.
    """
    libc, names = ctypes.CDLL(None), (os.fsencode(new), os.fsencode(path))
    if hasattr(libc, "renamex_np"):  # macOS; 2: RENAME_SWAP
        failed = libc.renamex_np(*names, 2)
    elif hasattr(libc, "renameat2"):  # Linux; -100: AT_FDCWD, 2: RENAME_EXCHANGE
        failed = libc.renameat2(-100, names[0], -100, names[1], 2)
    else:
        failed = True
    if failed:
        aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.parent))
        try:
            path.replace(aside / path.name)
            new.replace(path)
        finally:
            if not path.exists():
                (aside / path.name).replace(path)
            shutil.rmtree(aside, ignore_errors=True)
