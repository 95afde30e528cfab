"""Stated bonds of a cap: the thioether of a chloroacetyl group, and how the atoms of a cap count for the geometry.

A chloroacetyl group at the N terminus loses its chlorine to the thiol of a cysteine, as in the macrocycles of mRNA
display (Y. Goto et al., ACS Chem. Biol. 3, 120 (2008)). What stays has the atoms of an acetyl group: ACE, its CH3
bonded to SG. In a stated bond the cap is residue 0: ``0:CH3-7:SG``.

Where a bond ends at the cap, closing and packing take its atoms for a part of the first residue: a side chain on N,
turned by one more chi angle, which is phi.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from betafold_mlx.errors import BetafoldError
from betafold_mlx.peptide.bonds import CAP_ATOM, SULFUR, THIOLS, StatedBond
from betafold_mlx.peptide.residue_table import ACETYL, CAP_MARK, RESIDUES
from betafold_mlx.peptide.sequence import Peptide


def bond_chloroacetyl(residues: Sequence[str], bonds: Iterable[StatedBond]) -> tuple[StatedBond, str]:
    """Return the bond that a chloroacetyl group makes beside the stated ones, and a line that says so.

    BetafoldError where there is no thiol that is free, or several.
    """
    taken = {end for bond in bonds for end in ((bond.i, bond.atom_i), (bond.j, bond.atom_j))}
    free = [
        place
        for place, code in enumerate(residues, start=1)
        if code in THIOLS and (place, SULFUR) not in taken
    ]
    if not free:
        raise BetafoldError("chloroacetyl closes a ring with the thiol of a cysteine, and none is free here")
    if len(free) > 1:
        places = " or ".join(str(StatedBond(0, CAP_ATOM, place, SULFUR)) for place in free)
        raise BetafoldError(f"chloroacetyl can bond to several cysteines: write n-cap ACE and bond {places}")
    bond = StatedBond(0, CAP_ATOM, free[0], SULFUR)
    return bond, f"chloroacetyl read as bonded to the cysteine at {free[0]}: ACE with bond {bond}"


def has_cap_bond(peptide: Peptide) -> bool:
    """Tell whether a stated bond ends at the n-cap."""
    return any(bond.i == 0 for bond in peptide.bonds)


def with_cap_atoms(peptide: Peptide) -> Peptide:
    """Return a peptide for the geometry: its first residue holds the atoms of a cap that has a stated bond.

    The bonds are in the same order. Any other peptide is returned as it is.
    """
    if not has_cap_bond(peptide):
        return peptide
    bonds = tuple(
        bond._replace(i=1, atom_i=f"{bond.atom_i}{CAP_MARK}") if bond.i == 0 else bond
        for bond in peptide.bonds
    )
    return replace(peptide, residues=(f"{ACETYL}{peptide.residues[0]}", *peptide.residues[1:]), bonds=bonds)


def cap_column(peptide: Peptide) -> int:
    """Return which chi angle of the first residue of `with_cap_atoms` turns the cap, from 0."""
    return len(RESIDUES[peptide.residues[0]].chi)
