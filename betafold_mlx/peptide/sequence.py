"""Peptides: the alphabet, allowed lengths, and residues with their caps and bonds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from betafold_mlx.errors import BetafoldError
from betafold_mlx.peptide.bonds import (
    Disulfides,
    StatedBond,
    disulfide_bond,
    ring_bond,
)
from betafold_mlx.peptide.header_words import chemistry_words
from betafold_mlx.peptide.residue_table import RESIDUES

ALPHABET = "ACDEFGHIKLMNPQRSTVWY"
"""The 20 standard amino acids; the position of a letter is its residue id everywhere in the package."""

THREE_LETTER = dict(
    zip(
        ALPHABET,
        [
            *("ALA", "CYS", "ASP", "GLU", "PHE", "GLY", "HIS", "ILE", "LYS", "LEU"),
            *("MET", "ASN", "PRO", "GLN", "ARG", "SER", "THR", "VAL", "TRP", "TYR"),
        ],
        strict=True,
    )
)
"""One-letter code -> three-letter code."""

D_THREE_LETTER = dict(
    zip(
        ALPHABET,
        [
            *("DAL", "DCY", "DAS", "DGL", "DPN", "GLY", "DHI", "DIL", "DLY", "DLE"),
            *("MED", "DSG", "DPR", "DGN", "DAR", "DSN", "DTH", "DVA", "DTR", "DTY"),
        ],
        strict=True,
    )
)
"""One-letter code -> name of the D amino acid in the wwPDB Chemical Component Dictionary. Glycine has no hand."""

STANDARD = frozenset(THREE_LETTER.values()) | frozenset(D_THREE_LETTER.values())
"""Codes of the 20 standard residues and of their D forms."""

MIN_LENGTH, MAX_LENGTH = 4, 50
"""Accepted peptide lengths."""
TRAINED_LENGTHS = (8, 50)
"""Lengths that the models are trained on; outside them a fold carries a warning."""

_INDEX = np.full(128, -1, dtype=np.int32)
_INDEX[[ord(letter) for letter in ALPHABET]] = np.arange(len(ALPHABET))


def residue_ids(sequence: str) -> np.ndarray:
    """Return the residue ids (L,) int32, positions in `ALPHABET`, of a sequence of its upper-case letters.

    BetafoldError for another letter. (An out-of-range id would read garbage on the device, so it stops here.)
    """
    try:
        ids = _INDEX[np.frombuffer(sequence.encode("ascii"), dtype=np.uint8)]
    except (UnicodeEncodeError, IndexError):
        ids = np.array([-1])
    if (ids < 0).any():
        raise BetafoldError(f"not a sequence of the 20 standard residues: {sequence[:40]!r}")
    return ids


def clean_letters(text: str, letters: str, what: str) -> str:
    """Return a sequence, as the user wrote it, without white space and in upper case: one or more of some letters.

    `what` says in the message what these are. BetafoldError for an empty one, or another letter, with its position.
    """
    sequence = "".join(text.split())
    if not sequence:
        raise BetafoldError("the sequence is empty")
    for position, letter in enumerate(sequence, start=1):
        # Checked before the case is changed: the upper case of some letters that are no residue, \u0131 or \u00df, is.
        if not (letter.isascii() and letter.upper() in letters):
            raise BetafoldError(f"{letter!r} at position {position} is not {what}")
    return sequence.upper()


@dataclass(frozen=True)
class Peptide:
    """A peptide: residues, terminal caps, and covalent bonds beyond those of the chain.

    Use `Peptide.parse` for text from outside: it cleans and checks. `Peptide.of` makes one of the 20 standard
    residues without a check.

    Attributes
    ----------
    residues : tuple of str
        Codes of the wwPDB Chemical Component Dictionary, 4 to 50: ``ALA``, ``DPN``, ``AIB``.
    n_cap, c_cap : str or None
        Codes of the groups before the first residue and after the last, ``ACE`` and ``NH2``; None for free ends.
    bonds : tuple of StatedBond
        Sorted: a ring, disulfides, and any other pair of atoms.
    notes : tuple of str
        What a reader of the text should know of how it was read, a line each; not a part of the molecule.
    """

    residues: tuple[str, ...]
    n_cap: str | None = None
    c_cap: str | None = None
    bonds: tuple[StatedBond, ...] = ()
    notes: tuple[str, ...] = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.residues, str):
            raise TypeError("residues are CCD codes: for letters use Peptide.of or Peptide.parse")

    @classmethod
    def of(
        cls,
        sequence: str,
        cyclic: bool = False,
        disulfides: Iterable[tuple[int, int]] = (),
        d_amino_acids: bool = False,
        n_cap: str | None = None,
        c_cap: str | None = None,
    ) -> Peptide:
        """Return the peptide of standard residues with these letters of `ALPHABET`; nothing is checked.

        The arguments are those of `Peptide.parse`.
        """
        names = D_THREE_LETTER if d_amino_acids else THREE_LETTER
        bonds = [disulfide_bond(i, j) for i, j in disulfides]
        bonds += [ring_bond(len(sequence))] if cyclic else []
        return cls(tuple(names[letter] for letter in sequence), n_cap, c_cap, tuple(sorted(bonds)))

    @classmethod
    def parse(
        cls,
        text: str,
        cyclic: bool = False,
        disulfides: Iterable[tuple[int, int]] = (),
        d_amino_acids: bool = False,
        n_cap: str | None = None,
        c_cap: str | None = None,
        bonds: Iterable[StatedBond] = (),
        residues: Mapping[int, str] | None = None,
        notes: Iterable[str] = (),
    ) -> Peptide:
        """Read and check a peptide and its stated chemistry.

        Parameters
        ----------
        text : str
            On one line in one-letter codes, three-letter codes or HELM: see "What fold reads" in docs/fold.md. Groups
            at the ends, rings and bonds may be a part of it.
        cyclic : bool
            Closed head to tail.
        disulfides : iterable of (int, int)
            1-based residue pairs in any order.
        d_amino_acids : bool
            The letters stand for D amino acids.
        n_cap, c_cap : str, optional
            ``ACE`` and ``NH2``, or other names of them as ``acetyl``; ``none`` is the same as None.
        bonds : iterable of StatedBond
            Further bonds between named atoms.
        residues : mapping of int to str, optional
            CCD codes of residues that are others than their letters say, by 1-based positions.
        notes : iterable of str
            Notes to keep with those of the reading.

        Returns
        -------
        Peptide
            With a line in `notes` for what could be meant otherwise.

        Raises
        ------
        BetafoldError
            Empty, too short or too long, a residue that is not known, a disulfide that is not between two
            different cysteines of the sequence, a cysteine in two disulfides, an unknown cap or one on a ring, or a
            bond that cannot be.
        """
        from betafold_mlx.peptide.notation import read_peptide  # which makes a Peptide

        return read_peptide(
            text,
            cyclic=cyclic,
            disulfides=disulfides,
            d_amino_acids=d_amino_acids,
            n_cap=n_cap,
            c_cap=c_cap,
            bonds=bonds,
            residues=residues,
            notes=notes,
        )

    def with_disulfides(self, pairs: Iterable[tuple[int, int]]) -> Peptide:
        """Return the peptide with these disulfides instead of its own."""
        others = [bond for bond in self.bonds if not bond.disulfide]
        return replace(self, bonds=tuple(sorted([*others, *(disulfide_bond(i, j) for i, j in pairs)])))

    def __len__(self) -> int:
        return len(self.residues)

    @cached_property
    def sequence(self) -> str:
        """Letters of `ALPHABET`: the standard residues that stand for these, which is what a network sees."""
        return "".join(RESIDUES[code].parent for code in self.residues)

    @property
    def ids(self) -> np.ndarray:
        """(L,) int32 residue ids."""
        return residue_ids(self.sequence)

    @property
    def cyclic(self) -> bool:
        """Closed head to tail: the C of the last residue is bonded to the N of the first."""
        return ring_bond(len(self)) in self.bonds

    @property
    def disulfides(self) -> Disulfides:
        """1-based pairs of residues bonded by their sulfurs, i < j, sorted."""
        return tuple((bond.i, bond.j) for bond in self.bonds if bond.disulfide)

    @property
    def other_bonds(self) -> tuple[StatedBond, ...]:
        """The stated bonds that are neither a disulfide nor the ring."""
        ring = ring_bond(len(self))
        return tuple(bond for bond in self.bonds if bond != ring and not bond.disulfide)

    @property
    def d_residues(self) -> np.ndarray:
        """(L,) bool: which residues are D."""
        return np.array([RESIDUES[code].hand == "D" for code in self.residues], dtype=bool)

    @property
    def d_amino_acids(self) -> bool:
        """Every residue that has a hand is D, and there is one: the mirror image of an L peptide."""
        hands = {RESIDUES[code].hand for code in self.residues}
        return "D" in hands and "L" not in hands

    def reflected(self) -> Peptide:
        """Return an all-D peptide of standard residues as its L peptide."""
        return replace(self, residues=tuple(THREE_LETTER[letter] for letter in self.sequence))

    @property
    def modified(self) -> tuple[int, ...]:
        """1-based positions of residues that are not one of the 20 standard ones or their D forms."""
        return tuple(place for place, code in enumerate(self.residues, start=1) if code not in STANDARD)

    @property
    def name(self) -> str:
        """The sequence, or where it says too little the residues as `one_letter` writes them."""
        from betafold_mlx.peptide.one_letter import residue_letters

        plain = not self.modified and (self.d_amino_acids or not self.d_residues.any())
        return self.sequence if plain else "".join(residue_letters(self))

    def one_letter(self) -> str:
        """Return the peptide in one-letter notation; `parse` reads it back."""
        from betafold_mlx.peptide.one_letter import one_letter

        return one_letter(self)

    def three_letter(self) -> str:
        """Return the peptide in three-letter notation; `parse` reads it back."""
        from betafold_mlx.peptide.three_letter import three_letter

        return three_letter(self)

    def helm(self) -> str:
        """Return the peptide in HELM; `parse` reads it back. BetafoldError for a bond that HELM cannot say."""
        from betafold_mlx.peptide.helm import helm

        return helm(self)

    @property
    def chemistry(self) -> str:
        """What the letters do not show, in the words of a FASTA header; empty for a plain chain of L residues."""
        names = D_THREE_LETTER if self.d_amino_acids else THREE_LETTER
        codes = enumerate(zip(self.residues, self.sequence, strict=True), start=1)
        return chemistry_words(
            self.cyclic,
            self.disulfides,
            self.d_amino_acids,
            self.n_cap,
            self.c_cap,
            self.other_bonds,
            {place: code for place, (code, letter) in codes if code != names[letter]},
        )
