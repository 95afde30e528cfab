"""Small structure files for tests: ideal coordinates, and PDB or mmCIF text with anything wrong on purpose."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import mlx.core as mx
import numpy as np

from betafold_mlx.geometry import build_backbone
from betafold_mlx.peptide.sequence import THREE_LETTER, residue_ids

NAMES = ("N", "CA", "C", "O", "CB")
CIF_TAGS = (
    "group_PDB id type_symbol label_atom_id label_alt_id label_comp_id label_asym_id label_seq_id "
    "pdbx_PDB_ins_code Cartn_x Cartn_y Cartn_z occupancy B_iso_or_equiv auth_seq_id auth_asym_id "
    "pdbx_PDB_model_num"
)


@dataclass(frozen=True)
class Row:
    """One atom record; text fields go into the file as they are."""

    atom: str
    residue: str
    number: int
    xyz: tuple
    chain: str = "A"
    insertion: str = ""
    altloc: str = ""
    occupancy: float = 1.0
    record: str = "ATOM"
    model: int = 1
    label_chain: str = ""
    label_number: str = ""


def ideal(sequence: str, phi: float = -63.0, psi: float = -42.0, seed: int | None = None) -> np.ndarray:
    """Return (L, 5, 3): a helix, or with a seed a chain of random torsions."""
    length = len(sequence)
    torsions = np.tile(np.radians([phi, psi, 180.0]), (length, 1))
    if seed is not None:
        torsions[:, :2] = np.random.default_rng(seed).uniform(-np.pi, np.pi, (length, 2))
    atoms = build_backbone(mx.array(torsions[None].astype(np.float32)), mx.array(residue_ids(sequence))[None])
    return np.array(atoms[0])


def ring(length: int) -> np.ndarray:
    """Return (L, 5, 3): backbone atoms on a regular polygon of side 1.45 A, so that the chain is closed."""
    angles = 2 * np.pi * np.arange(3 * length) / (3 * length)
    radius = 1.45 / (2 * np.sin(np.pi / (3 * length)))
    circle = np.stack([np.cos(angles), np.sin(angles), np.zeros_like(angles)], axis=-1)
    atoms = (radius * circle).reshape(length, 3, 3)  # N, CA, C
    o = (radius + 1.23) * circle[2::3]
    cb = (radius + 0.9) * circle[1::3] + [0.0, 0.0, 1.2]
    return np.concatenate([atoms, o[:, None], cb[:, None]], axis=1)


def rows(sequence: str, atoms: np.ndarray, chain: str = "A", start: int = 1, model: int = 1) -> list[Row]:
    """Return the atom records of a chain; CB is left out for Gly."""
    return [
        Row(name, THREE_LETTER[letter], start + i, tuple(atoms[i, k].tolist()), chain=chain, model=model)
        for i, letter in enumerate(sequence)
        for k, name in enumerate(NAMES)
        if not (name == "CB" and letter == "G")
    ]


def edit(records: Iterable[Row], number: int, atom: str | None = None, **changes: object) -> list[Row]:
    """Return the records with changed fields in one residue, or in one atom of it."""
    return [
        replace(row, **changes) if row.number == number and atom in (None, row.atom) else row
        for row in records
    ]


def without(records: Iterable[Row], number: int, atom: str | None = None) -> list[Row]:
    """Return the records without one residue, or without one atom of it."""
    return [row for row in records if not (row.number == number and atom in (None, row.atom))]


def _coordinate(value: object, width: int) -> str:
    return f"{value:>{width}}" if isinstance(value, str) else f"{value:{width}.3f}"


def pdb(records: Iterable[Row], header: str = "") -> str:
    """Return PDB text with MODEL records where there are several models, TER after each chain."""
    records = list(records)
    several = len({row.model for row in records}) > 1
    lines, previous = [header] if header else [], None
    for serial, row in enumerate(records, start=1):
        if previous and (row.chain, row.model) != (previous.chain, previous.model):
            lines.append("TER")
        if several and (previous is None or row.model != previous.model):
            lines += ["ENDMDL"] * (previous is not None) + [f"MODEL     {row.model:>4}"]
        previous = row
        xyz = "".join(_coordinate(value, 8) for value in row.xyz)
        name = row.atom if len(row.atom) == 4 else f" {row.atom}"
        lines.append(
            f"{row.record:<6}{serial:>5} {name:<4}{row.altloc or ' '}{row.residue:>3} {row.chain or ' '}"
            f"{row.number:>4}{row.insertion or ' '}   {xyz}{row.occupancy:6.2f}{0:6.2f}          {row.atom[0]:>2}"
        )
    return "\n".join([*lines, "TER", *["ENDMDL"] * several, "END", ""])


def cif(records: Iterable[Row], head: str = "") -> str:
    """Return mmCIF text with nothing but atoms (and what `head` adds)."""
    lines = ["data_test", head, "loop_", *(f"_atom_site.{tag}" for tag in CIF_TAGS.split())]
    for serial, row in enumerate(records, start=1):
        fields = [row.record, serial, row.atom[0], row.atom, row.altloc or ".", row.residue]
        fields += [row.label_chain or row.chain, row.label_number or row.number, row.insertion or "?"]
        fields += [_coordinate(value, 1) for value in row.xyz]
        fields += [row.occupancy, 0.0, row.number, row.chain, row.model]
        lines.append(" ".join(str(field) for field in fields))
    return "\n".join([*lines, ""])
