"""Parses PDB and mmCIF text with gemmi; every failure is one clear line."""

from __future__ import annotations

import re
from pathlib import Path

import gemmi

from betafold_mlx.errors import BetafoldError
from betafold_mlx.gzipped import read_bytes

_CIF_START = re.compile(r"(?:\s|#[^\n]*\n)*data_", flags=re.IGNORECASE)
_PDB_ATOM = re.compile(r"^(?:ATOM  |HETATM)", flags=re.MULTILINE)
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_PDB_NUMBER = re.compile(r" *[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+) *")
_PDB_COORDINATES = ((30, 38), (38, 46), (46, 54))  # columns 31-54 of ATOM and HETATM records


def parse_structure(path: Path, *, first_model_only: bool) -> gemmi.Structure:
    """Read a PDB or mmCIF file, plain or gzipped; the contents tell which it is, not the name.

    Chains are as in the file: separate parts of one chain, or parts after a TER record, stay separate. A
    coordinate that is not a number comes out as NaN. (gemmi alone reads ``********`` as 0, ``12.x`` as 12.)

    There is at least one model; BetafoldError where there is none, or the file cannot be read, or is damaged.
    """
    content = read_bytes(path)
    if not content.strip():
        raise BetafoldError(f"{path} is empty")
    if b"\0" in content:
        raise BetafoldError(f"{path} is a binary file, not PDB or mmCIF text")
    text = content.decode("utf-8", errors="replace").lstrip("\ufeff")
    text = _NOT_ASCII.sub("_", text)  # gemmi counts columns in bytes, and would cut a letter in two
    try:
        if _CIF_START.match(text):
            structure = _from_cif(text)
        elif _PDB_ATOM.search(text):
            structure = _from_pdb(text, first_model_only)
        else:
            raise BetafoldError(f"{path} has no atoms: neither a PDB nor an mmCIF structure")
    except (ValueError, RuntimeError, IndexError) as error:  # what gemmi raises
        reason = " ".join(str(error).split())[:200]
        raise BetafoldError(f"{path} is damaged or not a structure file: {reason}") from error
    if not len(structure) or not structure[0].count_atom_sites():
        raise BetafoldError(f"{path} has no atoms")
    if first_model_only:
        del structure[1:]
    return structure


def _from_cif(text: str) -> gemmi.Structure:
    document = gemmi.cif.read_string(text)
    for block in document:
        if block.find_loop("_atom_site.Cartn_x") or block.find_value("_atom_site.Cartn_x"):
            return gemmi.make_structure_from_block(block)
    return gemmi.Structure()


def _from_pdb(text: str, first_model_only: bool) -> gemmi.Structure:
    if first_model_only:
        text = text.partition("\nENDMDL")[0]
    lines = [_readable(line) if _PDB_ATOM.match(line) else line for line in text.splitlines()]
    return gemmi.read_pdb_string("\n".join(lines), split_chain_on_ter=True)


def _readable(line: str) -> str:
    """Return an atom record with NaN in place of coordinates that are cut off or not numbers."""
    fields = [line[start:end] for start, end in _PDB_COORDINATES]
    if all(_PDB_NUMBER.fullmatch(field) for field in fields):
        return line
    numbers = [field if _PDB_NUMBER.fullmatch(field) else "     nan" for field in fields]
    return f"{line[:30]:<30}{''.join(f'{number:>8}' for number in numbers)}{line[54:]:<26}"
