"""The records of a library, one after another: checked, named, and fingerprinted as they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from betafold_mlx.errors import BetafoldError
from betafold_mlx.library.names import Names
from betafold_mlx.peptide.fasta import FastaRecord
from betafold_mlx.peptide.sequence import Peptide


class Entry(NamedTuple):
    """One record.

    Attributes
    ----------
    id : str
        As the user knows it: the FASTA id, or the sequence where there is none.
    line : int or None
        1-based line of its header; None for an error of the file itself.
    text : str
        The sequence as it stands there.
    checked : Peptide or BetafoldError
        What is to be folded, or what is wrong.
    name : str
        For its files, unique in the library; empty where there is nothing to fold.
    """

    id: str
    line: int | None
    text: str
    checked: Peptide | BetafoldError
    name: str


class Reader:
    """Reads a library once, from its beginning.

    Every reader of the same library gives its records the same names, whichever of them it then folds.

    Parameters
    ----------
    records : iterator of FastaRecord
        A `BetafoldError` that it raises, a file that is broken from there on, becomes the last entry.
    """

    def __init__(self, records: Iterator[FastaRecord]) -> None:
        self.count = 0
        self._digest = hashlib.sha256()
        self._names = Names()
        self._entries = self._read(records)

    def window(self, size: int) -> list[Entry]:
        """Return the next entries: fewer than `size` at the end, then none."""
        return list(islice(self._entries, size))

    def skip(self, count: int) -> None:
        """Read over entries; their names are given all the same."""
        for _ in islice(self._entries, count):
            pass

    @property
    def sha256(self) -> str:
        """Fingerprint of all that was read so far."""
        return self._digest.hexdigest()

    def _read(self, records: Iterator[FastaRecord]) -> Iterator[Entry]:
        while True:
            try:
                record = next(records, None)
            except BetafoldError as error:
                self._note("input", str(error))
                yield Entry("input", None, "", error, "")
                return
            if record is None:
                return
            self._note(record.id, record.description, record.text, str(record.line))
            yield self._entry(record)

    def _note(self, *words: str) -> None:
        self.count += 1
        self._digest.update(("\0".join(words) + "\n").encode())  # no FASTA record holds a NUL

    def _entry(self, record: FastaRecord) -> Entry:
        try:
            peptide = record.peptide()
        except BetafoldError as error:
            return Entry(record.id or f"record at line {record.line}", record.line, record.text, error, "")
        identifier = record.id or peptide.sequence
        return Entry(identifier, record.line, record.text, peptide, self._names.claim(identifier))
