"""Peptide sequences: the alphabet, what counts as a peptide, and FASTA files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from betafold_mlx.errors import BetafoldError

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

MIN_LENGTH, MAX_LENGTH = 4, 32
"""Accepted peptide lengths."""
TRAINED_LENGTHS = (10, 30)
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
        4 to 32 letters of `ALPHABET`.
    cyclic : bool
        Closed head to tail: the C of the last residue is bonded to the N of the first.
    disulfides : tuple of (int, int)
        1-based pairs of cysteines, i < j, sorted, no cysteine twice.
    """

    sequence: str
    cyclic: bool = False
    disulfides: tuple[tuple[int, int], ...] = ()

    @classmethod
    def parse(cls, text: str, cyclic: bool = False, disulfides: Iterable[tuple[int, int]] = ()) -> Peptide:
        """Clean and check a sequence and its stated chemistry.

        Parameters
        ----------
        text : str
            One-letter codes in upper or lower case; spaces and line breaks are ignored.
        cyclic : bool
            Closed head to tail.
        disulfides : iterable of (int, int)
            1-based residue pairs in any order.

        Returns
        -------
        Peptide

        Raises
        ------
        BetafoldError
            Empty, too short or too long, a letter that is not one of the 20, a disulfide that is not between two
            different cysteines of the sequence, or a cysteine in two disulfides.
        """
        sequence = clean_letters(text, ALPHABET, f"one of the 20 standard residues ({ALPHABET})")
        if not MIN_LENGTH <= len(sequence) <= MAX_LENGTH:
            raise BetafoldError(
                f"{len(sequence)} residues: a peptide has {MIN_LENGTH} to {MAX_LENGTH} residues here"
            )
        return cls(sequence, cyclic, _checked_disulfides(sequence, disulfides))

    def __len__(self) -> int:
        return len(self.sequence)

    @property
    def ids(self) -> np.ndarray:
        """(L,) int32 residue ids."""
        return residue_ids(self.sequence)


def _checked_disulfides(sequence: str, pairs: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    seen: set[int] = set()
    checked = []
    for first, second in pairs:
        i, j = sorted((first, second))
        name = f"disulfide {first}-{second}"
        if i < 1 or j > len(sequence):
            raise BetafoldError(f"{name}: positions run from 1 to {len(sequence)}")
        if i == j:
            raise BetafoldError(f"{name}: a residue cannot bond to itself")
        for position in (i, j):
            if sequence[position - 1] != "C":
                raise BetafoldError(f"{name}: residue {position} is {sequence[position - 1]}, not C")
            if position in seen:
                raise BetafoldError(f"{name}: cysteine {position} is already in another disulfide")
            seen.add(position)
        checked.append((i, j))
    return tuple(sorted(checked))


def parse_pair(text: str) -> tuple[int, int]:
    """Return the 1-based residue pair written as ``I-J``.

    Raises
    ------
    BetafoldError
        Where the text has another form.
    """
    match = re.fullmatch(r"\s*([0-9]{1,4})\s*-\s*([0-9]{1,4})\s*", text, flags=re.ASCII)
    if match is None:
        raise BetafoldError(f"disulfide {text!r}: write a pair of positions as I-J, for example 1-15")
    return int(match[1]), int(match[2])


@dataclass(frozen=True)
class FastaRecord:
    """One record of a FASTA file, not yet checked.

    Attributes
    ----------
    id : str
        First word of the header; may be empty.
    description : str
        The rest of the header.
    text : str
        The sequence lines, joined.
    line : int
        1-based line number of the header.
    """

    id: str
    description: str
    text: str
    line: int

    def peptide(self) -> Peptide:
        """Check the record and return its peptide.

        The words ``cyclic`` and ``disulfides=1-15,5-19`` in the description state its chemistry.

        Raises
        ------
        BetafoldError
            As `Peptide.parse`.
        """
        cyclic, pairs = False, []
        for word in self.description.split():
            key, _, value = word.partition("=")
            if key.lower() == "cyclic" and value.lower() in ("", "true", "yes", "1"):
                cyclic = True
            elif key.lower() in ("disulfide", "disulfides") and value:
                pairs += [parse_pair(pair) for pair in value.split(",") if pair]
        return Peptide.parse(self.text, cyclic, pairs)


def parse_fasta(lines: Iterable[str]) -> Iterator[FastaRecord]:
    """Yield the records of FASTA text one by one, without holding the file in memory.

    Text before the first header is one record with an empty id, so that a bare sequence works too. Lines that
    start with ``;`` are comments.

    Parameters
    ----------
    lines : iterable of str
        Lines of the file, with or without their line breaks.

    Yields
    ------
    FastaRecord
        A header without sequence gives a record with empty text; the caller decides what that means.

    Raises
    ------
    BetafoldError
        For text with NUL characters: that is no FASTA file.
    """
    header: str | None = None
    start = 1
    parts: list[str] = []
    for number, line in enumerate(lines, start=1):
        if "\0" in line:
            raise BetafoldError("this is a binary file, not FASTA text")
        line = line.strip().lstrip("\ufeff")
        if line.startswith(">"):
            if header is not None or parts:
                yield _record(header, parts, start)
            header, parts, start = line[1:].strip(), [], number
        elif line and not line.startswith(";"):
            if header is None and not parts:
                start = number
            parts.append(line)
    if header is not None or parts:
        yield _record(header, parts, start)


def _record(header: str | None, parts: list[str], line: int) -> FastaRecord:
    words = (header or "").split(maxsplit=1)  # some files have a tab between id and description
    identifier, description = (*words, "", "")[:2]
    return FastaRecord(identifier, description, "".join(parts), line)
