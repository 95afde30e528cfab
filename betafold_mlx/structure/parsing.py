"""Parses PDB and mmCIF text with gemmi; every failure is one clear line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import gemmi

from betafold_mlx.errors import BetafoldError
from betafold_mlx.gzipped import read_bytes
from betafold_mlx.structure.residue_names import standard_name

_CIF_START = re.compile(r"(?:\s|#[^\n]*\n)*data_", flags=re.IGNORECASE)
_PDB_ATOM = re.compile(r"^(?:ATOM  |HETATM)", flags=re.MULTILINE)
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_PDB_NUMBER = re.compile(r" *[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+) *")
_PDB_COORDINATES = ((30, 38), (38, 46), (46, 54))  # columns 31-54 of ATOM and HETATM records

_COORDINATES = tuple(f"_atom_site.Cartn_{axis}" for axis in "xyz")
_NEEDED = (
    tuple(f"_atom_site.{tag}" for tag in ("id", "type_symbol", "label_alt_id", "label_asym_id"))
    + _COORDINATES
)
"""Columns without which gemmi finds no atoms, and says nothing."""

_IDENTITY = (
    *("label_atom_id", "label_alt_id", "label_comp_id", "pdbx_PDB_model_num", "pdbx_PDB_ins_code"),
    *("label_asym_id", "auth_asym_id", "label_seq_id", "auth_seq_id"),
)
"""Columns that together name an atom; the last one is its number, where there is one."""

_COPY = "\x01"


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
        column = next((c for c in map(block.find_loop, _COORDINATES) if c), None)
        loop = column and column.get_loop()
        if loop and loop.length() and (absent := [tag for tag in _NEEDED if tag not in loop.tags]):
            raise ValueError(f"it lacks the column{'s' * (len(absent) > 1)} {', '.join(absent)}")
        if loop or block.find_value(_COORDINATES[0]):
            _mark_copies(block)
            structure = gemmi.make_structure_from_block(block)
            for model in structure:
                for chain in model:
                    chain.name = chain.name.rstrip(_COPY)
            return structure
    return gemmi.Structure()


def _mark_copies(block: gemmi.cif.Block) -> None:
    """Mark the name of a second copy of a chain under the same name and numbers, as `_pdb_lines` puts a TER."""
    columns = [column for tag in _IDENTITY if (column := block.find_loop(f"_atom_site.{tag}"))]
    atoms = list(zip(*columns, strict=True))
    if len(set(atoms)) == len(atoms):
        return
    names = block.find_loop("_atom_site.auth_asym_id") or block.find_loop("_atom_site.label_asym_id")
    seen: set[tuple[str, ...]] = set()
    residue, copies = None, 0
    for row, atom in enumerate(atoms):
        if atom[2:] != residue and atom in seen and atom[-1] not in (".", "?"):
            seen, copies = set(), copies + 1
        residue = atom[2:]
        seen.add(atom)
        if copies % 2:  # gemmi begins a chain where the name changes
            names[row] = gemmi.cif.quote(gemmi.cif.as_string(names[row]) + _COPY)


def _from_pdb(text: str, first_model_only: bool) -> gemmi.Structure:
    if first_model_only:
        text = text.partition("\nENDMDL")[0]
    return gemmi.read_pdb_string("\n".join(_pdb_lines(text)), split_chain_on_ter=True)


def _pdb_lines(text: str) -> Iterator[str]:
    """Yield the lines of a PDB file, with a TER before a second copy of a chain under the same name and numbers.

    gemmi would put its atoms into the residues of the first.
    """
    seen: set[str] = set()
    residue, lines = "", text.splitlines()
    long_names = not all(line[20:21].strip() for line in lines if _PDB_ATOM.match(line))  # else of chains
    for line in lines:
        if not _PDB_ATOM.match(line):
            if line[:3] in ("TER", "END", "MOD"):
                seen, residue = set(), ""
            yield line
            continue
        line = _readable(line)
        if long_names and line[20:21].strip() and (name := standard_name(line[17:21].strip())):
            line = f"{line[:17]}{name} {line[21:]}"  # AMBER's NGLY
        if line[21:27] != residue and line[12:27] in seen:
            yield "TER"
            seen = set()
        residue = line[21:27]
        seen.add(line[12:27])  # atom, alternative, residue, chain and number
        yield line


def _readable(line: str) -> str:
    """Return an atom record with NaN in place of coordinates that are cut off or not numbers."""
    fields = [line[start:end] for start, end in _PDB_COORDINATES]
    if all(_PDB_NUMBER.fullmatch(field) for field in fields):
        return line
    numbers = [field if _PDB_NUMBER.fullmatch(field) else "     nan" for field in fields]
    return f"{line[:30]:<30}{''.join(f'{number:>8}' for number in numbers)}{line[54:]:<26}"
