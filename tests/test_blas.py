"""OpenBLAS: found or not, how many threads, and that products stay products."""

import os
import subprocess
import sys

import mlx.core as mx
import numpy as np
import pytest

from betafold_mlx._blas import blas_threads, has_openblas, single_threaded_blas, usable_processors

needs_openblas = pytest.mark.skipif(not has_openblas(), reason="needs OpenBLAS")


def files(root, **contents):
    for path, text in contents.items():
        place = root / path.replace("__", "/").replace("cpu_", "cpu.")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return root


@pytest.fixture
def sixteen(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)


@pytest.mark.parametrize(
    ("group", "limit", "count"),
    [
        ("0::/", "max 100000\n", 16),
        ("0::/", "200000 100000\n", 2),
        ("0::/", "150000 100000\n", 2),
        ("0::/", "5000 100000\n", 1),
        ("0::/", "broken\n", 16),
    ],
)
def test_a_quota_of_control_groups_2(sixteen, tmp_path, group, limit, count):
    files(tmp_path, proc__self__cgroup=group, sys__fs__cgroup__cpu_max=limit)
    assert usable_processors(tmp_path) == count


def test_the_smallest_quota_above_a_process_counts(sixteen, tmp_path):
    folder = tmp_path / "sys/fs/cgroup"
    (folder / "outer/inner").mkdir(parents=True)
    files(tmp_path, proc__self__cgroup="0::/outer/inner\n")
    for place, limit in (("", "800000"), ("outer", "300000"), ("outer/inner", "max")):
        (folder / place / "cpu.max").write_text(f"{limit} 100000\n")
    assert usable_processors(tmp_path) == 3


def test_without_control_groups_the_affinity_counts(sixteen, tmp_path):
    assert usable_processors(tmp_path) == 16


def started(code, **environment):
    """Return what a fresh process prints."""
    base = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    command = [sys.executable, "-c", f"import os, betafold_mlx; from betafold_mlx import _blas; {code}"]
    done = subprocess.run(command, env=base | environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


@needs_openblas
def test_threads_of_a_fresh_process():
    code = "print(_blas.blas_threads(), 'OPENBLAS_NUM_THREADS' in os.environ)"
    assert started(code) == [str(usable_processors()), "False"]
    assert started(code, OPENBLAS_NUM_THREADS="1") == ["1", "True"]
    assert started(code, OMP_NUM_THREADS="1") == ["1", "False"]


@needs_openblas
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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="macOS needs none of it")
def test_memory_settings_of_the_user_stay():
    code = "from betafold_mlx._blas import keep_freed_memory; print(keep_freed_memory())"
    assert started(code, MALLOC_MMAP_THRESHOLD_="65536") == ["False"]
    assert started(code, GLIBC_TUNABLES="glibc.malloc.arena_max=2") == ["False"]
