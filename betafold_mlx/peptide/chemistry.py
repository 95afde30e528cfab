"""Stated chemistry of a peptide: rings, disulfides, D residues and caps, and the words for them in FASTA headers."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TypedDict

from betafold_mlx.errors import BetafoldError
from betafold_mlx.peptide.bonds import Disulfides, StatedBond, parse_bond, parse_pair

N_CAPS, C_CAPS = ("ACE",), ("NH2",)
"""Terminal caps by their names in the wwPDB Chemical Component Dictionary: acetyl and amide."""

NO_CAP = "none"
"""What stands for a free end."""


class Chemistry(TypedDict, total=False):
    """What may be stated of a peptide: the arguments of `betafold_mlx.peptide.sequence.Peptide.parse`."""

    cyclic: bool
    disulfides: list[tuple[int, int]]
    d_amino_acids: bool
    n_cap: str
    c_cap: str
    bonds: list[StatedBond]
    residues: dict[int, str]


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


_KEYS = ("cyclic", "disulfides", "disulfide", "all-d", "n-cap", "c-cap", "bond", "residues")
_TRUE, _FALSE = ("", "true", "yes", "1"), ("false", "no", "0")
_ALIKE = 0.75  # `difflib` ratio: "ncap", "disulphides" and "all.d" are meant, "type", "len" and UniProt's "OX" are not


def header_chemistry(description: str) -> Chemistry:
    """Return the chemistry that the words of a FASTA header state.

    The words are ``cyclic``, ``disulfides=1-15,5-19``, ``all-d``, ``n-cap=ACE``, ``c-cap=NH2``, ``bond=3:NZ-7:CD`` and
    ``residues=3:DPN,5:AIB``, in either case and with ``_`` for ``-``. Headers hold free text: other words mean nothing
    here, but for ``key=value`` where the key is almost one of these.

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
        elif key in ("bond", "bonds") and equals:
            stated["bonds"] = stated.get("bonds", []) + [
                parse_bond(bond) for bond in value.split(",") if bond
            ]
        elif key == "residues" and equals:
            stated["residues"] = stated.get("residues", {}) | dict(
                _parse_residue(one) for one in value.split(",") if one
            )
        elif equals and (meant := difflib.get_close_matches(key, _KEYS, n=1, cutoff=_ALIKE)):
            raise BetafoldError(f"{word[:60]!r} in the header: is {meant[0]} meant?")
    return stated


def _flag(word: str, key: str, value: str) -> bool:
    if value.lower() not in (*_TRUE, *_FALSE):
        raise BetafoldError(f"{word[:60]!r} in the header: write {key}, or leave it out")
    return value.lower() in _TRUE


def _parse_residue(text: str) -> tuple[int, str]:
    place, colon, code = text.partition(":")
    if not (colon and code and place.isascii() and place.isdigit() and len(place) < 5):
        raise BetafoldError(f"residues={text[:40]!r}: write position and CCD code, for example 5:AIB")
    return int(place), code.upper()


def chemistry_words(
    cyclic: bool,
    disulfides: Disulfides,
    d_amino_acids: bool,
    n_cap: str | None,
    c_cap: str | None,
    bonds: tuple[StatedBond, ...] = (),
    residues: Mapping[int, str] | None = None,
) -> str:
    """Return the words by which `header_chemistry` reads this chemistry; empty where there is none."""
    words = [
        "cyclic" if cyclic else "",
        "disulfides=" + ",".join(f"{i}-{j}" for i, j in disulfides) if disulfides else "",
        "all-d" if d_amino_acids else "",
        f"n-cap={n_cap}" if n_cap else "",
        f"c-cap={c_cap}" if c_cap else "",
        "bond=" + ",".join(map(str, bonds)) if bonds else "",
        "residues=" + ",".join(f"{place}:{code}" for place, code in residues.items()) if residues else "",
    ]
    return " ".join(word for word in words if word)
