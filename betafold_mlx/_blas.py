"""Give MLX a fast BLAS on Linux, with as many threads as the process may use.

The Linux wheel of MLX calls the reference BLAS and LAPACK, whose float32 matrix product is about thirty times slower
than OpenBLAS. The wheel ``scipy-openblas32`` has OpenBLAS with kernels for all processors of x86-64 and arm64, and
needs no other library. The names of its functions begin with ``scipy_``, so the dynamic linker does not take them for
MLX's: `_give_openblas_to_mlx` writes their addresses where MLX looks them up. An OpenBLAS of the system is not looked
for: it is often years older than the processor, and to ask its version means to load it, with its threads. macOS has
Accelerate and needs nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from betafold_mlx._elf import imported_functions, write_slot
from betafold_mlx._machine import usable_processors

HOW_TO_GET = (
    "MLX computes with the reference BLAS, several times slower than OpenBLAS: pip install scipy-openblas32"
)
_PREFIX = "scipy_"  # of the wheel's names
_THREADS = ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS")  # in the order OpenBLAS reads them
_MLX = "mlx.core"
_redirected: list[str] = []  # the functions that MLX calls in OpenBLAS


class _BeforeMlx:
    """Finds no module: gives MLX its BLAS when it is about to be imported, so that what needs no MLX starts without."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != _MLX:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(_MLX)
        if spec and spec.origin:
            _give_openblas_to_mlx(spec.origin)
        return spec


def use_openblas() -> None:
    """Let MLX compute with OpenBLAS, now if it is imported and else from its import on (Linux)."""
    if not sys.platform.startswith("linux"):
        return
    if _MLX in sys.modules:
        _give_openblas_to_mlx(str(sys.modules[_MLX].__file__))
    else:
        sys.meta_path.insert(0, _BeforeMlx())


def _give_openblas_to_mlx(extension: str) -> None:
    """Load MLX's extension module and its library, and let the library call OpenBLAS."""
    openblas = _openblas()
    with contextlib.suppress(OSError):  # an MLX of another build, which brings its own BLAS
        ctypes.CDLL(extension)
        for name, slot in imported_functions(ctypes.CDLL("libmlx.so", mode=os.RTLD_NOLOAD)):
            function = getattr(openblas, _PREFIX + name, None)
            if function is not None and write_slot(slot, ctypes.cast(function, ctypes.c_void_p).value or 0):
                _redirected.append(name)


@functools.cache
def _openblas() -> ctypes.CDLL | None:
    """Return the wheel's OpenBLAS, where it is installed.

    Its number of threads is that of the processors the process may use (`usable_processors`) unless
    ``OPENBLAS_NUM_THREADS``, ``GOTO_NUM_THREADS`` or ``OMP_NUM_THREADS`` says otherwise: OpenBLAS by itself knows of no
    container's quota. Which kernels it takes is left to it (``OPENBLAS_CORETYPE``).
    """
    wheel = importlib.util.find_spec("scipy_openblas32") if sys.platform.startswith("linux") else None
    if wheel is None or wheel.origin is None:
        return None
    unset = not any(name in os.environ for name in _THREADS)
    if unset:  # read while the library is loaded; child processes find their own number
        os.environ["OPENBLAS_NUM_THREADS"] = str(usable_processors())
    try:
        return ctypes.CDLL(str(Path(wheel.origin).parent / "lib/libscipy_openblas.so"))
    except OSError:
        return None
    finally:
        if unset:
            del os.environ["OPENBLAS_NUM_THREADS"]


@functools.cache
def _thread_pools() -> Any:
    """Return the BLAS of MLX and that of NumPy, which has an OpenBLAS of its own."""
    import numpy  # noqa: F401 - what is not loaded yet is not found
    from threadpoolctl import ThreadpoolController

    _openblas()
    return ThreadpoolController()


def _of_wheel() -> Any:
    """Return what threadpoolctl knows of the wheel's OpenBLAS, where it is loaded."""
    library = _openblas()
    pools = _thread_pools().lib_controllers
    return next((pool for pool in pools if library and pool.filepath == library._name), None)


def has_openblas() -> bool:
    """Return whether MLX multiplies matrices with OpenBLAS."""
    return "cblas_sgemm" in _redirected


def blas_name() -> str:
    """Return which BLAS MLX multiplies with on the processor: its version and kernels where that is OpenBLAS."""
    if has_openblas():
        return f"OpenBLAS {_of_wheel().version} {_of_wheel().architecture}"
    return "Accelerate" if sys.platform == "darwin" else "reference"


def blas_threads() -> int:
    """Return how many threads a matrix product of MLX may use: 1 where there is no OpenBLAS to ask."""
    return _of_wheel().num_threads if _of_wheel() else 1


def set_blas_threads(number: int) -> None:
    """Let each matrix product and each solution of equations, of MLX and NumPy, use so many threads from here on."""
    _thread_pools().limit(limits=number, user_api="blas")


def single_threaded_blas() -> AbstractContextManager[Any]:
    """Let them use one thread each, while several of them run side by side."""
    return _thread_pools().limit(limits=1, user_api="blas")
