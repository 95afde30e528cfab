"""Tasks that several do at the same time, and results that come in the order of the tasks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class InOrder(Generic[T, R]):
    """Hands out tasks to whoever asks next, and gives the results in the order of the tasks.

    What is in memory is bounded: nobody gets a task that lies too far ahead of the first result that is missing.

    Parameters
    ----------
    tasks : iterator
        One thread at a time asks it for the next.
    ahead : int
        Tasks that may have been handed out while their results are not yet done with.
    """

    def __init__(self, tasks: Iterator[T], ahead: int) -> None:
        self._tasks, self._ahead = tasks, ahead
        self._reading = threading.Lock()  # of its own: the next task may be long in coming
        self._changed = threading.Condition()
        self._taken = self._done = 0
        self._ended = False
        self._waiting: dict[int, T] = {}
        self._results: dict[int, R] = {}
        self._error: BaseException | None = None

    def take(self, wait: bool = True) -> tuple[int, T] | None:
        """Return the next task and its number.

        Parameters
        ----------
        wait : bool
            Until it may be handed out; else return None where it may not yet.

        Returns
        -------
        (int, task) or None
            None where there are no more.

        Raises
        ------
        BaseException
            What `stop` was told.
        """
        if not self._reading.acquire(blocking=wait):
            return None
        try:
            with self._changed:
                while self._error is None and self._taken - self._done >= self._ahead:
                    if not wait:
                        return None
                    self._changed.wait()
                self._check()
            try:
                task = next(self._tasks)
            except StopIteration:
                with self._changed:
                    self._ended = True
                    self._changed.notify_all()
                return None
            except BaseException as error:
                self.stop(error)  # before anybody takes the end of a broken iterator for the end of the tasks
                raise
            with self._changed:
                number = self._taken
                self._taken += 1
                self._waiting[number] = task
            return number, task
        finally:
            self._reading.release()

    def put(self, number: int, result: R) -> None:
        """Give the result of a task."""
        with self._changed:
            self._results[number] = result
            self._changed.notify_all()

    def results(self) -> Iterator[tuple[T, R]]:
        """Yield tasks and results in order, to one thread; each is done with when the next one is asked for.

        Raises
        ------
        BaseException
            What `stop` was told.
        """
        while True:
            with self._changed:
                while self._done not in self._results:
                    self._check()
                    if self._ended and self._done == self._taken:
                        return
                    self._changed.wait()
                self._check()
                found = self._waiting.pop(self._done), self._results.pop(self._done)
            yield found
            with self._changed:
                self._done += 1
                self._changed.notify_all()

    def stop(self, error: BaseException) -> None:
        """End it for all, by an error; the first one counts."""
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error
