"""Pieces of work side by side."""

import mlx.core as mx
import pytest

from betafold_mlx import lanes
from betafold_mlx.lanes import finish, side_by_side


@pytest.fixture
def threads(monkeypatch):
    """Let the BLAS have so many threads."""

    def set_number(number):
        monkeypatch.setattr(lanes, "blas_threads", lambda: number)

    return set_number


def work(number, log, steps=3):
    """Count up on an array, and say who is at it."""
    total = mx.array(0)
    for _ in range(steps):
        log.append(number)
        total = total + number
        mx.async_eval(total)
        yield
    return int(total)


def test_work_is_finished_with_its_result():
    assert finish(work(5, [])) == 15


@pytest.mark.parametrize("number", [1, 2, 3])
def test_results_come_in_order(threads, number):
    threads(number)
    log = []
    steps = [4, 1, 3, 2, 5]
    works = (work(n, log, steps[n]) for n in range(5))
    assert side_by_side(works) == [n * steps[n] for n in range(5)]
    for n in range(5):
        assert log.count(n) == steps[n]


def test_lanes_take_turns_and_new_work_waits_for_a_free_one(threads):
    threads(2)
    log = []
    side_by_side(work(n, log, 2) for n in range(3))
    assert log == [0, 1, 0, 1, 2, 2]


def test_each_lane_has_a_stream_of_its_own(threads):
    threads(2)
    seen = []

    def where():
        seen.append(mx.default_stream(mx.default_device()))
        yield
        seen.append(mx.default_stream(mx.default_device()))

    side_by_side(where() for _ in range(2))
    assert seen[0] == seen[2] != seen[1] == seen[3]


def test_an_error_ends_all(threads):
    threads(2)

    def failing():
        yield
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        side_by_side([failing(), work(1, [], 50)])


def test_no_work_is_done_at_once(threads):
    threads(2)
    assert side_by_side([]) == []
