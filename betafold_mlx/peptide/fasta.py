"""FASTA: records of a text or a file, plain or gzipped."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from betafold_mlx.errors import BetafoldError
from betafold_mlx.gzipped import open_binary
from betafold_mlx.peptide.header_words import header_chemistry
from betafold_mlx.peptide.sequence import Peptide

T = TypeVar("T")


@dataclass(frozen=True)
class FastaRecord:
    """One record of a FASTA file, not yet checked."""

    id: str  # first word of the header; may be empty
    description: str  # the rest of the header
    text: str  # the sequence lines, joined: as they are where they hold letters alone, else with a space
    line: int  # 1-based line number of the header

    @property
    def name(self) -> str:
        """The id, or where the record is."""
        return self.id or f"record at line {self.line}"

    def peptide(self) -> Peptide:
        """Check the record and return its peptide.

        Words of the description state its chemistry: see `betafold_mlx.peptide.header_words.header_chemistry`.
        BetafoldError as `Peptide.parse`, and for a word of the description that is wrong.
        """
        behind = self.id.partition("|")[2]  # >name|cyclic|disulfides=3-11
        return Peptide.parse(self.text, **header_chemistry(f"{behind}|{self.description}"))


def checked_records(
    records: Iterable[FastaRecord], check: Callable[[FastaRecord], T]
) -> Iterator[tuple[FastaRecord | None, T | BetafoldError]]:
    """Yield each record with what `check` makes of it, or what is wrong with it.

    Where the file itself is broken, an error without a record comes last.
    """
    try:
        for record in records:
            try:
                yield record, check(record)
            except BetafoldError as error:
                yield record, error
    except BetafoldError as error:
        yield None, error


def parse_fasta(lines: Iterable[str], name: str = "this") -> Iterator[FastaRecord]:
    """Yield the records of FASTA text, line by line, one by one, without holding the file in memory.

    Before the first header each line is a record with an empty id: lists of peptides, one a line, are common, and
    peptides of up to 50 residues are not broken into lines. Lines that start with ``;`` are comments. A header
    without sequence gives a record with empty text; the caller decides what that means. BetafoldError, with the name
    of the file, for text with NUL characters: that is no FASTA file.
    """
    header: str | None = None
    start = 1
    parts: list[str] = []
    for number, line in enumerate(lines, start=1):
        if "\0" in line:
            raise BetafoldError(f"{name} is a binary file, not FASTA text")
        line = line.strip().lstrip("\ufeff")
        if line.startswith(">"):
            if header is not None:
                yield _record(header, parts, start)
            header, parts, start = line[1:].strip(), [], number
        elif line and not line.startswith(";"):
            if header is None:
                yield _record(None, [line], number)
            else:
                parts.append(line)
    if header is not None:
        yield _record(header, parts, start)


def _record(header: str | None, parts: list[str], line: int) -> FastaRecord:
    words = (header or "").split(maxsplit=1)  # some files have a tab between id and description
    identifier, description = (*words, "", "")[:2]
    letters = all(part.rstrip("*").isalpha() for part in parts)
    return FastaRecord(identifier, description, ("" if letters else " ").join(parts), line)


def read_fasta(source: str) -> Iterator[FastaRecord]:
    """Yield the records of a FASTA file, plain or gzipped, or of standard input (``-``).

    BetafoldError for a binary or damaged file, or one that cannot be read; the records before the damage come first.
    """
    # A letter of another encoding must not cost the file: it spoils no more than its own word.
    with (
        open_binary(None if source == "-" else Path(source)) as binary,
        io.TextIOWrapper(binary, encoding="utf-8", errors="replace") as text,
    ):
        yield from parse_fasta(text, "standard input" if source == "-" else source)


def count_fasta(source: str) -> int | None:
    """Return about how many records a FASTA file has; None of what can be read once only, and where it is damaged."""
    try:
        if source == "-" or not Path(source).is_file():
            return None
        with open_binary(Path(source)) as lines:
            return sum(line.startswith(b">") for line in lines)
    except (OSError, BetafoldError):
        return None
