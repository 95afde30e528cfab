"""Reads the residues of a chain: letter, atoms of one conformer, or the reason why one cannot be used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import gemmi
import numpy as np

from betafold_mlx.peptide.residue_table import RESIDUES
from betafold_mlx.peptide.sequence import THREE_LETTER
from betafold_mlx.structure.backbone import ATOMS, MAX_COORDINATE, complete_residues
from betafold_mlx.structure.residue_names import OXYGENS, same_residues

_LETTERS = {name: letter for letter, name in THREE_LETTER.items()}
_LETTERS |= {other: _LETTERS[name] for other, name in same_residues().items()}

_READ = (*ATOMS, "CB", "SG")
_CHI = {letter: RESIDUES[name].chi for letter, name in THREE_LETTER.items()}
_CHI["P"] = (
    ("N", "CA", "CB", "CG"),
    ("CA", "CB", "CG", "CD"),
)  # of its ring, which the table has as a pucker
_NAMES = {*_READ, *OXYGENS, *(atom for angles in _CHI.values() for angle in angles for atom in angle)}
_ABSENT = [np.nan] * 3

# As far as the file says so; PDB files say nothing here.
_NO_POLYMER = (gemmi.EntityType.NonPolymer, gemmi.EntityType.Branched, gemmi.EntityType.Water)


@dataclass(frozen=True)
class ReadResidue:
    """One position of a chain."""

    number: str  # author's residue number with insertion code, as ``12`` or ``12A``
    name: str  # residue name in the file
    letter: str  # one-letter code; empty for a residue that is not one of the 20
    # (6, 3) float64, Angstrom: N, CA, C, O, CB, SG; NaN where an atom is absent, or a coordinate of it is not a
    # number or `MAX_COORDINATE` or more
    atoms: np.ndarray
    chi: np.ndarray  # (4,) radians, NaN where the residue has none or an atom is absent
    problem: str | None  # why the residue cannot be part of a backbone


class _Conformer(NamedTuple):
    """One alternative of a residue: atoms (6, 3) and chi (4,) as in `ReadResidue`, mean occupancy of its backbone."""

    residue: gemmi.Residue
    label: str
    atoms: np.ndarray
    chi: np.ndarray
    occupancy: float


def read_chain(chain: gemmi.Chain) -> Iterator[list[ReadResidue]]:
    """Yield the amino-acid positions of each molecule of a chain, in file order.

    In mmCIF one author's chain holds several molecules (label_asym_id): a polymer and its ligands.

    Caps (ACE, NH2 ...), ligands, waters and nucleotides are left out. Where a position has alternatives, one
    conformer is taken for all its atoms: a complete one before an incomplete one, then the one of highest
    occupancy, then the first label.
    """
    for _, molecule in groupby(chain, key=lambda residue: residue.subchain):
        residues = _read_residues(molecule)
        if residues:
            yield residues


def _read_residues(molecule: Iterable[gemmi.Residue]) -> list[ReadResidue]:
    positions: list[list[gemmi.Residue]] = []
    for residue in molecule:
        if residue.entity_type in _NO_POLYMER:
            continue
        if positions and _alternative(positions[-1][-1], residue):
            positions[-1].append(residue)  # microheterogeneity: another residue type at the same position
        else:
            positions.append([residue])
    chosen = [conformer for conformer in map(_best, positions) if conformer is not None]
    if not chosen:
        return []
    atoms = np.stack([conformer.atoms for conformer in chosen])  # (L, 6, 3)
    complete, mirrored = complete_residues(atoms[:, :4]), _mirrored(atoms)
    return [
        ReadResidue(
            str(conformer.residue.seqid),
            conformer.residue.name,
            _LETTERS.get(conformer.residue.name, ""),
            conformer.atoms,
            conformer.chi,
            _problem(conformer, complete[index], mirrored[index]),
        )
        for index, conformer in enumerate(chosen)
    ]


def _alternative(first: gemmi.Residue, second: gemmi.Residue) -> bool:
    return (
        first.seqid == second.seqid
        and first.name != second.name
        and any(atom.has_altloc() for atom in first)
        and any(atom.has_altloc() for atom in second)
    )


def _best(alternatives: list[gemmi.Residue]) -> _Conformer | None:
    """Return the best conformer of the best alternative that is an amino acid."""
    conformers = []
    for residue in alternatives:
        table = _atom_table(residue)
        if _is_amino_acid(residue.name, table):
            conformers += [_conformer(residue, table, label) for label in _labels(table)]
    if len(conformers) < 2:
        return conformers[0] if conformers else None
    complete = complete_residues(np.stack([conformer.atoms[:4] for conformer in conformers]))
    ranks = [(not whole, -c.occupancy, c.label) for whole, c in zip(complete, conformers, strict=True)]
    return conformers[min(range(len(ranks)), key=ranks.__getitem__)]


def _atom_table(residue: gemmi.Residue) -> dict[str, dict[str, gemmi.Atom]]:
    """Return atom name -> alternative label ("" for none) -> atom, for the atoms that are read."""
    table: dict[str, dict[str, gemmi.Atom]] = {}
    for atom in residue:
        name = atom.name
        if name in _NAMES:
            table.setdefault(name, {}).setdefault(atom.altloc.strip("\0"), atom)
    if residue.name in _LETTERS and "O" not in table:  # at the end of a chain it has other names
        last = next((name for name in OXYGENS if name in table), None)
        table |= {"O": table[last]} if last else {}
    return table


def _is_amino_acid(name: str, table: dict[str, dict[str, gemmi.Atom]]) -> bool:
    """Tell amino acids from ligands: by gemmi's table of components, else by their atoms."""
    if name in _LETTERS:
        return True
    info = gemmi.find_tabulated_residue(name)
    return info.is_amino_acid() or (not info.found() and {"N", "CA", "C"} <= table.keys())


def _labels(table: dict[str, dict[str, gemmi.Atom]]) -> list[str]:
    labels = {label for name in ATOMS for label in table.get(name, ())}
    return sorted(labels - {""}) or [""]


def _conformer(residue: gemmi.Residue, table: dict[str, dict[str, gemmi.Atom]], label: str) -> _Conformer:
    def find(name: str) -> gemmi.Atom | None:
        choices = table.get(name, {})
        atom = choices.get(label) or choices.get("")
        if atom is None and name not in (*ATOMS, "CB") and choices:
            atom = choices[min(choices)]  # the side chain alone has alternatives
        return atom

    found = [find(name) for name in _READ]
    occupancies = [atom.occ for atom in found[: len(ATOMS)] if atom is not None]
    atoms = np.array([_ABSENT if atom is None else atom.pos.tolist() for atom in found])
    atoms[~(np.abs(atoms) < MAX_COORDINATE).all(axis=1)] = np.nan
    chi = np.full(4, np.nan)
    for place, names in enumerate(_CHI.get(_LETTERS.get(residue.name, ""), ())):
        corners = [find(name) for name in names]
        if all(corner is not None for corner in corners):
            chi[place] = gemmi.calculate_dihedral(*(corner.pos for corner in corners if corner is not None))
    return _Conformer(residue, label, atoms, chi, sum(occupancies) / max(len(occupancies), 1))


def _problem(conformer: _Conformer, complete: bool, mirrored: bool) -> str | None:
    name = conformer.residue.name
    if name not in _LETTERS:
        is_d = gemmi.find_tabulated_residue(name).kind == gemmi.ResidueKind.AAD
        return "D residue" if is_d else "non-standard residue"
    unusable = np.isnan(conformer.atoms[:4, 0])
    if unusable.any():
        names = ", ".join(atom for atom, absent in zip(ATOMS, unusable, strict=True) if absent)
        return f"{names} missing or without usable coordinates"
    if not complete:
        return "backbone atoms are not at bond length"
    return "CB is on the D side" if mirrored else None


def _mirrored(atoms: np.ndarray) -> np.ndarray:
    """Tell which residues (L, 6, 3) have CB where D residues have it; False where an atom is absent.

    The signed volume of (N, C, CB) around CA is 2.1 to 2.8 A^3 in the project's original files (all L).
    """
    n, ca, c, cb = (atoms[:, index] for index in (0, 1, 2, 4))
    volume = (np.cross(n - ca, c - ca) * (cb - ca)).sum(-1)  # (L,)
    return volume < -1.0
