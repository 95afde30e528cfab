"""A peptide chain as structure files hold it: names of residues and caps, their atoms, and bonds between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from betafold_mlx.peptide.residue_table import RESIDUES
from betafold_mlx.peptide.sequence import THREE_LETTER

CHAIN = "A"

_TAIL = tuple(f"C{number}" for number in range(2, 15))
CAP_ATOMS: Mapping[str, tuple[str, ...]] = {
    "ACE": ("C", "O", "CH3"),
    "FOR": ("C", "O"),
    "MYR": ("C1", "O1", *_TAIL),
    "NH2": ("N",),
    "NME": ("N", "C"),
}
"""The heavy atoms of the caps; of each the first is bonded to the chain, and its first letter is its element."""

CAP_BONDS: Mapping[str, tuple[tuple[str, str, int], ...]] = {
    "ACE": (("C", "O", 2), ("C", "CH3", 1)),
    "FOR": (("C", "O", 2),),
    "MYR": (("C1", "O1", 2), ("C1", "C2", 1), *((a, b, 1) for a, b in pairwise(_TAIL))),
    "NH2": (),
    "NME": (("N", "C", 1),),
}
"""Bonds of the caps and their orders."""

CAP_HYDROGENS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "ACE": {"CH3": ("H1", "H2", "H3")},
    "NH2": {"N": ("HN1", "HN2")},
    "NME": {"N": ("HN1",), "C": ("H1", "H2", "H3")},
}
"""Hydrogens on the atoms of the caps."""

_STANDARD = frozenset(THREE_LETTER.values())
_TYPES = {"L": "L-peptide linking", "D": "D-peptide linking", "": "peptide linking"}
_L_BY_DICTIONARY = frozenset({"AIB"})  # without a hand, and L in the dictionary


class Monomer(NamedTuple):
    """One position of a chain as it is written."""

    name: str  # of the component
    letter: str  # of the standard residue it comes from; ``X`` for a cap
    # author's number: 1 to L for the residues, so 0 for a cap before them and L + 1 for one after
    number: int

    @property
    def standard(self) -> bool:
        """One of the 20 amino acids: ATOM, not HETATM, and a bare letter in mmCIF sequences."""
        return self.name in _STANDARD

    @property
    def cap(self) -> bool:
        """No residue, and so without a prediction."""
        return self.name in CAP_ATOMS

    @property
    def type(self) -> str:
        """Of the component, as in ``_chem_comp.type``."""
        if self.cap:
            return "non-polymer"
        return _TYPES["L" if self.name in _L_BY_DICTIONARY else RESIDUES[self.name].hand]

    @property
    def parent(self) -> str | None:
        """Of a residue that is not standard, the one for which its letter stands."""
        return None if self.standard or self.cap else THREE_LETTER[self.letter]

    @property
    def ends(self) -> tuple[str, str]:
        """The atoms that are bonded to the position before and to the one behind."""
        return (CAP_ATOMS[self.name][0],) * 2 if self.cap else ("N", "C")

    @property
    def bonds(self) -> tuple[tuple[str, str, int], ...]:
        """Bonds between atoms of the position, and their orders, with those of an OXT and of hydrogens."""
        if self.cap:
            of = CAP_HYDROGENS.get(self.name, {})
            heavy = CAP_BONDS[self.name]
        else:
            kind = RESIDUES[self.name]
            of = {**kind.hydrogens, "N": (*kind.hydrogens.get("N", ()), "H2", "H3")}
            if self.name == "DLY":  # without its charge in the dictionary
                of["NZ"] = RESIDUES["LYS"].hydrogens["NZ"]
            heavy = (*kind.bonds, ("C", "OXT", 1))
        return (*heavy, *((parent, name, 1) for parent, names in of.items() for name in names))

    def element(self, atom: str) -> str:
        """Return the element of an atom in capitals."""
        if self.cap or atom == "OXT":
            return atom[0]
        return RESIDUES[self.name].elements.get(atom, "H").upper()


class End(NamedTuple):
    """An atom: the 0-based position in the chain, and its name."""

    position: int
    atom: str


class WrittenBond(NamedTuple):
    """A bond beyond those that a chain of residues has of itself."""

    first: End
    second: End
    length: float | None  # Angstrom, in model 1; None where one of the atoms is not written

    @property
    def disulfide(self) -> bool:
        """Between two sulfurs."""
        return self.first.atom == self.second.atom == "SG"


class WrittenChain(NamedTuple):
    """What both file formats say of a chain."""

    title: str  # printable ASCII
    chain: Sequence[Monomer]  # L residues, and caps where there are any
    names: Sequence[tuple[str, ...]]  # names of the n atoms that are written, by position
    # (M, n, 3) float64 Angstrom, rounded to 0.001, without -0; models are ranked, best first
    coordinates: np.ndarray
    b_factors: np.ndarray  # (M, n) float64, 0 to 100
    bonds: Sequence[WrittenBond] = ()  # disulfides first

    def partners(self) -> list[list[int]]:
        """Return for each written atom those that it is bonded to, from 0.

        The other end of a double bond stands there twice where one of its atoms is of no standard residue.
        """
        partners: list[list[int]] = []
        pairs = [bond[:2] for bond in self.bonds]
        for position, (monomer, names) in enumerate(zip(self.chain, self.names, strict=True)):
            start = len(partners)
            partners += [[start + k for k in row] for row in _partners_inside(monomer.name, names)]
            if position:
                before = End(position - 1, self.chain[position - 1].ends[1])
                pairs.append((before, End(position, monomer.ends[0])))
        for first, second in pairs:
            i, j = atom_index(self.names, first), atom_index(self.names, second)
            if i is not None and j is not None and j not in partners[i]:
                partners[i].append(j)
                partners[j].append(i)
        return partners


@lru_cache(maxsize=4096)
def _partners_inside(name: str, names: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
    """Return `WrittenChain.partners` of the atoms of a component, counted within it."""
    partners: list[list[int]] = [[] for _ in names]
    for first, second, order in Monomer(name, "", 0).bonds:
        if first in names and second in names:
            i, j = names.index(first), names.index(second)
            times = 1 if name in _STANDARD else order
            partners[i] += [j] * times
            partners[j] += [i] * times
    return tuple(map(tuple, partners))


def atom_index(names: Sequence[tuple[str, ...]], end: End) -> int | None:
    """Return the place of an atom among those of all positions, from 0; None where it is not there."""
    of_position = names[end.position]
    if end.atom not in of_position:
        return None
    return sum(map(len, names[: end.position])) + of_position.index(end.atom)


def monomers(residues: Sequence[str], n_cap: str | None = None, c_cap: str | None = None) -> list[Monomer]:
    """Return the positions of a chain from its N to its C end: residues, and caps where there are any."""
    chain = [Monomer(code, RESIDUES[code].parent, number) for number, code in enumerate(residues, start=1)]
    before = [Monomer(n_cap, "X", 0)] if n_cap else []
    behind = [Monomer(c_cap, "X", len(residues) + 1)] if c_cap else []
    return before + chain + behind


def written_chain(
    title: str,
    chain: Sequence[Monomer],
    names: Sequence[tuple[str, ...]],
    coordinates: np.ndarray,
    b_factors: np.ndarray,
    bonds: Sequence[tuple[End, End]] = (),
) -> WrittenChain:
    """Return a chain to be written, its bonds beyond the chain's own measured in model 1.

    `coordinates` are (M, n, 3) Angstrom of the named atoms, `b_factors` (M, P) of the positions; all else is as in
    `WrittenChain`.
    """
    first = coordinates[0].astype(np.float64)
    measured = []
    for pair in sorted(bonds, key=lambda pair: not pair[0].atom == pair[1].atom == "SG"):
        i, j = (atom_index(names, end) for end in pair)
        length = None if i is None or j is None else float(np.linalg.norm(first[i] - first[j]))
        measured.append(WrittenBond(*pair, length))
    return WrittenChain(
        title,
        chain,
        names,
        np.round(coordinates.astype(np.float64), 3) + 0.0,  # and no -0
        np.repeat(b_factors, [len(of_position) for of_position in names], axis=1),
        measured,
    )
