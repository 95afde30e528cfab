"""A folder of files of the PDB archive: where they come from, how they are named, and which the archive lacks."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import write_text
from betafold_mlx.structure.entry import read_entry_list
from betafold_mlx.structure.rawfile import read_lines

DEFAULT_URL = "https://files.rcsb.org/download/{id}.cif.gz"
"""RCSB's file download service (https://www.rcsb.org/docs/programmatic-access/file-download-services)."""

MISSING_FILE = "missing.txt"

_SOURCE = "# at "


def check_url(template: str) -> str:
    """Return a template of web addresses where it is one.

    Parameters
    ----------
    template : str
        With ``{id}`` in the place of an entry's id, in lower case. ``{middle}`` stands for the two characters that
        name the entry's folder in the archive's own layout (``le`` of 1le0):
        ``https://files.wwpdb.org/pub/pdb/data/structures/divided/mmCIF/{middle}/{id}.cif.gz``.

    Raises
    ------
    BetafoldError
        It is none.
    """
    if not re.fullmatch(r"https?://[!-~]+", template) or "{id}" not in template:
        raise BetafoldError(f"{template!r} is no address of files: write one like {DEFAULT_URL}")
    return template


def entry_url(template: str, entry: str) -> str:
    """Return the address of an entry's file.

    Examples
    --------
    >>> entry_url("https://example.org/{middle}/{id}.cif.gz", "1le0")
    'https://example.org/le/1le0.cif.gz'
    >>> entry_url("https://example.org/{middle}/{id}.cif.gz", "pdb_10001le0")
    'https://example.org/le/pdb_10001le0.cif.gz'
    """
    return template.replace("{middle}", entry[-3:-1]).replace("{id}", entry)


def entry_path(folder: Path, entry: str) -> Path:
    """Return where an entry's file lies: in one folder, which `dataset build` reads as it is."""
    return folder / f"{entry}.cif.gz"


def read_missing(folder: Path, template: str) -> set[str]:
    """Return the entries that are known not to be at this address; none where the list is about another address.

    Raises
    ------
    BetafoldError
        The list cannot be read.
    """
    path = folder / MISSING_FILE
    if not path.exists():
        return set()
    lines = [line.rstrip("\r\n") for line in read_lines(path)]
    return set(read_entry_list(lines).entries) if _SOURCE + template in lines else set()


def write_missing(folder: Path, template: str, entries: Iterable[str]) -> None:
    """Write the list of the entries that are not at this address; no list where there are none.

    Raises
    ------
    BetafoldError
        Where the file system refuses.
    """
    path = folder / MISSING_FILE
    names = sorted(entries)
    if names:
        lines = [
            "# PDB entries that the server does not have, most of them obsolete. It was asked",
            _SOURCE + template,
            "# `dataset fetch` does not ask for them again unless it is told to (--ask-again).",
            *names,
        ]
        write_text(path, "\n".join(lines) + "\n")
        return
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise BetafoldError(f"cannot write {path}: {error.strerror or error}") from error
