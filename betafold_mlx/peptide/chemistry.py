"""Stated chemistry of a peptide: rings, disulfides, D residues and caps, and the words for them in FASTA headers."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import TypedDict

from betafold_mlx.errors import BetafoldError

N_CAPS, C_CAPS = ("ACE",), ("NH2",)
"""Terminal caps by their names in the wwPDB Chemical Component Dictionary: acetyl and amide."""

NO_CAP = "none"
"""What stands for a free end."""

Disulfides = tuple[tuple[int, int], ...]


class Chemistry(TypedDict, total=False):
    """What may be stated of a peptide: the arguments of `betafold_mlx.peptide.sequence.Peptide.parse`."""

    cyclic: bool
    disulfides: list[tuple[int, int]]
    d_amino_acids: bool
    n_cap: str
    c_cap: str


def parse_pair(text: str) -> tuple[int, int]:
    """Return the 1-based residue pair written as ``I-J``.

    Raises
    ------
    BetafoldError
        Where the text has another form.
    """
    match = re.fullmatch(r"\s*([0-9]{1,4})\s*-\s*([0-9]{1,4})\s*", text, flags=re.ASCII)
    if match is None:
        raise BetafoldError(f"disulfide {text!r}: write a pair of positions as I-J, for example 1-15")
    return int(match[1]), int(match[2])


def checked_disulfides(sequence: str, pairs: Iterable[tuple[int, int]]) -> Disulfides:
    """Return the disulfides of a sequence, i < j, sorted.

    Parameters
    ----------
    sequence : str
        One-letter codes.
    pairs : iterable of (int, int)
        1-based residue pairs in any order.

    Raises
    ------
    BetafoldError
        For a pair that is not between two different cysteines of the sequence, or a cysteine in two pairs.
    """
    seen: set[int] = set()
    checked = []
    for first, second in pairs:
        i, j = sorted((first, second))
        name = f"disulfide {first}-{second}"
        if i < 1 or j > len(sequence):
            raise BetafoldError(f"{name}: positions run from 1 to {len(sequence)}")
        if i == j:
            raise BetafoldError(f"{name}: a residue cannot bond to itself")
        for position in (i, j):
            if sequence[position - 1] != "C":
                raise BetafoldError(f"{name}: residue {position} is {sequence[position - 1]}, not C")
            if position in seen:
                raise BetafoldError(f"{name}: cysteine {position} is already in another disulfide")
            seen.add(position)
        checked.append((i, j))
    return tuple(sorted(checked))


def checked_caps(n_cap: str | None, c_cap: str | None, cyclic: bool) -> tuple[str | None, str | None]:
    """Return the two caps of a chain in upper case, None for a free end.

    Parameters
    ----------
    n_cap, c_cap : str or None
        A name of `N_CAPS` and one of `C_CAPS` in either case; None or ``none`` for a free end.
    cyclic : bool
        Closed head to tail.

    Raises
    ------
    BetafoldError
        For an unknown cap, or one on a ring.
    """
    caps = _checked_cap("n-cap", n_cap, N_CAPS), _checked_cap("c-cap", c_cap, C_CAPS)
    if cyclic and any(caps):
        raise BetafoldError("a cyclic peptide has no ends to cap: leave out n-cap and c-cap, or cyclic")
    return caps


def _checked_cap(key: str, name: str | None, known: tuple[str, ...]) -> str | None:
    if name is None or name.lower() == NO_CAP:
        return None
    if name.upper() not in known:
        raise BetafoldError(f"{key} {name[:40]!r} is not known: write {' or '.join((*known, NO_CAP))}")
    return name.upper()


_KEYS = ("cyclic", "disulfides", "disulfide", "all-d", "n-cap", "c-cap")
_TRUE, _FALSE = ("", "true", "yes", "1"), ("false", "no", "0")
_ALIKE = 0.75  # `difflib` ratio: "ncap", "disulphides" and "all.d" are meant, "type", "len" and UniProt's "OX" are not


def header_chemistry(description: str) -> Chemistry:
    """Return the chemistry that the words of a FASTA header state.

    The words are ``cyclic``, ``disulfides=1-15,5-19``, ``all-d``, ``n-cap=ACE`` and ``c-cap=NH2``, in either case and
    with ``_`` for ``-``. Headers hold free text: other words mean nothing here, but for ``key=value`` where the
    key is almost one of these.

    Parameters
    ----------
    description : str
        The header after the id.

    Raises
    ------
    BetafoldError
        For a value that cannot be, or a key that is almost a known one: a slip must not fold another molecule.
    """
    stated: Chemistry = {}
    for word in description.split():
        key, equals, value = word.partition("=")
        key = key.lower().replace("_", "-")
        if key == "cyclic":
            stated["cyclic"] = _flag(word, key, value)
        elif key == "all-d":
            stated["d_amino_acids"] = _flag(word, key, value)
        elif key in ("disulfide", "disulfides") and equals:
            pairs = [parse_pair(pair) for pair in value.split(",") if pair]
            stated["disulfides"] = stated.get("disulfides", []) + pairs
        elif key == "n-cap" and equals:
            stated["n_cap"] = value
        elif key == "c-cap" and equals:
            stated["c_cap"] = value
        elif equals and (meant := difflib.get_close_matches(key, _KEYS, n=1, cutoff=_ALIKE)):
            raise BetafoldError(f"{word[:60]!r} in the header: is {meant[0]} meant?")
    return stated


def _flag(word: str, key: str, value: str) -> bool:
    if value.lower() not in (*_TRUE, *_FALSE):
        raise BetafoldError(f"{word[:60]!r} in the header: write {key}, or leave it out")
    return value.lower() in _TRUE


def chemistry_words(
    cyclic: bool, disulfides: Disulfides, d_amino_acids: bool, n_cap: str | None, c_cap: str | None
) -> str:
    """Return the words by which `header_chemistry` reads this chemistry; empty where there is none."""
    words = [
        "cyclic" if cyclic else "",
        "disulfides=" + ",".join(f"{i}-{j}" for i, j in disulfides) if disulfides else "",
        "all-d" if d_amino_acids else "",
        f"n-cap={n_cap}" if n_cap else "",
        f"c-cap={c_cap}" if c_cap else "",
    ]
    return " ".join(word for word in words if word)
