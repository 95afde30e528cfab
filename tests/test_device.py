"""``--device``, and the advice about OpenBLAS."""

import sys
import threading

import mlx.core as mx
import numpy as np
import pytest
from cli_helpers import run

from betafold_mlx import device
from betafold_mlx._blas import HOW_TO_GET
from betafold_mlx.device import advice, side_by_side, use_device
from betafold_mlx.errors import BetafoldError

PEPTIDE = "GIGKFLHSAKKF"
COMMANDS = ("fold", "train", "embed", "evaluate", "perplexity")


@pytest.fixture(autouse=True)
def same_device():
    """Leave the default device as it was."""
    before = mx.default_device()
    yield
    mx.set_default_device(before)


@pytest.fixture
def without_gpu(monkeypatch):
    monkeypatch.setattr(mx, "is_available", lambda device: device == mx.cpu)


def test_a_gpu_that_is_not_there(tmp_path, without_gpu):
    code, out, err = run("fold", PEPTIDE, "-o", tmp_path / "out", "--device", "gpu")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "no GPU" in err and "--device" in err and not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_computes_has_the_option(command):
    code, out, err = run(command, "--help")
    assert code == 0 and "--device <gpu|cpu>" in out and err == ""


def test_the_cpu_can_be_asked_for(tmp_path):
    code, out, _ = run("fold", PEPTIDE, "-o", tmp_path, "--device", "cpu")
    assert code == 0 and out.startswith(PEPTIDE)
    assert mx.default_device() == mx.Device(mx.cpu, 0)


def test_python_users_get_an_error_too(without_gpu):
    with pytest.raises(BetafoldError, match="no GPU"):
        use_device("gpu")
    before = mx.default_device()
    use_device(None)
    assert mx.default_device() == before


@pytest.fixture
def without_openblas(monkeypatch):
    monkeypatch.setattr(device, "has_openblas", lambda: False)
    monkeypatch.setattr(sys, "platform", "linux")


def test_openblas_is_advised(tmp_path, without_openblas):
    fold = ("fold", PEPTIDE, "-o", tmp_path, "--device", "cpu")
    code, _, err = run(*fold)
    assert code == 0 and err.count(HOW_TO_GET) == 1 and "pip install scipy-openblas32" in err


def test_nothing_is_advised_where_nothing_is_computed(without_openblas):
    for arguments in (("--help",), ("fold", "--help"), ("--version",), ("fold",)):
        assert HOW_TO_GET not in run(*arguments)[2]


def test_nothing_is_advised_where_nothing_is_missing(monkeypatch, without_openblas):
    assert advice() == HOW_TO_GET
    monkeypatch.setenv("MLX_RANK", "1")
    assert advice() is None  # rank 0 says it
    monkeypatch.delenv("MLX_RANK")
    monkeypatch.setattr(mx, "default_device", lambda: mx.Device(mx.gpu, 0))
    assert advice() is None
    monkeypatch.undo()
    assert (advice() is None) == (device.has_openblas() or sys.platform == "darwin")


@pytest.fixture(params=[1, 2, 3])
def threads(monkeypatch, request):
    """Let the BLAS have so many threads."""
    monkeypatch.setattr(device, "blas_threads", lambda: request.param)
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
    monkeypatch.setattr(device, "blas_threads", lambda: 2)
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
