"""Atoms of side chains that bonds are made with, where a notation names residues alone."""

from __future__ import annotations

from betafold_mlx.errors import BetafoldError
from betafold_mlx.peptide.bonds import StatedBond

_ATOMS = {
    "SG": "CYS DCY LE1 LEI NCY",
    "SE": "SEC",
    "SD": "KCY",
    "NZ": "LYS DLY",
    "NE": "ORN ORD",
    "ND": "DAB",
    "NG": "DPP",
    "CG": "ASP DAS",
    "CD": "GLU DGL EME",
    "OG": "SER DSN DSE",
    "OG1": "THR DTH ALO 2TL",
    "OH": "TYR DTY YNM MTY",
    "O3": "HSE",
    "OD1": "HYP HZP",
}
SIDE_CHAIN_ATOMS = {code: atom for atom, codes in _ATOMS.items() for code in codes.split()}
"""CCD code -> the atom that a side chain is bonded by: R3 of HELM."""


def side_chain_bond(residues: list[str], first: int, second: int, what: str) -> StatedBond:
    """Return the bond that is meant between two residues, 1-based, of which the atoms are not named.

    BetafoldError where their side chains do not make one.
    """
    i, j = sorted((first, second))
    atoms = [SIDE_CHAIN_ATOMS.get(residues[place - 1]) for place in (i, j)]
    for one, other in (atoms, atoms[::-1]):
        if one is not None and other is not None and _joins(one, other):
            return StatedBond(i, atoms[0] or "", j, atoms[1] or "")
    if i == 1 and atoms[1] in ("CG", "CD"):  # the side chain of residue 1 has no amine: its own N is meant
        return StatedBond(1, "N", j, atoms[1])
    raise BetafoldError(
        f"{what}: no bond is usual between {residues[i - 1]} at {i} and {residues[j - 1]} at {j}: "
        "name the atoms, as in bond 3:NZ-7:CD"
    )


def _joins(one: str, other: str) -> bool:
    """Tell whether two atoms make a disulfide, an amide, an ester or a thioester."""
    sulfur = ("SG", "SE", "SD")
    return (one in sulfur and other in sulfur) or (one in ("CG", "CD") and other not in ("CG", "CD"))
