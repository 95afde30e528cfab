"""Atoms that leave when a stated bond is made, and the OXT that stays where none is."""

from __future__ import annotations

from betafold_mlx.peptide.residue_table import RESIDUES
from betafold_mlx.peptide.sequence import Peptide


def leaving_atoms(peptide: Peptide) -> frozenset[tuple[int, str]]:
    """Return the heavy atoms that the stated bonds of a peptide cost it: 1-based places and names.

    An atom that carries hydrogens gives one of them for a bond: the sulfur of a cysteine, the nitrogen of a lysine.
    The carbon of an acid or an amide has none, and gives its OH or NH2: OD2 of Asp, OXT at the end of a chain.

    >>> from betafold_mlx.peptide.bonds import StatedBond
    >>> leaving_atoms(Peptide.parse("AKAAEA", bonds=[StatedBond(2, "NZ", 5, "CD")]))
    frozenset({(5, 'OE2')})
    """
    gone = set()
    for bond in peptide.bonds:
        for place, atom in ((bond.i, bond.atom_i), (bond.j, bond.atom_j)):
            if not place:
                continue  # the n-cap, whose CH3 gives a hydrogen
            kind = RESIDUES[peptide.residues[place - 1]]
            if atom == "C":
                gone.add((place, "OXT"))
            elif not kind.hydrogens.get(atom):
                gone |= {(place, other) for other in _groups_on(kind.code, atom)[-1:]}
    return frozenset(gone)


def open_end(peptide: Peptide) -> bool:
    """Tell whether the chain ends in a carboxylate, and so in an OXT: without a cap or a bond there."""
    ends = (
        ((bond.i, bond.atom_i) for bond in peptide.bonds),
        ((bond.j, bond.atom_j) for bond in peptide.bonds),
    )
    return peptide.c_cap is None and all((len(peptide), "C") not in of for of in ends)


def _groups_on(code: str, atom: str) -> list[str]:
    """Return the oxygens and nitrogens with hydrogens that hang on an atom by a single bond and on nothing else."""
    kind = RESIDUES[code]
    bonded = [name for *pair, _ in kind.bonds for name in pair]
    neighbours = [b if a == atom else a for a, b, order in kind.bonds if order == 1 and atom in (a, b)]
    return [
        name
        for name in neighbours
        if kind.elements[name] in ("O", "N") and kind.hydrogens.get(name) and bonded.count(name) == 1
    ]
