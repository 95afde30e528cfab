"""PDB archive entries: ids, lists of ids, and the check of a downloaded file."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from betafold_mlx.errors import BetafoldError
from betafold_mlx.gzipped import GZIP_MAGIC, MAX_BYTES

_CLASSIC = r"[1-9][a-z0-9]{3}"
_EXTENDED = r"pdb_[0-9a-z]{8}"
# bytes of an mmCIF file in which its name stands; in the archive's files it is the second item
_HEAD = 1 << 16
_CHUNK = 1 << 20


class EntryFileError(BetafoldError):
    """A file that is not the whole file of its entry."""


def entry_id(text: str) -> str:
    """Return the id of a PDB entry in lower case, with four characters wherever it has such an id.

    >>> entry_id("1LE0"), entry_id("PDB_00001LE0"), entry_id("pdb_10001le0")
    ('1le0', '1le0', 'pdb_10001le0')
    """
    name = text.strip().lower()
    found = re.fullmatch(f"(?:pdb_0000)?({_CLASSIC})|({_EXTENDED})", name, flags=re.ASCII)
    if found is None:
        raise BetafoldError(f"{text.strip()!r} is not a PDB id (as 1abc or pdb_00001abc)")
    return found[1] or found[2]


class EntryList(NamedTuple):
    """A list of entries."""

    entries: list[str]  # their ids as of `entry_id`, in the order of the list, each once
    problems: list[str]  # what in the list is no id, with the number of its line


def read_entry_list(lines: Iterable[str]) -> EntryList:
    """Read a list of PDB ids, one a line or with commas between them; ``#`` begins a comment.

    >>> read_entry_list(["# mine", "1LE0, 2evq", "", "1le0  # again", "1lee0"])
    EntryList(entries=['1le0', '2evq'], problems=["line 5: '1lee0' is not a PDB id (as 1abc or pdb_00001abc)"])
    """
    entries: dict[str, None] = {}
    problems = []
    for number, line in enumerate(lines, start=1):
        for word in line.partition("#")[0].replace(",", " ").split():
            try:
                entries.setdefault(entry_id(word))
            except BetafoldError as error:
                problems.append(f"line {number}: {error}")
    return EntryList(list(entries), problems)


def check_entry_file(path: Path, entry: str) -> None:
    """Check that a file is the gzipped mmCIF file of an entry, whole.

    The whole file is decompressed, which compares its checksum and its length with those that gzip keeps at the end.
    EntryFileError where it is cut off, damaged, no gzip file, no mmCIF, the file of another entry, or more than
    `gzipped.MAX_BYTES`; OSError where it cannot be read.
    """
    with path.open("rb") as raw:
        begin = raw.read(512)
        if not begin.startswith(GZIP_MAGIC):
            page = re.match(rb"\s*<(!doctype|html|\?xml)", begin, flags=re.IGNORECASE)
            raise EntryFileError("a web page" if page else "not a gzip file" if begin else "an empty file")
        raw.seek(0)
        try:
            with gzip.GzipFile(fileobj=raw) as file:
                head = file.read(_HEAD).decode("ascii", errors="replace")
                size = len(head)
                while (chunk := file.read(_CHUNK)) and size <= MAX_BYTES:
                    size += len(chunk)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise EntryFileError("a truncated or damaged gzip file") from error
    if size > MAX_BYTES:
        raise EntryFileError(f"more than {MAX_BYTES} bytes, larger than any structure file")
    name = re.search(r"^_entry\.id\s+['\"]?([^\s'\"]+)", head, flags=re.MULTILINE)
    name = name or re.search(r"\A(?:\s|#[^\n]*\n)*data_(\S+)", head, flags=re.IGNORECASE)
    if name is None:
        raise EntryFileError("not an mmCIF file of an entry")
    try:
        found = entry_id(name[1])
    except BetafoldError:
        found = repr(name[1][:40])
    if found != entry:
        raise EntryFileError(f"the file of another entry, {found}")
