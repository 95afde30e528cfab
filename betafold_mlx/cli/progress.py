"""Messages and progress on standard error: a bar on a terminal, elsewhere a line every half a minute."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

_Self = TypeVar("_Self", bound="Progress")
MAX_NAME = 40  # characters of a name on the terminal
_SECONDS = 30.0  # between two lines where there is no terminal


def is_live(stream: Any) -> bool:
    """Tell whether a stream leads to a terminal that can write a line anew."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def timed() -> Callable[[str], None]:
    """Return what prints lines on standard error, each with the seconds since now."""
    started = time.perf_counter()
    return lambda line: print(f"{time.perf_counter() - started:6.1f} s  {line}", file=sys.stderr)


def say(message: str) -> None:
    """Print a message on standard error.

    Like all that is printed beside a `Progress` it goes by `print`, which rich guides around the bar.
    """
    print(f"betafold-mlx: {message}", file=sys.stderr)


def shown(name: str) -> str:
    """Return a name for the terminal: short, with ``?`` for what would steer it (control characters, bidi marks)."""
    text = "".join(letter if letter.isprintable() else "?" for letter in name[: MAX_NAME + 1])
    return text if len(text) <= MAX_NAME else text[: MAX_NAME - 3] + "..."


class Progress:
    """A context manager that shows how far some work is.

    `what` is counted ("peptides", say), `total` of them where that is known; the rate leaves out the `done` ones.
    """

    def __init__(self, what: str, total: int | None = None, done: int = 0) -> None:
        self._what = what
        self._bar: Any = None
        self._told = time.monotonic()
        self.restart(done, total)

    def restart(self, done: int, total: int | None = None) -> None:
        """Start counting again, with `done` of `total` done."""
        self._before = self._done = done
        self._total = total
        self._start = time.monotonic()
        self._show("")

    def advance(self, amount: int = 1, note: str | None = None) -> None:
        """Add to what is done, with a word about it."""
        self._done += amount
        rate = (self._done - self._before) / max(time.monotonic() - self._start, 1e-9)
        self._show(f", {rate:,.1f} a second" + (f", {note}" if note else ""))

    def _show(self, note: str) -> None:
        total = self._total if self._total is not None and self._total >= self._done else None
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._done, total=total, note=note)
        elif time.monotonic() - self._told > _SECONDS:
            self._told = time.monotonic()
            of = f" of {total:,}" if total else ""
            print(f"{self._done:,}{of} {self._what}{note}", file=sys.stderr)

    def __enter__(self: _Self) -> _Self:
        if is_live(sys.stderr):
            self._bar = _bar()
            self._bar.add_task(self._what, total=self._total, completed=self._done, note="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


def _bar() -> Any:
    """Return a bar of rich, which is imported on terminals alone."""
    from rich import progress
    from rich.console import Console

    return progress.Progress(
        progress.BarColumn(20),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.description}{task.fields[note]}"),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # else results would go to stderr
    )
