"""Brackets in notations."""

from __future__ import annotations

from collections.abc import Iterator

from betafold_mlx.errors import BetafoldError

PAIRS = {"(": ")", "[": "]", "{": "}"}


def closing(text: str, start: int) -> int:
    """Return the place of the bracket that closes the one at `start`.

    BetafoldError where there is none, or another closes first.
    """
    expected: list[str] = []
    for place in range(start, len(text)):
        letter = text[place]
        if letter in PAIRS:
            expected.append(PAIRS[letter])
        elif expected and letter == expected[-1]:
            expected.pop()
            if not expected:
                return place
        elif letter in ")]}":
            break
    raise BetafoldError(f"the bracket {text[start : start + 20]!r} is not closed")


def split_outside(text: str, separators: str) -> Iterator[tuple[str, str]]:
    """Yield the parts of a text between separators that stand outside of brackets, each with the separator before it.

    BetafoldError for a bracket that is not closed, or not opened.
    """
    part, before, place = "", "", 0
    while place < len(text):
        letter = text[place]
        if letter in PAIRS:
            end = closing(text, place)
            part += text[place : end + 1]
            place = end
        elif letter in ")]}":
            raise BetafoldError(f"the bracket {text[max(0, place - 19) : place + 1]!r} is not opened")
        elif letter in separators:
            yield before, part
            part, before = "", letter
        else:
            part += letter
        place += 1
    yield before, part
