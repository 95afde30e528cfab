"""Give MLX a fast BLAS on Linux, with as many threads as the process may use.

The Linux wheel of MLX links the reference BLAS, whose float32 matrix product is about thirty times slower than
OpenBLAS. The dynamic linker takes the first definition of a symbol, so loading OpenBLAS with global visibility
*before* ``mlx.core`` is imported makes MLX use it. macOS has Accelerate and needs nothing.
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

_library: ctypes.CDLL | None = None


def load_openblas() -> bool:
    """Load the system's OpenBLAS into the process's global symbol scope.

    Its number of threads is that of the processors the process may use (`usable_processors`) unless
    ``OPENBLAS_NUM_THREADS``, ``GOTO_NUM_THREADS`` or ``OMP_NUM_THREADS`` says otherwise: OpenBLAS by itself knows of no
    container's quota. Which kernels it takes is left to it (``OPENBLAS_CORETYPE``).

    Returns
    -------
    bool
        True where OpenBLAS is loaded; False where it is not installed or not needed (macOS).
    """
    global _library
    if not sys.platform.startswith("linux"):
        return False
    settings = {}
    if not any(name in os.environ for name in _THREADS):
        settings["OPENBLAS_NUM_THREADS"] = str(usable_processors())
    with _environment(settings):
        for name in _NAMES:
            try:
                _library = ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
            except OSError:
                continue
            return True
    return False


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
    """Return the smallest limit of the process's control groups, in processors; infinity where there is none."""
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return math.inf
    quota = math.inf
    for line in groups:
        _, controllers, path = line.split(":", 2)
        v2 = controllers == ""
        if not v2 and "cpu" not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / ("" if v2 else "cpu")
        # The path is the host's; inside a container the group may be the mount's root. So look at every level.
        place = mount / path.strip("/")
        for folder in (place, *place.parents):
            quota = min(quota, _limit(folder, v2))
            if folder == mount:
                break
    return quota


def _limit(folder: Path, v2: bool) -> float:
    try:
        if v2:
            allowed, period = (folder / "cpu.max").read_text().split()
        else:
            allowed, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        limit = math.inf if allowed == "max" else float(allowed) / float(period)
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf
    return limit if limit > 0 else math.inf  # version 1 says -1 for none


@contextlib.contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    """Set environment variables for as long as the library is loaded, not for child processes."""
    os.environ.update(settings)
    try:
        yield
    finally:
        for name in settings:
            del os.environ[name]
