"""A progress bar with rate and remaining time, on standard error where that is a terminal."""

from __future__ import annotations

import sys
import time

_BAR = 20  # characters


class Progress:
    """One line that lives at the bottom of a terminal.

    Parameters
    ----------
    total : int or None
        Of the peptides; None where nobody knows.
    """

    def __init__(self, total: int | None) -> None:
        self._live = sys.stderr.isatty()
        self._total = total
        self._before = self._done = 0
        self._start = time.monotonic()
        self._shown = False

    def begin(self, before: int) -> None:
        """Count from here: so many were done before."""
        self._before = self._done = before

    def advance(self, peptides: int) -> None:
        """So many more are done: show the line anew."""
        self._done += peptides
        if self._live:
            line = progress_line(
                self._done, self._total, self._done - self._before, time.monotonic() - self._start
            )
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
            self._shown = True

    def hide(self) -> None:
        """Make way for other lines."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._shown = False


def progress_line(done: int, total: int | None, now: int, seconds: float) -> str:
    """Return the line in words.

    Parameters
    ----------
    done : int
        Peptides in all.
    total : int or None
        That there will be.
    now : int
        Those of them that were done in this run.
    seconds : float
        That it took.

    Examples
    --------
    >>> progress_line(2560, 10000, 2560, 8.0)
    '[#####---------------] 2,560 of 10,000 peptides, 320 a second, 0:00:23 left'
    >>> progress_line(2560, None, 512, 1.6)
    '2,560 peptides, 320 a second'
    """
    rate = now / max(seconds, 1e-9)
    if total is None or total < done:
        return f"{done:,} peptides, {rate:,.0f} a second"
    bar = "#" * (_BAR * done // total)
    minutes, left = divmod(round((total - done) / rate) if rate else 0, 60)
    clock = f"{minutes // 60}:{minutes % 60:02}:{left:02}"
    return f"[{bar:-<{_BAR}}] {done:,} of {total:,} peptides, {rate:,.0f} a second, {clock} left"
