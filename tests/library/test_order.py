"""Tasks that several threads do: results in order, nobody far ahead, and an end for all."""

import random
import threading
import time

import pytest

from betafold_mlx.library.order import InOrder


def work(order, seconds, outcome):
    try:
        while taken := order.take():
            number, task = taken
            time.sleep(seconds())
            order.put(number, task * task)
    except BaseException as error:
        outcome.append(error)


def start(order, seconds, count=3):
    outcome = []
    threads = [
        threading.Thread(target=work, args=(order, seconds, outcome), daemon=True) for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    return threads, outcome


def test_results_come_in_the_order_of_the_tasks_and_nobody_is_far_ahead():
    rng = random.Random(0)
    done, most = 0, 0

    def tasks():
        nonlocal most
        for number in range(200):
            most = max(most, number + 1 - done)
            yield number

    order = InOrder(tasks(), 5)
    threads, outcome = start(order, lambda: rng.uniform(0, 0.002))
    found = []
    for task, result in order.results():
        found.append((task, result))
        done += 1
    assert found == [(number, number * number) for number in range(200)] and not outcome
    assert 3 <= most <= 5
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def test_what_is_not_yet_to_be_had_is_not_waited_for():
    order = InOrder(iter("abc"), 2)
    assert order.take(wait=False) == (0, "a") and order.take() == (1, "b")
    assert order.take(wait=False) is None  # too far ahead
    results = order.results()
    order.put(0, "A")
    assert next(results) == ("a", "A")
    assert order.take(wait=False) is None  # not yet done with
    order.put(1, "B")
    assert next(results) == ("b", "B")
    assert order.take(wait=False) == (2, "c") and order.take(wait=False) is None


def test_a_task_that_is_long_in_coming_holds_up_no_result():
    coming = threading.Event()

    def tasks():
        yield 1
        coming.wait(30)
        yield 2

    order = InOrder(tasks(), 4)
    threads, _ = start(order, lambda: 0.0, count=2)
    results = order.results()
    assert next(results) == (1, 1)
    assert order.take(wait=False) is None
    coming.set()
    assert list(results) == [(2, 4)]
    for thread in threads:
        thread.join(10)


@pytest.mark.parametrize("where", ["tasks", "taker", "writer"])
def test_an_error_ends_all_and_is_not_taken_for_the_end(where):
    def tasks():
        for number in range(20):
            if where == "tasks" and number == 7:
                raise OSError("the disk is gone")
            yield number

    order = InOrder(tasks(), 4)
    threads, outcome = start(order, lambda: 0.001)
    found = []
    with pytest.raises(OSError, match="gone"):
        for task, _ in order.results():
            found.append(task)
            if len(found) == 5 and where != "tasks":
                order.stop(OSError("the disk is gone"))
            if len(found) == 5 and where == "writer":
                break
        order.take()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert found == list(range(len(found))) and len(found) <= 7
    assert outcome and all(isinstance(error, OSError) for error in outcome[:1])
