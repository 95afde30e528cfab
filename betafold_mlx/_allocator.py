"""Keep freed memory in the process on Linux.

By default glibc takes large arrays from the system with `mmap` and gives them back when they are freed, and the next
operation page-faults the same memory in again: an elementwise operation on 20 MB then spends most of its time in the
kernel. MLX's CPU allocator is plain `malloc`, so two parameters of glibc's (``man 3 mallopt``) remove that. They
apply to the heap of the process. A third parameter makes all threads use that heap, because heaps of their own would go
back to the system as soon as they are empty.
"""

from __future__ import annotations

import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # of <malloc.h>
_KEPT_BYTES = 1 << 30
_SET_BY_THE_USER = (
    *("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_"),
    *("MALLOC_ARENA_MAX", "MALLOC_ARENA_TEST", "GLIBC_TUNABLES"),
)


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
