"""FASTA on the command line: what is a file, what is a sequence, and how a record is named to the user."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from betafold_mlx.cli.terminal import plain
from betafold_mlx.errors import BetafoldError

if TYPE_CHECKING:
    from betafold_mlx.peptide.sequence import FastaRecord

WIDEST = 40  # characters of a name on the terminal


def is_fasta(text: str) -> bool:
    """Tell a FASTA path from a sequence: it exists, or it looks like a path.

    Raises
    ------
    click.UsageError
        For a folder, or a path where nothing is.
    """
    path = Path(text)
    try:
        if path.exists() and not path.is_dir():  # a pipe will do
            return True
        folder = path.is_dir() and bool(text)
    except (OSError, ValueError):  # too long for a path, or a NUL in it
        return False
    if folder and not _is_peptide(text):  # `-o PEPTIDE` makes folders that are named like peptides
        raise click.UsageError(f"{text} is a folder: give a sequence or a FASTA file")
    if "/" in text or path.suffix.lower() in (".fasta", ".fa", ".faa", ".fas", ".txt", ".gz"):
        raise click.UsageError(f"there is no FASTA file {text}")
    return False


def _is_peptide(text: str) -> bool:
    from betafold_mlx.peptide.sequence import Peptide

    try:
        Peptide.parse(text)
    except BetafoldError:
        return False
    return True


def read_records(source: str) -> Iterator[FastaRecord]:
    """Yield the records of a FASTA file, plain or gzipped, or of standard input (``-``).

    Raises
    ------
    BetafoldError
        A binary or damaged file, or one that cannot be read; the records before the damage come first.
    """
    from betafold_mlx.peptide.sequence import parse_fasta
    from betafold_mlx.structure.rawfile import GZIP_MAGIC

    try:
        with open(0 if source == "-" else source, "rb", closefd=source != "-") as raw:
            zipped = raw.peek(2).startswith(GZIP_MAGIC)
            binary = gzip.GzipFile(fileobj=raw) if zipped else raw
            # A letter of another encoding must not cost the file: it spoils no more than its own word.
            with io.TextIOWrapper(binary, encoding="utf-8", errors="replace") as text:
                yield from parse_fasta(text)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BetafoldError("this is a truncated or damaged gzip file: fetch it again") from error
    except OSError as error:
        raise BetafoldError(f"cannot read {source}: {error.strerror or error}") from error


def count_records(source: str) -> int | None:
    """Return about how many records a FASTA file has; None of what can be read once only, and where it is damaged."""
    from betafold_mlx.structure.rawfile import GZIP_MAGIC

    try:
        if source == "-" or not Path(source).is_file():
            return None
        with Path(source).open("rb") as raw:
            zipped = raw.peek(2).startswith(GZIP_MAGIC)
            return sum(line.startswith(b">") for line in (gzip.GzipFile(fileobj=raw) if zipped else raw))
    except (OSError, EOFError, zlib.error):
        return None


def shown(name: str) -> str:
    """Return a name for the terminal: short, and without what would steer it."""
    text = plain(name[: WIDEST + 1])
    return text if len(text) <= WIDEST else text[: WIDEST - 3] + "..."
