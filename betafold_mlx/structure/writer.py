"""Predictions as PDB and mmCIF text: atoms, pLDDT and the stated chemistry.

mmCIF files carry the ModelCIF categories that viewers colour by; names follow the ModelCIF dictionary 1.4.9 and
what python-modelcif writes. There is no date and nothing of the machine in a file: the same prediction gives the
same bytes.
"""

from __future__ import annotations

import re
import textwrap
import unicodedata
from dataclasses import dataclass

import gemmi
import numpy as np

from betafold_mlx.errors import BetafoldError
from betafold_mlx.sequence import THREE_LETTER, residue_ids
from betafold_mlx.structure.bonds import Pairs
from betafold_mlx.structure.modelcif import CHAIN, add_modelcif

ATOM_NAMES = ("N", "CA", "C", "O", "CB")
_ELEMENTS = tuple(gemmi.Element(name[0]) for name in ATOM_NAMES)


@dataclass(frozen=True)
class PredictedModels:
    """Models of one peptide, best first, and what a file says about them.

    `cyclic` and `disulfides` state the chemistry of the molecule that was folded. They are written as bonds
    (LINK and SSBOND, ``_struct_conn``) whatever the coordinates are, as a chemist would draw them; the length of
    the ring bond in model 1 stands beside it. Leave them at their defaults to state none.

    Attributes
    ----------
    id : str
        Any text; made safe for the format where it is written.
    sequence : str
        One-letter codes, length L.
    coordinates : numpy.ndarray
        (M, L, 5, 3) Angstrom: N, CA, C, O, CB of M models. CB may be NaN and is then left out, as it is for Gly.
    plddt : numpy.ndarray
        (M, L), 0 to 100.
    cyclic : bool
        C of the last residue is bonded to N of the first.
    disulfides : tuple of (int, int)
        1-based pairs of cysteines.
    model_name : str
        The model directory that predicted it.
    software_version : str
        Version of betafold-mlx.
    title : str
        Title of the file; the id where it is empty.

    Raises
    ------
    BetafoldError
        For shapes that do not agree, coordinates or pLDDT that are not finite or out of range (a PDB file holds
        -999.999 to 9999.999 A), or a disulfide that is not between two cysteines.
    """

    id: str
    sequence: str
    coordinates: np.ndarray
    plddt: np.ndarray
    cyclic: bool = False
    disulfides: Pairs = ()
    model_name: str = ""
    software_version: str = ""
    title: str = ""

    def __post_init__(self) -> None:
        residue_ids(self.sequence)
        models, length = len(self.coordinates), len(self.sequence)
        if not models or not length or self.coordinates.shape != (models, length, 5, 3):
            raise BetafoldError(f"coordinates of shape {self.coordinates.shape} for {length} residues")
        if self.plddt.shape != (models, length):
            raise BetafoldError(f"pLDDT of shape {self.plddt.shape} for {models} models of {length} residues")
        if not ((self.plddt >= 0) & (self.plddt <= 100)).all():
            raise BetafoldError("a pLDDT is not between 0 and 100")
        present = self.coordinates[~np.isnan(self.coordinates)]
        if np.isnan(self.coordinates[:, :, :4]).any() or not ((present > -999) & (present < 9999)).all():
            raise BetafoldError("a coordinate is not a number or does not fit into a PDB file")
        for i, j in self.disulfides:
            if not 1 <= i < j <= length or self.sequence[i - 1] != "C" or self.sequence[j - 1] != "C":
                raise BetafoldError(f"disulfide {i}-{j} is not between two cysteines of the sequence")


def to_structure(prediction: PredictedModels) -> gemmi.Structure:
    """Return a prediction as a gemmi structure: chain A, residues 1 to L, models 1 to M.

    Occupancies are 1; the B-factor of every atom is the pLDDT of its residue, rounded to two digits. There is no
    OXT. Coordinates are rounded to 0.001 A. Bonds are not part of it: gemmi writes none between atoms that are
    absent, such as SG.
    """
    names = [THREE_LETTER[letter] for letter in prediction.sequence]
    structure = gemmi.Structure()
    structure.name = block_name(prediction.id)
    structure.info["_entry.id"] = structure.name
    structure.info["_struct.title"] = _title(prediction)
    structure.info["_exptl.method"] = "THEORETICAL MODEL"
    structure.entities.append(_entity(names))
    for number, (atoms, plddt) in enumerate(
        zip(prediction.coordinates, prediction.plddt, strict=True), start=1
    ):
        chain = gemmi.Chain(CHAIN)
        for index, name in enumerate(names):
            chain.add_residue(_residue(index + 1, name, atoms[index], round(float(plddt[index]), 2)))
        model = gemmi.Model(number)
        model.add_chain(chain)
        structure.add_model(model)
    structure.assign_serial_numbers()
    return structure


def to_mmcif(prediction: PredictedModels) -> str:
    """Return a prediction as mmCIF text with ModelCIF categories."""
    structure = to_structure(prediction)
    groups = gemmi.MmcifOutputGroups(True)
    groups.cell = groups.symmetry = False  # nothing was crystallised
    groups.conn = groups.chem_comp = groups.software = False  # written by add_modelcif
    block = structure.make_mmcif_block(groups)
    add_modelcif(
        block,
        sequence=prediction.sequence,
        plddt=np.round(prediction.plddt.astype(np.float64), 2),
        description=clean_text(prediction.id) or structure.name,
        model_name=clean_text(prediction.model_name),
        version=clean_text(prediction.software_version),
        disulfides=prediction.disulfides,
        ring_bond=_ring_bond(prediction) if prediction.cyclic else None,
    )
    options = gemmi.cif.WriteOptions()
    options.align_loops = 30
    options.prefer_pairs = True
    return block.as_string(options)


def to_pdb(prediction: PredictedModels) -> str:
    """Return a prediction as PDB text.

    It has no HEADER record: that asks for a date, a classification and a PDB code.
    """
    options = gemmi.PdbWriteOptions()
    options.seqres_records = options.ssbond_records = options.link_records = False
    options.minimal_file = True
    options.cryst1_record = True
    options.end_record = True
    return _pdb_header(prediction) + to_structure(prediction).make_pdb_string(options)


def block_name(text: str) -> str:
    """Return `text` as the name of an mmCIF data block: letters, digits, ``_``, ``-``, ``.``; up to 75."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", clean_text(text)).strip("_")[:75] or "peptide"


def clean_text(text: str) -> str:
    """Return `text` as one line of printable ASCII, which is what CIF 1.1 and PDB files may hold."""
    bare = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    ascii_text = bare.encode("ascii", "replace").decode()
    printable = "".join(c if c.isprintable() else " " for c in ascii_text)
    return " ".join(printable.split())[:200]


def _title(prediction: PredictedModels) -> str:
    return clean_text(prediction.title) or clean_text(prediction.id) or "peptide"


def _entity(names: list[str]) -> gemmi.Entity:
    entity = gemmi.Entity("1")
    entity.entity_type = gemmi.EntityType.Polymer
    entity.polymer_type = gemmi.PolymerType.PeptideL
    entity.full_sequence = names  # without it label_seq_id comes out as '.'
    entity.subchains = [CHAIN]
    return entity


def _residue(number: int, name: str, atoms: np.ndarray, plddt: float) -> gemmi.Residue:
    residue = gemmi.Residue()
    residue.name = name
    residue.seqid = gemmi.SeqId(number, " ")
    residue.label_seq = number
    residue.subchain = CHAIN
    residue.entity_id = "1"
    residue.entity_type = gemmi.EntityType.Polymer
    residue.het_flag = "A"
    for atom_name, element, position in zip(ATOM_NAMES, _ELEMENTS, atoms, strict=True):
        if atom_name == "CB" and (name == "GLY" or np.isnan(position).any()):
            continue
        atom = gemmi.Atom()
        atom.name = atom_name
        atom.element = element
        atom.pos = gemmi.Position(*np.round(position.astype(np.float64), 3).tolist())
        atom.occ = 1.0
        atom.b_iso = plddt
        residue.add_atom(atom)
    return residue


def _ring_bond(prediction: PredictedModels) -> float:
    """Return the distance (Angstrom) from C of the last residue to N of the first in model 1."""
    first = prediction.coordinates[0].astype(np.float64)
    return float(np.linalg.norm(first[-1, 2] - first[0, 0]))


def _pdb_header(prediction: PredictedModels) -> str:
    names = [THREE_LETTER[letter] for letter in prediction.sequence]
    length = len(names)
    program = clean_text(f"betafold-mlx {prediction.software_version}")
    model = f", model {clean_text(prediction.model_name)}" if prediction.model_name else ""
    remarks = [
        "",
        f"Predicted by {program}{model}.",
        "Not an experimental structure. Backbone atoms and CB only.",
        "Models are ranked, best first. B-factor: predicted lDDT-CA, 0 to 100.",
    ]
    lines = _continued("TITLE ", _title(prediction).upper())
    lines.append("EXPDTA    THEORETICAL MODEL")
    if len(prediction.coordinates) > 1:
        lines.append(f"NUMMDL    {len(prediction.coordinates):<4}")
    lines += [f"REMARK  99 {text}" for remark in remarks for text in _wrapped(remark)]
    for start in range(0, length, 13):
        row = " ".join(names[start : start + 13])
        lines.append(f"SEQRES {start // 13 + 1:>3} {CHAIN} {length:>4}  {row}")
    for serial, (i, j) in enumerate(prediction.disulfides, start=1):
        ends = f"CYS {CHAIN} {i:>4}    CYS {CHAIN} {j:>4}"
        lines.append(f"SSBOND {serial:>3} {ends} {'':23}{1555:>6} {1555:>6}")
    if prediction.cyclic:
        last, first = f"C   {names[-1]} {CHAIN}{length:>4}", f"N   {names[0]} {CHAIN}{1:>4}"
        lines.append(
            f"LINK         {last}{'':17}{first}   {1555:>6} {1555:>6} {_ring_bond(prediction):>5.2f}"
        )
    return "".join(f"{line:<80}\n" for line in lines)


def _continued(record: str, text: str) -> list[str]:
    """Return a PDB record of free text, split over numbered continuation lines."""
    rows = _wrapped(text)
    head = [f"{record}    {rows[0]}"]
    return head + [f"{record}  {number:>2} {row}" for number, row in enumerate(rows[1:], start=2)]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, width=69) or [""]
