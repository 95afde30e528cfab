"""A peptide chain as structure files hold it: names of residues and caps, their atoms, and bonds between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from betafold_mlx.peptide.bonds import Disulfides
from betafold_mlx.peptide.sequence import D_THREE_LETTER, THREE_LETTER

CHAIN = "A"

RESIDUE_ATOMS = ("N", "CA", "C", "O", "CB")
CAP_ATOMS = {"ACE": ("C", "O", "CH3"), "NH2": ("N",)}
"""The atoms that are written, in their order; those of the caps are all their heavy atoms."""

_D_NAMES = frozenset(D_THREE_LETTER.values()) - {"GLY"}


class Monomer(NamedTuple):
    """One position of a chain as it is written.

    Attributes
    ----------
    name : str
        Of the component.
    letter : str
        Of the standard residue it comes from; ``X`` for a cap.
    number : int
        Author's number: 1 to L for the residues, so 0 for a cap before them and L + 1 for one after.
    """

    name: str
    letter: str
    number: int

    @property
    def standard(self) -> bool:
        """One of the 20 amino acids: ATOM, not HETATM, and a bare letter in mmCIF sequences."""
        return THREE_LETTER.get(self.letter) == self.name

    @property
    def cap(self) -> bool:
        """No residue, and so without a prediction."""
        return self.name in CAP_ATOMS

    @property
    def atoms(self) -> tuple[str, ...]:
        """Names of the atoms that are written."""
        return CAP_ATOMS.get(self.name, RESIDUE_ATOMS)

    @property
    def type(self) -> str:
        """Of the component, as in ``_chem_comp.type``."""
        if self.cap:
            return "non-polymer"
        if self.name == "GLY":
            return "peptide linking"
        return "D-peptide linking" if self.name in _D_NAMES else "L-peptide linking"


class Link(NamedTuple):
    """A bond from C of one position of a chain to N of another, beyond those that a chain of residues has of itself.

    Attributes
    ----------
    first, second : int
        0-based positions.
    length : float
        Angstrom.
    """

    first: int
    second: int
    length: float


def monomers(sequence: str, d_amino_acids: bool, n_cap: str | None, c_cap: str | None) -> list[Monomer]:
    """Return the positions of a chain from its N to its C end: residues, and caps where there are any."""
    names = D_THREE_LETTER if d_amino_acids else THREE_LETTER
    chain = [Monomer(names[letter], letter, number) for number, letter in enumerate(sequence, start=1)]
    before = [Monomer(n_cap, "X", 0)] if n_cap else []
    behind = [Monomer(c_cap, "X", len(sequence) + 1)] if c_cap else []
    return before + chain + behind


class WrittenAtom(NamedTuple):
    """One atom of a file.

    Attributes
    ----------
    position : int
        0-based position in the chain.
    monomer : Monomer
        That position.
    name : str
        Of the atom; its first letter is the element.
    x, y, z : float
        Angstrom, rounded to 0.001, without -0.
    b_factor : float
        0 to 100.
    """

    position: int
    monomer: Monomer
    name: str
    x: float
    y: float
    z: float
    b_factor: float


class WrittenChain(NamedTuple):
    """What both file formats say of a chain.

    Attributes
    ----------
    title : str
        Printable ASCII.
    chain : sequence of Monomer
        L residues, and caps where there are any.
    models : sequence of sequence of WrittenAtom
        The atoms of each of the M models, best first.
    disulfides : tuple of (int, int)
        1-based pairs of residues.
    links : sequence of Link
        Bonds that close a ring or hold a cap.
    """

    title: str
    chain: Sequence[Monomer]
    models: Sequence[Sequence[WrittenAtom]]
    disulfides: Disulfides = ()
    links: Sequence[Link] = ()


def written_atoms(
    chain: Sequence[Monomer], atoms: Sequence[np.ndarray], b_factors: Sequence[float]
) -> list[WrittenAtom]:
    """Return the atoms of a model in file order: all but the CB of glycine, and any CB that is NaN.

    `atoms` (n, 3), Angstrom, as `Monomer.atoms` names them, and `b_factors` are those of each position.
    """
    flat = np.round(np.concatenate(atoms).astype(np.float64), 3) + 0.0  # and no -0
    places = [(position, monomer, name) for position, monomer in enumerate(chain) for name in monomer.atoms]
    return [
        WrittenAtom(position, monomer, name, x, y, z, b_factors[position])
        for (position, monomer, name), (x, y, z) in zip(places, flat.tolist(), strict=True)
        if name != "CB" or not (monomer.letter == "G" or math.isnan(x))
    ]
