"""Cysteine frameworks: how peptides of known families bond their cysteines, by the spacing of these.

The table is `frameworks.tsv`: name, pattern, bonds and source of each. A pattern spans the first to the last cysteine;
in it ``.`` is any residue but cysteine. Bonds are pairs of cysteines, counted from 1 along the pattern.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from importlib.resources import files

from betafold_mlx.peptide.bonds import Disulfides


@dataclass(frozen=True)
class Framework:
    """A family of peptides with its own spacing of cysteines.

    Attributes
    ----------
    name : str
        Of the family.
    pattern : re.Pattern
        From the first to the last cysteine.
    bonds : tuple of (int, int)
        Cysteines that are bonded, from 0.
    source : str
        Where the bonds are reported, or the family is reviewed.
    """

    name: str
    pattern: re.Pattern[str]
    bonds: tuple[tuple[int, int], ...]
    source: str


@functools.cache
def known_frameworks() -> tuple[Framework, ...]:
    """Read the table."""
    text = files("betafold_mlx.fold").joinpath("frameworks.tsv").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    return tuple(
        Framework(
            name,
            re.compile(pattern.replace(".", "[^C]")),
            tuple((int(i) - 1, int(j) - 1) for i, j in (pair.split("-") for pair in bonds.split())),
            source,
        )
        for name, pattern, bonds, source in rows
    )


def match_frameworks(sequence: str, cyclic: bool = False) -> dict[Disulfides, tuple[Framework, ...]]:
    """Find the frameworks that a peptide's cysteines are spaced like.

    Parameters
    ----------
    sequence : str
        One-letter codes.
    cyclic : bool
        Closed head to tail: the pattern may begin at any of the cysteines.

    Returns
    -------
    dict of tuple of (int, int) to tuple of Framework
        Disulfides (1-based, sorted) and the frameworks that bond so.
    """
    cysteines = [place for place, letter in enumerate(sequence) if letter == "C"]
    found: dict[Disulfides, tuple[Framework, ...]] = {}
    for turn in range(len(cysteines) if cyclic else min(1, len(cysteines))):
        order = cysteines[turn:] + cysteines[:turn]
        length = (order[-1] - order[0]) % len(sequence) + 1
        core = (sequence[order[0] :] + sequence[: order[0]])[:length]
        for framework in known_frameworks():
            if framework.pattern.fullmatch(core):
                pairs = [sorted((order[i] + 1, order[j] + 1)) for i, j in framework.bonds]
                bonds = tuple(sorted((i, j) for i, j in pairs))
                if framework not in found.get(bonds, ()):
                    found[bonds] = (*found.get(bonds, ()), framework)
    return found
