"""Three-letter notation: ``Ac-Nle-Asp-His-D-Phe-Arg-Trp-Lys-NH2``, with hyphens or spaces."""

from __future__ import annotations

import re

from betafold_mlx.errors import BetafoldError
from betafold_mlx.peptide.brackets import PAIRS, closing
from betafold_mlx.peptide.names import preferred_names, residue_code
from betafold_mlx.peptide.one_letter import with_ends
from betafold_mlx.peptide.reading import Reading
from betafold_mlx.peptide.sequence import Peptide

_LONGEST = 4
"""Hyphens that a name may hold: D-N-Me-Phe has three, which makes four pieces."""


def split_groups(token: str) -> tuple[str, list[str]]:
    """Return a name and what stands in brackets behind it: ``Lys(Ac)`` gives Lys and Ac."""
    place = next((n for n, letter in enumerate(token) if letter in PAIRS and n), len(token))
    name, groups = token[:place], []
    while place < len(token):
        if token[place] not in PAIRS:
            return token, []
        end = closing(token, place)
        groups.append(token[place + 1 : end])
        place = end + 1
    return name, groups


def known_name(token: str) -> bool:
    """Tell whether a piece of text is the name of a residue of two letters or more, with or without brackets."""
    if token[:1] in PAIRS and closing(token, 0) == len(token) - 1:
        token = token[1:-1]
    try:
        return len(token) > 1 and (
            residue_code(token) is not None or residue_code(split_groups(token)[0]) is not None
        )
    except BetafoldError:
        return True


def join_names(tokens: list[str]) -> list[str]:
    """Join the pieces of names that hold hyphens: D, Phe becomes D-Phe."""
    joined, place = [], 0
    while place < len(tokens):
        for count in range(min(_LONGEST, len(tokens) - place), 0, -1):
            name = "-".join(tokens[place : place + count])
            last = tokens[place + count - 1]
            if count == 1 or (
                re.match(r"\w{3}", last) and not known_name(tokens[place]) and known_name(name)
            ):
                joined.append(name)
                place += count
                break
    return joined


def read_names(tokens: list[str], reading: Reading) -> None:
    """Add residues by their names to a reading; BetafoldError for one that is not known, with its position."""
    for token in tokens:
        end = closing(token, 0) if token[:1] in PAIRS else 0
        name, groups = split_groups(f"{token[1:end]}{token[end + 1 :]}") if end else split_groups(token)
        try:
            whole = residue_code(token) if groups else None
        except BetafoldError:
            whole = None
        reading.add_name(token if whole else name)
        for group in [] if whole else groups:
            reading.add_group(group)
    reading.upper = True


def three_letter(peptide: Peptide) -> str:
    """Return a peptide in three-letter notation, which `Peptide.parse` reads back to the same peptide."""
    names = preferred_names()
    return with_ends(peptide, [names[code] for code in peptide.residues], "-")
