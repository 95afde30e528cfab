"""FASTA on the command line: tell files from sequences, and name records in messages."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from betafold_mlx.errors import BetafoldError

MAX_NAME = 40  # characters of a name on the terminal


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


def shown(name: str) -> str:
    """Return a name for the terminal: short, with ``?`` for what would steer it (control characters, bidi marks)."""
    text = "".join(letter if letter.isprintable() else "?" for letter in name[: MAX_NAME + 1])
    return text if len(text) <= MAX_NAME else text[: MAX_NAME - 3] + "..."
