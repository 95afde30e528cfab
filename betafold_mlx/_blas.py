"""Give MLX a fast BLAS on Linux, with as many threads as the process may use, and memory that stays.

The Linux wheel of MLX links the reference BLAS, whose float32 matrix product is about thirty times slower than
OpenBLAS. The dynamic linker takes the first definition of a symbol, so loading OpenBLAS with global visibility
*before* ``mlx.core`` is imported makes MLX use it. macOS has Accelerate and needs nothing.

By default glibc takes large arrays from the system with `mmap` and gives them back when they are freed, and the next
operation page-faults the same memory in again: an elementwise operation on 20 MB then spends most of its time in the
kernel. MLX's CPU allocator is plain `malloc`, so two parameters of glibc's (``man 3 mallopt``) remove that. They
apply to the heap of the process. A third parameter makes all threads use that heap, because heaps of their own would go
back to the system as soon as they are empty.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

HOW_TO_GET = (
    "OpenBLAS is not installed, and MLX is several times slower without it: "
    "apt-get install libopenblas0-pthread (Debian, Ubuntu) or dnf install openblas (Fedora)"
)
_NAMES = ("libopenblas.so.0", "libopenblas.so")
_THREADS = ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS")  # in the order OpenBLAS reads them

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # of <malloc.h>
_KEPT_BYTES = 1 << 30
_SET_BY_THE_USER = (
    *("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_"),
    *("MALLOC_ARENA_MAX", "MALLOC_ARENA_TEST", "GLIBC_TUNABLES"),
)
_library: ctypes.CDLL | None = None


def load_openblas() -> None:
    """Load the system's OpenBLAS, where there is one, into the process's global symbol scope (Linux).

    Its number of threads is that of the processors the process may use (`usable_processors`) unless
    ``OPENBLAS_NUM_THREADS``, ``GOTO_NUM_THREADS`` or ``OMP_NUM_THREADS`` says otherwise: OpenBLAS by itself knows of no
    container's quota. Which kernels it takes is left to it (``OPENBLAS_CORETYPE``).
    """
    global _library
    if not sys.platform.startswith("linux"):
        return
    unset = not any(name in os.environ for name in _THREADS)
    if unset:  # read while the library is loaded; child processes find their own number
        os.environ["OPENBLAS_NUM_THREADS"] = str(usable_processors())
    for name in _NAMES:
        with contextlib.suppress(OSError):
            _library = ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
            break
    if unset:
        del os.environ["OPENBLAS_NUM_THREADS"]


def has_openblas() -> bool:
    """Return whether MLX multiplies matrices with OpenBLAS."""
    return _library is not None


def blas_name() -> str:
    """Return which BLAS MLX multiplies with on the processor: its version and kernels where that is OpenBLAS."""
    if sys.platform == "darwin":
        return "Accelerate"
    if _library is None:
        return "reference"
    with contextlib.suppress(AttributeError):
        config, core = _library.openblas_get_config, _library.openblas_get_corename
        config.restype = core.restype = ctypes.c_char_p
        return f"{' '.join(config().decode().split()[:2])} {core().decode()}"
    return "OpenBLAS"


def blas_threads() -> int:
    """Return how many threads a matrix product may use: 1 where there is no OpenBLAS to ask."""
    with contextlib.suppress(AttributeError):
        return 1 if _library is None else int(_library.openblas_get_num_threads())
    return 1


def set_blas_threads(number: int) -> None:
    """Let each matrix product use so many threads from here on; of OpenBLAS only."""
    if _library is not None:
        _library.openblas_set_num_threads(number)


@contextlib.contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Let each matrix product use one thread, while several of them run side by side."""
    threads = blas_threads()
    if _library is None or threads == 1:
        yield
        return
    set_blas_threads(1)
    try:
        yield
    finally:
        set_blas_threads(threads)


def usable_processors(root: Path = Path("/")) -> int:
    """Return how many processors this process may keep busy: by its affinity and its container's quota.

    Parameters
    ----------
    root : Path
        Where ``proc`` and ``sys`` are (tests).

    Returns
    -------
    int
        At least 1. A quota of 1.5 processors counts as 2.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(count, _quota(root))))


def _quota(root: Path) -> float:
    """Return the smallest limit of the process's control groups (version 2), in processors."""
    quota, mount = math.inf, root / "sys/fs/cgroup"
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            if line.startswith("0::"):
                # The path is the host's; inside a container the group may be the mount's root. So look at every level.
                group = mount / line[3:].strip("/")
                folders = [group, *(folder for folder in group.parents if folder.is_relative_to(mount))]
                quota = min(map(_limit, folders))
    return quota


def _limit(folder: Path) -> float:
    """Return the limit of one control group; infinity where there is none."""
    try:
        allowed, period = (folder / "cpu.max").read_text().split()
        return float(allowed.replace("max", "inf")) / float(period)
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf


def keep_freed_memory() -> bool:
    """Let glibc keep up to 1 GiB of freed memory at the top of one heap for all threads, and make no mappings.

    What the user set by ``MALLOC_*`` or ``GLIBC_TUNABLES`` is left alone.

    Returns
    -------
    bool
        True where it was done; False where it is not needed (macOS), not there (musl), or set by the user.
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in _SET_BY_THE_USER):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    options = {_M_MMAP_THRESHOLD: _KEPT_BYTES, _M_TRIM_THRESHOLD: _KEPT_BYTES, _M_ARENA_MAX: 1}
    return all(mallopt(option, value) == 1 for option, value in options.items())
