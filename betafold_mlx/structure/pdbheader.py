"""The records of a PDB file that stand before its atoms."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from betafold_mlx.structure.bonds import Pairs
from betafold_mlx.structure.components import CHAIN, Link, Monomer


def pdb_header(
    *,
    title: str,
    remarks: Sequence[str],
    models: int,
    chain: Sequence[Monomer],
    disulfides: Pairs,
    links: Sequence[Link],
) -> str:
    """Return TITLE, EXPDTA, NUMMDL, REMARK, SEQRES, SSBOND and LINK records of a predicted peptide.

    Parameters
    ----------
    title : str
        Printable ASCII.
    remarks : sequence of str
        Printable ASCII; each begins a line.
    models : int
        How many follow.
    chain : sequence of Monomer
        Residues, and caps where there are any.
    disulfides : tuple of (int, int)
        1-based pairs of residues.
    links : sequence of Link
        Bonds that close a ring or hold a cap.

    Returns
    -------
    str
        Lines of 80 characters.
    """
    lines = _continued("TITLE ", title.upper())
    lines.append("EXPDTA    THEORETICAL MODEL")
    if models > 1:
        lines.append(f"NUMMDL    {models:<4}")
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
    return "".join(f"{line:<80}\n" for line in lines)


def _continued(record: str, text: str) -> list[str]:
    """Return a PDB record of free text, split over numbered continuation lines."""
    rows = _wrapped(text)
    head = [f"{record}    {rows[0]}"]
    return head + [f"{record}  {number:>2} {row}" for number, row in enumerate(rows[1:], start=2)]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, width=69) or [""]
