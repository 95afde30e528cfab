"""PDB text of a predicted or generated chain: header records and atoms."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from betafold_mlx.structure.components import CHAIN, WrittenAtom, WrittenChain

_CRYST1 = "CRYST1    1.000    1.000    1.000  90.00  90.00  90.00 P 1"
"""What the format asks for where there is no crystal."""


def pdb_text(written: WrittenChain, remarks: Sequence[str]) -> str:
    """Return a chain as PDB text: lines of 80 characters; each of the remarks, printable ASCII, begins a line.

    There is no HEADER record: it asks for a date, a classification and a PDB code.
    """
    title, chain, models, disulfides, links = written
    lines = _continued("TITLE ", title.upper())
    lines.append("EXPDTA    THEORETICAL MODEL")
    if len(models) > 1:
        lines.append(f"NUMMDL    {len(models):<4}")
    lines += [f"REMARK  99 {text}" for remark in ("", *remarks) for text in _wrapped(remark)]
    for start in range(0, len(chain), 13):
        row = " ".join(monomer.name for monomer in chain[start : start + 13])
        lines.append(f"SEQRES {start // 13 + 1:>3} {CHAIN} {len(chain):>4}  {row}")
    names = {monomer.number: monomer.name for monomer in chain}
    for serial, pair in enumerate(disulfides, start=1):
        ends = "    ".join(f"{names[number]} {CHAIN} {number:>4}" for number in pair)
        lines.append(f"SSBOND {serial:>3} {ends} {'':23}{1555:>6} {1555:>6}")
    for link in links:
        c, n = (f"{m.name} {CHAIN}{m.number:>4}" for m in (chain[link.first], chain[link.second]))
        lines.append(f"LINK         C   {c}{'':17}N   {n}   {1555:>6} {1555:>6} {link.length:>5.2f}")
    lines.append(_CRYST1)
    for number, atoms in enumerate(models, start=1):
        frame = ([f"MODEL     {number:>4}"], ["ENDMDL"]) if len(models) > 1 else ([], [])
        lines += [*frame[0], *_atom_lines(atoms), _end_of_chain(atoms), *frame[1]]
    lines.append("END")
    return "".join(f"{line:<80}\n" for line in lines)


def _atom_lines(atoms: Sequence[WrittenAtom]) -> list[str]:
    return [
        f"{'ATOM' if monomer.standard else 'HETATM':<6}{serial:>5}  {name:<3} {monomer.name:>3} {CHAIN}"
        f"{monomer.number:>4}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00{b_factor:6.2f}          {name[0]:>2}"
        for serial, (_, monomer, name, x, y, z, b_factor) in enumerate(atoms, start=1)
    ]


def _end_of_chain(atoms: Sequence[WrittenAtom]) -> str:
    last = atoms[-1].monomer
    return f"TER   {len(atoms) + 1:>5}      {last.name:>3} {CHAIN}{last.number:>4}"


def _continued(record: str, text: str) -> list[str]:
    """Return a PDB record of free text, split over numbered continuation lines."""
    rows = _wrapped(text)
    head = [f"{record}    {rows[0]}"]
    return head + [f"{record}  {number:>2} {row}" for number, row in enumerate(rows[1:], start=2)]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, width=69) or [""]
