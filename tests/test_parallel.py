"""Pieces of MLX work at the same time."""

import threading

import mlx.core as mx
import numpy as np
import pytest

from betafold_mlx import parallel
from betafold_mlx.parallel import side_by_side


@pytest.fixture(params=[1, 2, 3])
def threads(monkeypatch, request):
    """Let the BLAS have so many threads."""
    monkeypatch.setattr(parallel, "blas_threads", lambda: request.param)
    return request.param


def product(seed):
    """Multiply two matrices: float64 and by MLX."""
    matrix = np.random.default_rng(seed).standard_normal((40, 40)).astype(np.float32)
    return matrix.astype(np.float64) @ matrix, np.array(mx.array(matrix) @ mx.array(matrix))


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_results_come_in_order_and_are_right(threads, count):
    results = side_by_side(product, range(count))
    assert len(results) == count
    for seed, (exact, computed) in enumerate(results):
        np.testing.assert_array_equal(exact, product(seed)[0])
        np.testing.assert_allclose(computed, exact, rtol=0, atol=1e-4)


def test_work_is_done_at_the_same_time(monkeypatch):
    monkeypatch.setattr(parallel, "blas_threads", lambda: 2)
    both = threading.Barrier(2, timeout=20)
    side_by_side(lambda _: both.wait(), range(2))
    streams = side_by_side(lambda _: (both.wait(), mx.default_stream(mx.cpu))[1], range(2))
    assert streams[0] != streams[1]


def test_the_first_error_is_raised_and_work_goes_on_afterwards(threads):
    def fail(item):
        if item:
            raise ValueError(f"item {item}")
        return item

    with pytest.raises(ValueError, match="item 1"):
        side_by_side(fail, range(4))
    assert side_by_side(int, ["1", "2"]) == [1, 2]


def test_a_call_inside_a_call_does_not_wait_for_itself(threads):
    results = side_by_side(lambda row: side_by_side(lambda column: row * column, range(3)), range(4))
    assert results == [[row * column for column in range(3)] for row in range(4)]
