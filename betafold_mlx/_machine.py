"""How many processors the process may use, and memory that stays in it.

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
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # of <malloc.h>
_KEPT_BYTES = 1 << 30
_SET_BY_THE_USER = (
    *("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_"),
    *("MALLOC_ARENA_MAX", "MALLOC_ARENA_TEST", "GLIBC_TUNABLES"),
)


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
