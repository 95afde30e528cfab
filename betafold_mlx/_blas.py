"""Give MLX a fast BLAS on Linux.

The Linux wheel of MLX links the reference BLAS, whose float32 matrix product is about thirty times slower than
OpenBLAS. The dynamic linker takes the first definition of a symbol, so loading OpenBLAS with global visibility
*before* ``mlx.core`` is imported makes MLX use it. macOS has Accelerate and needs nothing.
"""

from __future__ import annotations

import ctypes
import sys


def load_openblas() -> bool:
    """Load the system's OpenBLAS into the process's global symbol scope.

    Returns
    -------
    bool
        True where OpenBLAS is loaded; False where it is not installed or not needed (macOS).
    """
    if not sys.platform.startswith("linux"):
        return False
    for name in ("libopenblas.so.0", "libopenblas.so"):
        try:
            ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue
        return True
    return False
