"""Peptides: the alphabet, allowed lengths, and a sequence with its stated chemistry."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from betafold_mlx.errors import BetafoldError
from betafold_mlx.peptide.chemistry import (
    Disulfides,
    checked_caps,
    checked_disulfides,
    chemistry_words,
)

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

MIN_LENGTH, MAX_LENGTH = 4, 50
"""Accepted peptide lengths."""
TRAINED_LENGTHS = (8, 50)
"""Lengths that the models are trained on; outside them a fold carries a warning."""

_INDEX = np.full(128, -1, dtype=np.int32)
_INDEX[[ord(letter) for letter in ALPHABET]] = np.arange(len(ALPHABET))


def residue_ids(sequence: str) -> np.ndarray:
    """Return the residue ids of a sequence of standard letters.

    Parameters
    ----------
    sequence : str
        Upper-case letters of `ALPHABET`, length L.

    Returns
    -------
    numpy.ndarray
        (L,) int32, positions in `ALPHABET`.

    Raises
    ------
    BetafoldError
        For a letter outside `ALPHABET`. (An out-of-range id would read garbage on the device, so it stops here.)
    """
    try:
        ids = _INDEX[np.frombuffer(sequence.encode("ascii"), dtype=np.uint8)]
    except (UnicodeEncodeError, IndexError):
        ids = np.array([-1])
    if (ids < 0).any():
        raise BetafoldError(f"not a sequence of the 20 standard residues: {sequence[:40]!r}")
    return ids


def clean_letters(text: str, letters: str, what: str) -> str:
    """Return a sequence without white space and in upper case.

    Parameters
    ----------
    text : str
        As the user wrote it.
    letters : str
        The upper-case ASCII letters that may occur.
    what : str
        What they are, for the message.

    Returns
    -------
    str
        At least one letter, all of `letters`.

    Raises
    ------
    BetafoldError
        Empty, or another letter, with its position.
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
    """A peptide and the chemistry that its letters do not show.

    Use `Peptide.parse` for text from outside: it cleans and checks.

    Attributes
    ----------
    sequence : str
        4 to 50 letters of `ALPHABET`.
    cyclic : bool
        Closed head to tail: the C of the last residue is bonded to the N of the first.
    disulfides : tuple of (int, int)
        1-based pairs of cysteines, i < j, sorted, no cysteine twice.
    d_amino_acids : bool
        Every residue but glycine is the D amino acid of its letter: the mirror image of the L peptide.
    n_cap, c_cap : str or None
        ``ACE`` before the first residue, ``NH2`` after the last; None for free ends. A ring has none.
    """

    sequence: str
    cyclic: bool = False
    disulfides: Disulfides = ()
    d_amino_acids: bool = False
    n_cap: str | None = None
    c_cap: str | None = None

    @classmethod
    def parse(
        cls,
        text: str,
        cyclic: bool = False,
        disulfides: Iterable[tuple[int, int]] = (),
        d_amino_acids: bool = False,
        n_cap: str | None = None,
        c_cap: str | None = None,
    ) -> Peptide:
        """Clean and check a sequence and its stated chemistry.

        Parameters
        ----------
        text : str
            One-letter codes in upper or lower case; spaces and line breaks are ignored.
        cyclic : bool
            Closed head to tail.
        disulfides : iterable of (int, int)
            1-based residue pairs in any order.
        d_amino_acids : bool
            The letters stand for D amino acids.
        n_cap, c_cap : str, optional
            ``ACE`` and ``NH2`` in either case; ``none`` is the same as None.

        Returns
        -------
        Peptide

        Raises
        ------
        BetafoldError
            Empty, too short or too long, a letter that is not one of the 20, a disulfide that is not between two
            different cysteines of the sequence, a cysteine in two disulfides, an unknown cap or one on a ring.
        """
        sequence = clean_letters(text, ALPHABET, f"one of the 20 standard residues ({ALPHABET})")
        if not MIN_LENGTH <= len(sequence) <= MAX_LENGTH:
            raise BetafoldError(
                f"{len(sequence)} residues: a peptide has {MIN_LENGTH} to {MAX_LENGTH} residues here"
            )
        pairs = checked_disulfides(sequence, disulfides)
        return cls(sequence, cyclic, pairs, d_amino_acids, *checked_caps(n_cap, c_cap, cyclic))

    def __len__(self) -> int:
        return len(self.sequence)

    @property
    def ids(self) -> np.ndarray:
        """(L,) int32 residue ids."""
        return residue_ids(self.sequence)

    @property
    def chemistry(self) -> str:
        """The stated chemistry in the words of a FASTA header; empty for a plain chain of L residues."""
        return chemistry_words(self.cyclic, self.disulfides, self.d_amino_acids, self.n_cap, self.c_cap)
