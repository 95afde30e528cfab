"""Progress on standard error, where that is a terminal: a line that is written anew, a bar with rate and time left."""

from __future__ import annotations

import sys
import time

from betafold_mlx.cli.terminal import clipped, columns, is_live

_BAR = 20  # characters


class LiveLine:
    """One line at the bottom of a terminal. It is never wider than that: what wraps cannot be taken back.

    Attributes
    ----------
    live : bool
        Whether there is a terminal; elsewhere nothing is shown.
    """

    def __init__(self) -> None:
        self.live = is_live(sys.stderr)
        self._shown = False

    def show(self, text: str) -> None:
        """Write the line anew."""
        if self.live:
            print(f"\r\x1b[K{clipped(text, columns(sys.stderr) - 1)}", end="", file=sys.stderr, flush=True)
            self._shown = True

    def hide(self) -> None:
        """Make way for other lines."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._shown = False


class Progress:
    """How far a library is, on a line at the bottom of a terminal.

    Parameters
    ----------
    total : int or None
        Of the peptides; None where nobody knows.
    """

    def __init__(self, total: int | None) -> None:
        self._line = LiveLine()
        self._total = total
        self._before = self._done = 0
        self._start = time.monotonic()

    def begin(self, before: int) -> None:
        """Count from here: so many were done before."""
        self._before = self._done = before

    def advance(self, peptides: int) -> None:
        """So many more are done: show the line anew."""
        self._done += peptides
        seconds = time.monotonic() - self._start
        self._line.show(progress_line(self._done, self._total, self._done - self._before, seconds))

    def hide(self) -> None:
        """Make way for other lines."""
        self._line.hide()


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
