"""The records of a library: checked, named, and cut into parts as they are read."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from betafold_mlx.errors import BetafoldError
from betafold_mlx.fold.foldable import check_foldable
from betafold_mlx.fold.output import safe_name
from betafold_mlx.peptide.fasta import FastaRecord, checked_records
from betafold_mlx.peptide.sequence import Peptide


class Entry(NamedTuple):
    """One record of a library."""

    id: str  # as the user knows it: the FASTA id, or the sequence where there is none
    line: int | None  # 1-based line of its header; None for an error of the file itself
    text: str  # the sequence as it is written there
    checked: Peptide | BetafoldError  # what is to be folded, or what is wrong
    name: str  # for its files, unique in the library; empty where there is nothing to fold


class UniqueNames:
    """File names, each given to one record only: ``a``, ``a_2``, ``a_3`` ...

    Names that differ in case only count as equal, as they do on some file systems. They are kept in a temporary
    database on disk, so a million of them take no memory.
    """

    def __init__(self) -> None:
        self._names = sqlite3.connect("", check_same_thread=False)
        self._names.execute("CREATE TABLE names (name TEXT PRIMARY KEY, number INTEGER) WITHOUT ROWID")

    def claim(self, identifier: str) -> str:
        """Return a file name (`betafold_mlx.fold.output.safe_name`) that was not returned before."""
        base = name = safe_name(identifier)
        number = self._number(base)
        while self._number(name):
            number += 1
            name = f"{base}_{number}"
        self._set(name, 1)
        if number:
            self._set(base, number)
        return name

    def _number(self, name: str) -> int:
        """Return the last number that was given to a name, 0 where it is free."""
        query = "SELECT number FROM names WHERE name = ?"
        row = self._names.execute(query, (name.casefold(),)).fetchone()
        return 0 if row is None else int(row[0])

    def _set(self, name: str, number: int) -> None:
        self._names.execute("INSERT OR REPLACE INTO names VALUES (?, ?)", (name.casefold(), number))


def read_entries(records: Iterable[FastaRecord]) -> Iterator[Entry]:
    """Check and name records one after another.

    Parameters
    ----------
    records : iterable of FastaRecord
        A `BetafoldError` that it raises (the file is broken from there on) becomes the last entry.
    """
    names = UniqueNames()
    for record, checked in checked_records(records, lambda record: check_foldable(record.peptide())):
        if record is None:
            yield Entry("input", None, "", checked, "")
        elif isinstance(checked, BetafoldError):
            yield Entry(record.name, record.line, record.text, checked, "")
        else:
            identifier = record.id or checked.name
            yield Entry(identifier, record.line, record.text, checked, names.claim(identifier))


def in_parts(entries: Iterator[Entry], size: int) -> Iterator[list[Entry]]:
    """Yield the entries `size` at a time."""
    while part := list(islice(entries, size)):
        yield part


def fingerprint(entries: Iterable[Entry]) -> str:
    """Return the SHA-256 of what decides how a part is folded and written."""
    digest = hashlib.sha256()
    for entry in entries:
        digest.update(repr((entry.id, entry.line, entry.text, entry.name, entry.checked)).encode())
    return digest.hexdigest()
