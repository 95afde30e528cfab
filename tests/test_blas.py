"""MLX computes with the OpenBLAS of the wheel: whatever is imported first, with which threads and kernels."""

import os
import platform
import subprocess
import sys

import mlx.core as mx
import numpy as np
import pytest

from betafold_mlx import _blas
from betafold_mlx._blas import blas_threads, single_threaded_blas
from betafold_mlx._machine import usable_processors

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="macOS has Accelerate")
SHOWN = "print(_blas.blas_name().replace(' ', '-'), _blas.blas_threads(), len(_blas._redirected))"
OF_MLX = "import betafold_mlx, mlx.core; from betafold_mlx import _blas; "


def started(code, **environment):
    """Return what a fresh process prints."""
    base = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=base | environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


@on_linux
def test_mlx_calls_openblas():
    """Where it does not, MLX or the wheel has changed its shape, and all is twenty times slower."""
    assert {"cblas_sgemm", "cblas_dgemm", "cblas_cgemm", "spotrf_", "ssyevd_"} <= set(_blas._redirected)
    assert _blas.blas_name().startswith("OpenBLAS 0.3.")


@on_linux
def test_the_order_of_imports_does_not_matter():
    first = started(OF_MLX + SHOWN)
    assert first == started("import mlx.core, betafold_mlx; from betafold_mlx import _blas; " + SHOWN)
    assert first[0].startswith("OpenBLAS-") and int(first[2]) > 20


@on_linux
def test_nothing_is_loaded_before_mlx_is():
    code = "import sys, betafold_mlx; print('openblas' in open('/proc/self/maps').read(), 'mlx.core' in sys.modules)"
    assert started(code) == ["False", "False"]


@on_linux
def test_threads_of_a_fresh_process():
    code = OF_MLX + "import os; print(_blas.blas_threads(), 'OPENBLAS_NUM_THREADS' in os.environ)"
    assert started(code) == [str(usable_processors()), "False"]
    assert started(code, OPENBLAS_NUM_THREADS="1") == ["1", "True"]
    assert started(code, OMP_NUM_THREADS="1") == ["1", "False"]


@on_linux
@pytest.mark.skipif(platform.machine() != "x86_64", reason="kernels of x86-64")
@pytest.mark.parametrize("kernels", ["Nehalem", "Haswell"])
def test_the_users_kernels(kernels):
    assert started(OF_MLX + SHOWN, OPENBLAS_CORETYPE=kernels)[0].endswith(f"-{kernels}")


@on_linux
def test_without_the_wheel_mlx_is_as_it_is():
    code = "import sys; sys.modules['scipy_openblas32'] = None; "
    product = "; from mlx.core import ones; print((ones((3, 3)) @ ones((3, 3))).sum().item())"
    with_blocks = (
        code + OF_MLX + "\nwith _blas.single_threaded_blas(): _blas.set_blas_threads(2)\n" + SHOWN + product
    )
    assert started(with_blocks) == ["reference", "1", "0", "27.0"]


def test_one_thread_for_a_while():
    threads = blas_threads()
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 200, 200)).astype(np.float32)
    with pytest.raises(KeyError), single_threaded_blas():
        assert blas_threads() == 1
        alone = np.array(mx.array(a) @ mx.array(b))
        raise KeyError
    assert blas_threads() == threads
    exact = a.astype(np.float64) @ b
    for product in (alone, np.array(mx.array(a) @ mx.array(b))):
        np.testing.assert_allclose(product, exact, rtol=0, atol=1e-4)


def test_linear_algebra_of_openblas():
    rng = np.random.default_rng(1)
    half = rng.standard_normal((40, 40)).astype(np.float32)
    matrix = half @ half.T + np.eye(40, dtype=np.float32)
    values, vectors = (np.array(x, np.float64) for x in mx.linalg.eigh(mx.array(matrix), stream=mx.cpu))
    np.testing.assert_allclose(vectors * values @ vectors.T, matrix, rtol=0, atol=1e-3)
    lower = np.array(mx.linalg.cholesky(mx.array(matrix), stream=mx.cpu), np.float64)
    np.testing.assert_allclose(lower @ lower.T, matrix, rtol=0, atol=1e-3)


@pytest.mark.parametrize("shape", [(0, 3), (2, 0, 3), (3, 0)])
def test_a_product_over_nothing_is_zero(shape):
    x = mx.zeros(shape)
    np.testing.assert_array_equal(x.swapaxes(-1, -2) @ x, np.zeros((*shape[:-2], shape[-1], shape[-1])))
