"""Keep freed memory in the process on Linux.

By default glibc takes large arrays from the system with `mmap` and gives them back when they are freed, and the next
operation page-faults the same memory in again: an elementwise operation on 20 MB then spends most of its time in the
kernel. MLX's CPU allocator is plain `malloc`, so two parameters of glibc's (``man 3 mallopt``) remove that.
"""

from __future__ import annotations

import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>
_KEPT_BYTES = 1 << 30


def keep_freed_memory() -> bool:
    """Let glibc keep up to 1 GiB of freed memory at the top of the heap, and make no mappings for smaller arrays.

    What the user set by ``MALLOC_*`` or ``GLIBC_TUNABLES`` is left alone.

    Returns
    -------
    bool
        True where it was done; False where it is not needed (macOS), not there (musl), or set by the user.
    """
    names = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES")
    if not sys.platform.startswith("linux") or any(name in os.environ for name in names):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(mallopt(option, _KEPT_BYTES) == 1 for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD))
