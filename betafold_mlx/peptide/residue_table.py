"""The residues of peptides, by their codes in the wwPDB Chemical Component Dictionary (CCD).

The table is ``residues.json``, made from the CCD by ``scripts/_make_residue_table.py``: the 20 standard residues, their
D forms, and modified ones. Each has a parent, the standard residue that a network takes it for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

_FILE = Path(__file__).with_name("residues.json")

BACKBONE = ("N", "CA", "C", "O")


class Placement(NamedTuple):
    """How an atom is placed by three atoms before it (`betafold_mlx.geometry.side_chains`).

    Attributes
    ----------
    atom : str
        Its name.
    great, grand, parent : str
        The atoms that its torsion, its angle and its bond start from.
    length : float
        Of the bond to the parent, Angstrom.
    angle, torsion : float
        Radians.
    turn : str
        ``chi1``, ``chi2``, ...: the torsion is this angle plus `torsion`; ``phi``: the backbone's; empty: fixed.
    """

    atom: str
    great: str
    grand: str
    parent: str
    length: float
    angle: float
    torsion: float
    turn: str


@dataclass(frozen=True)
class ResidueType:
    """A residue inside a chain: heavy atoms and hydrogens, without OXT and what leaves when the chain is made.

    Attributes
    ----------
    code, name : str
        In the CCD.
    parent : str
        One-letter code of the standard residue that stands for it.
    because : str
        Why that one; empty where the residue is standard.
    hand : str
        ``L`` or ``D``; empty where CA has no hand.
    cb : str
        Name of the atom in the place of CB; empty where CA carries hydrogens alone.
    elements : mapping of str to str
        Heavy atoms and their elements: N, CA, C, O and CB first, then in the order in which they are placed.
    bonds : tuple of (str, str, int)
        Two atoms and the order of their bond, one Kekule structure.
    hydrogens : mapping of str to tuple of str
        The hydrogens on each heavy atom, by name.
    chi : tuple of tuple of str
        Four atoms of each angle that turns freely.
    symmetric : tuple of bool
        Which of them is the same after half a turn, but for names.
    placements : tuple of tuple of Placement
        How the atoms beyond N, CA, C, O and CB are placed in an L residue; of a D residue this is the mirror image.
        A second set is another pucker of the ring, for chi1 below zero.
    """

    code: str
    name: str
    parent: str
    because: str
    hand: str
    cb: str
    elements: Mapping[str, str]
    bonds: tuple[tuple[str, str, int], ...]
    hydrogens: Mapping[str, tuple[str, ...]]
    chi: tuple[tuple[str, ...], ...]
    symmetric: tuple[bool, ...]
    placements: tuple[tuple[Placement, ...], ...]

    @property
    def atoms(self) -> tuple[str, ...]:
        """Names of the heavy atoms."""
        return tuple(self.elements)


class _Table(Mapping[str, ResidueType]):
    """Residues by code, each read from the table when it is first asked for."""

    def __getitem__(self, code: str) -> ResidueType:
        return _residue(code)

    def __iter__(self) -> Iterator[str]:
        return iter(_document())

    def __len__(self) -> int:
        return len(_document())

    def __contains__(self, code: object) -> bool:
        return code in _document()


RESIDUES: Mapping[str, ResidueType] = _Table()
"""All residues of the table by code."""


@cache
def _document() -> dict[str, dict[str, Any]]:
    document: dict[str, dict[str, Any]] = json.loads(_FILE.read_text(encoding="utf-8"))
    return document


@cache
def _residue(code: str) -> ResidueType:
    entry = _document()[code]
    entry = _document()[entry["as"]] | entry if "as" in entry else entry
    placements = tuple(tuple(map(_placement, rows)) for rows in entry["placed"])
    placed = [row.atom for row in placements[0]]
    cb = entry["cb"] or ""
    order = [*BACKBONE, *([cb] if cb else []), *placed]
    return ResidueType(
        code=code,
        name=entry["name"],
        parent=entry["parent"],
        because=entry.get("because", ""),
        hand=entry["hand"],
        cb=cb,
        elements={atom: entry["atoms"][atom] for atom in order},
        bonds=tuple(map(_bond, entry["bonds"])),
        hydrogens={atom: tuple(names.split()) for atom, names in entry["hydrogens"].items()},
        chi=tuple(tuple(chi.split()[:4]) for chi in entry["chi"]),
        symmetric=tuple(chi.endswith(" symmetric") for chi in entry["chi"]),
        placements=placements,
    )


def _placement(row: str) -> Placement:
    atom, great, grand, parent, length, angle, *turn, torsion = row.split()
    return Placement(
        atom,
        great,
        grand,
        parent,
        float(length),
        math.radians(float(angle)),
        math.radians(float(torsion)),
        "".join(turn),
    )


def _bond(text: str) -> tuple[str, str, int]:
    order = {"=": 2, "#": 3}.get(text[-1], 1)
    first, second = text.rstrip("=#").split("-")
    return first, second, order
