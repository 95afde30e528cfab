"""The residues of peptides, by their codes in the wwPDB Chemical Component Dictionary (CCD).

The table is ``residues.json``, made from the CCD by ``scripts/_make_residue_table.py``: the 20 standard residues, their
D forms, and modified ones. Each has a parent, the standard residue that a network takes it for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

_FILE = Path(__file__).with_name("residues.json")

BACKBONE = ("N", "CA", "C", "O")

ACETYL, CAP_MARK = "ACE+", "'0"
"""Before the code of a first residue that holds the atoms of its acetyl group, and behind the names of these."""

_ACETYL_N = {"": (1.336, 121.7), "P": (1.338, 119.3), "G": (1.326, 122.3)}
_ACETYL_O, _ACETYL_CH3 = (1.232, {"": 123.2, "P": 122.7}), (1.514, {"": 116.2, "P": 117.1})
"""Angstrom and degrees: C-N and C-N-CA by the residue; C-O and O-C-N, CH3-C and CH3-C-N by whether it is Pro. They are
those of a glycine before it in `betafold_mlx.geometry.ideal`, by which caps without a bond are placed."""


class Placement(NamedTuple):
    """How an atom is placed by three atoms before it (`betafold_mlx.geometry.side_chains`)."""

    atom: str  # its name
    # the atoms that its torsion, its angle and its bond start from
    great: str
    grand: str
    parent: str
    length: float  # of the bond to the parent, Angstrom
    # radians
    angle: float
    torsion: float
    # ``chi1``, ``chi2``, ...: the torsion is this angle plus `torsion`; ``phi``: the backbone's; empty: fixed
    turn: str


@dataclass(frozen=True)
class ResidueType:
    """A residue inside a chain: heavy atoms and hydrogens, without OXT and what leaves when the chain is made."""

    # in the CCD
    code: str
    name: str
    parent: str  # one-letter code of the standard residue that stands for it
    because: str  # why that one; empty where the residue is standard
    hand: str  # ``L`` or ``D``; empty where CA has no hand
    cb: str  # name of the atom in the place of CB; empty where CA carries hydrogens alone
    # heavy atoms and their elements: N, CA, C, O and CB first, then in the order in which they are placed
    elements: Mapping[str, str]
    bonds: tuple[tuple[str, str, int], ...]  # two atoms and the order of their bond, one Kekule structure
    hydrogens: Mapping[str, tuple[str, ...]]  # the hydrogens on each heavy atom, by name
    chi: tuple[tuple[str, ...], ...]  # four atoms of each angle that turns freely
    symmetric: tuple[bool, ...]  # which of them is the same after half a turn, but for names
    # how the atoms beyond N, CA, C, O and CB are placed in an L residue; of a D residue this is the mirror image. A
    # second set is another pucker of the ring, for chi1 below zero
    placements: tuple[tuple[Placement, ...], ...]

    @property
    def atoms(self) -> tuple[str, ...]:
        """Names of the heavy atoms."""
        return tuple(self.elements)

    def turned(self, number: int) -> set[str]:
        """Return the atoms that a chi angle moves, the first one's number being 0."""
        moved: set[str] = set()
        for row in self.placements[0]:  # in the order in which they are placed
            if row.turn == f"chi{number + 1}" or row.parent in moved:
                moved.add(row.atom)
        return moved


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
    if code.startswith(ACETYL):
        return _acetylated(_residue(code.removeprefix(ACETYL)))
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


def _acetylated(kind: ResidueType) -> ResidueType:
    """Return a residue with an acetyl group on N, turned by one more chi angle: phi."""
    c, o, ch3 = (f"{name}{CAP_MARK}" for name in ("C", "O", "CH3"))
    turn, proline = f"chi{len(kind.chi) + 1}", "P" if kind.parent == "P" else ""
    (at_n, n_angle), (to_o, o_angle), (to_ch3, ch3_angle) = (
        _ACETYL_N.get(kind.parent, _ACETYL_N[""]),
        (_ACETYL_O[0], _ACETYL_O[1][proline]),
        (_ACETYL_CH3[0], _ACETYL_CH3[1][proline]),
    )
    rows = (
        Placement(c, "C", "CA", "N", at_n, math.radians(n_angle), 0.0, turn),
        Placement(o, "CA", "N", c, to_o, math.radians(o_angle), 0.0, ""),
        Placement(ch3, "CA", "N", c, to_ch3, math.radians(ch3_angle), math.pi, ""),
    )
    return replace(
        kind,
        code=f"{ACETYL}{kind.code}",
        elements={**kind.elements, c: "C", o: "O", ch3: "C"},
        bonds=(*kind.bonds, ("N", c, 1), (c, o, 2), (c, ch3, 1)),
        hydrogens={**kind.hydrogens, ch3: ("H1", "H2", "H3")},
        chi=(*kind.chi, ("C", "CA", "N", c)),
        symmetric=(*kind.symmetric, False),
        placements=tuple(
            (*(row._replace(turn=turn) if row.turn == "phi" else row for row in of_pucker), *rows)
            for of_pucker in kind.placements
        ),
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
