"""PDB text of a predicted or generated chain: header records, atoms and bonds."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from betafold_mlx.structure.components import CHAIN, End, Monomer, WrittenChain

_CRYST1 = "CRYST1    1.000    1.000    1.000  90.00  90.00  90.00 P 1           1"
"""What the format asks for where there is no crystal. PDB2PQR refuses a line without the last number."""

_CONECT = ["CONECT" + "%5d" * (count + 1) for count in range(5)]


def pdb_text(written: WrittenChain, remarks: Sequence[str]) -> str:
    """Return a chain as PDB text: lines of 80 characters; each of the remarks, printable ASCII, begins a line.

    There is no HEADER record: it asks for a date, a classification and a PDB code.

    Where programs cannot know every bond from the names of standard residues, CONECT records have all bonds of the
    chain: programs that find some of them guess no others. A double bond of a component that is no standard residue
    stands twice, which is how CONECT says so.
    """
    chain, count = written.chain, len(written.coordinates)
    lines = _continued("TITLE ", written.title.upper())
    lines.append("EXPDTA    THEORETICAL MODEL")
    if count > 1:
        lines.append(f"NUMMDL    {count:<4}")
    lines += [f"REMARK  99 {text}" for remark in ("", *remarks) for text in _wrapped(remark)]
    for start in range(0, len(chain), 13):
        row = " ".join(monomer.name for monomer in chain[start : start + 13])
        lines.append(f"SEQRES {start // 13 + 1:>3} {CHAIN} {len(chain):>4}  {row}")
    lines += _bond_lines(written)
    lines.append(_CRYST1)
    text = [_padded(lines)]
    atoms = "".join(map(_atom_lines, chain, written.names))
    number = sum(map(len, written.names))
    end = f"TER   {number + 1:>5}      {chain[-1].name:>3} {CHAIN}{chain[-1].number:>4}"
    serials = np.arange(1.0, number + 1.0)[:, None]
    for model, (xyz, b) in enumerate(zip(written.coordinates, written.b_factors, strict=True), start=1):
        columns = np.concatenate([serials, xyz, b[:, None]], axis=1)
        text += [_padded([f"MODEL     {model:>4}"])] if count > 1 else []
        text += [atoms % tuple(columns.ravel().tolist()), _padded([end])]
        text += [_padded(["ENDMDL"])] if count > 1 else []
    text.append(_padded([*_connections(written), "END"]))
    return "".join(text)


@lru_cache(maxsize=4096)
def _atom_lines(monomer: Monomer, names: tuple[str, ...]) -> str:
    """Return the lines of a residue's atoms, to be filled in with serial number, x, y, z and B-factor of each."""
    record = "ATOM" if monomer.standard else "HETATM"
    return "".join(
        f"{record:<6}%5d {_aligned(monomer, name)} {monomer.name:>3} {CHAIN}{monomer.number:>4}    "
        f"%8.3f%8.3f%8.3f  1.00%6.2f          {monomer.element(name):>2}  \n"
        for name in names
    )


def _aligned(monomer: Monomer, atom: str) -> str:
    """Return the name of an atom in its four columns: the element stands in the first two, to the right."""
    return f"{atom:<4}" if len(atom) == 4 or len(monomer.element(atom)) == 2 else f" {atom:<3}"


def _bond_lines(written: WrittenChain) -> Iterator[str]:
    """Yield SSBOND and LINK records."""
    chain = written.chain
    disulfides = [bond for bond in written.bonds if bond.disulfide]
    for serial, bond in enumerate(disulfides, start=1):
        pair = (chain[end.position] for end in (bond.first, bond.second))
        names = "    ".join(f"{m.name:>3} {CHAIN} {m.number:>4}" for m in pair)
        length = "" if bond.length is None else f" {bond.length:5.2f}"
        yield f"SSBOND {serial:>3} {names} {'':23}{1555:>6} {1555:>6}{length}"

    def partner(end: End) -> str:
        monomer = chain[end.position]
        return f"{_aligned(monomer, end.atom)} {monomer.name:>3} {CHAIN}{monomer.number:>4}"

    for bond in written.bonds:
        if not (bond.disulfide or bond.length is None):
            ends = partner(bond.first) + " " * 16 + partner(bond.second)
            yield f"LINK        {ends}   {1555:>6} {1555:>6} {bond.length:>5.2f}"


def _connections(written: WrittenChain) -> Iterator[str]:
    """Yield CONECT records of all bonds; none where the names of the residues say it all."""
    if not written.bonds and all(monomer.standard for monomer in written.chain):
        return
    for serial, partners in enumerate(written.partners(), start=1):
        partners.sort()
        for start in range(0, len(partners), 4):
            row = partners[start : start + 4]
            yield _CONECT[len(row)] % (serial, *[number + 1 for number in row])


def _padded(lines: Sequence[str]) -> str:
    return "".join(f"{line:<80}\n" for line in lines)


def _continued(record: str, text: str) -> list[str]:
    """Return a PDB record of free text, split over numbered continuation lines."""
    rows = _wrapped(text)
    head = [f"{record}    {rows[0]}"]
    return head + [f"{record}  {number:>2} {row}" for number, row in enumerate(rows[1:], start=2)]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, width=69) or [""]
