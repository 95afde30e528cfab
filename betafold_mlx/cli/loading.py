"""Modules that take time to load: commands need them to work, but not for their help, nor to complete their options."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Let a Ctrl-C wait: MLX and gemmi abort the process when one comes while they are loaded.

    Commands import what they work with in such a block, in their first lines.
    """
    came: list[int] = []
    previous = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
    if came and callable(previous):
        previous(came[0], None)
