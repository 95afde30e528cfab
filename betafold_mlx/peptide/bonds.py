"""Stated covalent bonds between named atoms of a peptide."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from betafold_mlx.errors import BetafoldError
from betafold_mlx.peptide.residue_table import RESIDUES

Disulfides = tuple[tuple[int, int], ...]

SULFUR = "SG"
"""The atom of a cysteine that a disulfide bonds."""

CAP_ATOM = "CH3"
"""The atom of the cap ACE that a bond can end at: the carbon of chloroacetyl that had the chlorine."""

THIOLS = frozenset({"CYS", "DCY", "LE1", "LEI", "NCY"})
"""Residues whose `SULFUR` can be in a disulfide: cysteine, penicillamine, N-methylcysteine."""


class StatedBond(NamedTuple):
    """A bond between atoms of two residues, 1-based, i < j; atom names are those of the CCD. Residue 0 is the n-cap."""

    i: int
    atom_i: str
    j: int
    atom_j: str

    @property
    def disulfide(self) -> bool:
        """Between two sulfurs."""
        return self.atom_i == self.atom_j == SULFUR

    def __str__(self) -> str:
        return f"{self.i}:{self.atom_i}-{self.j}:{self.atom_j}"


def ring_bond(length: int) -> StatedBond:
    """Return the bond that closes a chain of `length` residues head to tail."""
    return StatedBond(1, "N", length, "C")


def disulfide_bond(i: int, j: int) -> StatedBond:
    """Return the bond between the sulfurs of residues i and j."""
    return StatedBond(min(i, j), SULFUR, max(i, j), SULFUR)


def parse_pair(text: str) -> tuple[int, int]:
    """Return the 1-based residue pair written as ``I-J``; BetafoldError for another form."""
    match = re.fullmatch(r"\s*([0-9]{1,4})\s*-\s*([0-9]{1,4})\s*", text, flags=re.ASCII)
    if match is None:
        raise BetafoldError(f"disulfide {text[:40]!r}: write a pair of positions as I-J, for example 1-15")
    return int(match[1]), int(match[2])


def parse_bond(text: str) -> StatedBond:
    """Return the bond written as ``I:ATOM-J:ATOM``, its ends in order; BetafoldError for another form."""
    end = r"\s*([0-9]{1,4})\s*:\s*([A-Za-z][A-Za-z0-9']{0,3})\s*"
    match = re.fullmatch(f"{end}-{end}", text, flags=re.ASCII)
    if match is None:
        raise BetafoldError(f"bond {text[:40]!r}: write two atoms as I:ATOM-J:ATOM, for example 3:NZ-7:CD")
    one, other = sorted([(int(match[1]), match[2].upper()), (int(match[3]), match[4].upper())])
    return StatedBond(*one, *other)


def checked_disulfides(residues: Sequence[str], pairs: Iterable[tuple[int, int]]) -> Disulfides:
    """Return the disulfides of residues (CCD codes), i < j, sorted, from 1-based pairs in any order.

    BetafoldError for a pair that is not between two different cysteines of the peptide, or a cysteine in two pairs.
    """
    seen: set[int] = set()
    checked = []
    for first, second in pairs:
        i, j = sorted((first, second))
        name = f"disulfide {first}-{second}"
        if i < 1 or j > len(residues):
            raise BetafoldError(f"{name}: positions run from 1 to {len(residues)}")
        if i == j:
            raise BetafoldError(f"{name}: a residue cannot bond to itself")
        for position in (i, j):
            if residues[position - 1] not in THIOLS:
                raise BetafoldError(f"{name}: residue {position} is {residues[position - 1]}, not CYS")
            if position in seen:
                raise BetafoldError(f"{name}: cysteine {position} is already in another disulfide")
            seen.add(position)
        checked.append((i, j))
    return tuple(sorted(checked))


def checked_bonds(
    residues: Sequence[str], n_cap: str | None, c_cap: str | None, bonds: Iterable[StatedBond]
) -> tuple[StatedBond, ...]:
    """Return the stated bonds of residues (CCD codes), sorted, each once; caps leave no room for another bond there.

    BetafoldError for a bond outside the peptide or within a residue, an atom that is not there, or one that is bonded
    already.
    """
    length = len(residues)
    taken = {(1, "N"): "the n-cap"} if n_cap else {}
    taken |= {(length, "C"): "the c-cap"} if c_cap else {}
    checked = sorted(set(bonds))
    for bond in checked:
        if bond.i == 0 and (n_cap, bond.atom_i) != ("ACE", CAP_ATOM):
            raise BetafoldError(
                f"bond {bond}: residue 0 is the n-cap, of which {CAP_ATOM} of ACE alone can be bonded"
            )
        if not 0 <= bond.i <= bond.j <= length:
            raise BetafoldError(f"bond {bond}: positions run from 1 to {length}")
        if bond.i == bond.j:
            raise BetafoldError(f"bond {bond}: a residue cannot bond to itself")
        for place, atom in ((bond.i, bond.atom_i), (bond.j, bond.atom_j)):
            atoms = RESIDUES[residues[place - 1]].atoms if place else (atom,)
            if atom not in atoms:
                raise BetafoldError(
                    f"bond {bond}: {residues[place - 1]} at {place} has no atom {atom}: it has {', '.join(atoms)}"
                )
            in_chain = (atom == "N" and place > 1) or (atom == "C" and place < length)
            other = "its neighbour in the chain" if in_chain else taken.get((place, atom))
            if other:
                raise BetafoldError(f"bond {bond}: {atom} of residue {place} is already bonded to {other}")
            taken[place, atom] = f"another residue ({bond})"
    return tuple(checked)
