"""What a standard stream leads to: a terminal or not, how wide, and whether it is to have colours."""

from __future__ import annotations

import os
import unicodedata
from typing import TextIO


def is_terminal(stream: TextIO) -> bool:
    """Tell whether somebody reads the stream on a terminal."""
    return stream.isatty()


def is_live(stream: TextIO) -> bool:
    """Tell whether a line on the stream can be written anew: a terminal, and not one that knows no control codes."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def is_coloured(stream: TextIO) -> bool:
    """Tell whether text on the stream is to have colours.

    ``NO_COLOR`` says never (https://no-color.org), ``FORCE_COLOR`` and ``CLICOLOR_FORCE`` say also where there is no
    terminal (https://bixense.com/clicolors, https://force-color.org), in this order, which is that of Python itself;
    ``CLICOLOR=0`` says not. Otherwise a terminal has colours.
    """
    value = os.environ.get
    if value("NO_COLOR"):
        return False
    if value("FORCE_COLOR", "0") not in ("", "0") or value("CLICOLOR_FORCE", "0") not in ("", "0"):
        return True
    return is_live(stream) and value("CLICOLOR") != "0"


def columns(stream: TextIO) -> int:
    """Return how many columns a terminal has; ``COLUMNS`` overrules it, and 80 are assumed where nobody knows."""
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given):
        return int(given)
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def plain(text: str) -> str:
    """Return text with ``?`` for all that could steer a terminal: control characters, marks of direction."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def cells(text: str) -> int:
    """Return how many columns a text takes: two for a wide East Asian letter or an emoji, none for an accent.

    >>> [cells(text) for text in ("abc", "日本", "e\u0301")]
    [3, 4, 1]
    """
    return sum(map(_cells, text))


def clipped(text: str, width: int) -> str:
    """Return text cut to so many columns, with dots where something is missing.

    >>> clipped("tr|A0A024R1R8|TMA7B_HUMAN", 12)
    'tr|A0A024...'
    """
    if cells(text) <= width:
        return text
    kept, left = "", width - 3
    for letter in text:
        left -= _cells(letter)
        if left < 0:
            break
        kept += letter
    return f"{kept}..."[:width]


def _cells(letter: str) -> int:
    if unicodedata.combining(letter) or unicodedata.category(letter) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1
