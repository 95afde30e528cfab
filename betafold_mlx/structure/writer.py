"""Predictions as PDB and mmCIF text: atoms, pLDDT and the stated chemistry.

mmCIF files carry the ModelCIF categories that viewers colour by; names follow the ModelCIF dictionary 1.4.9 and
what python-modelcif writes. There is no date and nothing of the machine in a file: the same prediction gives the
same bytes.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

import gemmi
import numpy as np

from betafold_mlx.chemistry import C_CAPS, N_CAPS
from betafold_mlx.errors import BetafoldError
from betafold_mlx.sequence import residue_ids
from betafold_mlx.structure.bonds import Pairs
from betafold_mlx.structure.caps import place_caps
from betafold_mlx.structure.components import CHAIN, Link, Monomer, monomers
from betafold_mlx.structure.modelcif import add_modelcif
from betafold_mlx.structure.pdbheader import pdb_header

_LIMITS = (-990.0, 9990.0)
"""Angstrom: a PDB file holds -999.999 to 9999.999, and a cap stands a little outside."""


@dataclass(frozen=True)
class PredictedModels:
    """Models of one peptide, best first, and what a file says about them.

    `cyclic` and `disulfides` state the chemistry of the molecule that was folded. They are written as bonds
    (LINK and SSBOND, ``_struct_conn``) whatever the coordinates are, as a chemist would draw them; the length of
    the ring bond in model 1 stands beside it. Leave them at their defaults to state none.

    Caps are not among the coordinates: they are placed when a file is written (`structure.caps`), as residues of
    their own, 0 before the first and L + 1 behind the last, with B-factor 0 and no pLDDT.

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
    d_amino_acids : bool
        The coordinates are of D residues.
    n_cap, c_cap : str or None
        ``ACE`` and ``NH2``; None for a free end. A ring has none.
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
        -999.999 to 9999.999 A), a disulfide that is not between two cysteines, an unknown cap or one on a ring.
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
    d_amino_acids: bool = False
    n_cap: str | None = None
    c_cap: str | None = None

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
        low, high = _LIMITS
        if np.isnan(self.coordinates[:, :, :4]).any() or not ((present > low) & (present < high)).all():
            raise BetafoldError("a coordinate is not a number or does not fit into a PDB file")
        for i, j in self.disulfides:
            if not 1 <= i < j <= length or self.sequence[i - 1] != "C" or self.sequence[j - 1] != "C":
                raise BetafoldError(f"disulfide {i}-{j} is not between two cysteines of the sequence")
        if self.n_cap not in (None, *N_CAPS) or self.c_cap not in (None, *C_CAPS):
            raise BetafoldError(f"unknown caps {self.n_cap} and {self.c_cap}")
        if self.cyclic and (self.n_cap or self.c_cap):
            raise BetafoldError("a cyclic peptide has no ends to cap")

    @property
    def chain(self) -> list[Monomer]:
        """The positions of the chain as they are written: residues and caps."""
        return monomers(self.sequence, self.d_amino_acids, self.n_cap, self.c_cap)

    @property
    def remarks(self) -> list[str]:
        """What a reader of the file should know of its chemistry, in sentences."""
        said = []
        if self.d_amino_acids:
            said.append("All residues but glycine are D: the mirror image of the predicted L peptide.")
        if self.n_cap or self.c_cap:
            caps = " and ".join(cap for cap in (self.n_cap, self.c_cap) if cap)
            said.append(f"{caps}: not modelled, but placed by ideal geometry; no pLDDT, B-factor 0.")
        return said


def to_structure(prediction: PredictedModels) -> gemmi.Structure:
    """Return a prediction as a gemmi structure: chain A, residues 1 to L, models 1 to M.

    Occupancies are 1; the B-factor of every atom is the pLDDT of its residue, rounded to two digits, and 0 in caps.
    There is no OXT. Coordinates are rounded to 0.001 A. Bonds are not part of it: gemmi writes none between atoms
    that are absent, such as SG.
    """
    chain = prediction.chain
    structure = gemmi.Structure()
    structure.name = block_name(prediction.id)
    structure.info["_entry.id"] = structure.name
    structure.info["_struct.title"] = _title(prediction)
    structure.info["_exptl.method"] = "THEORETICAL MODEL"
    structure.entities.append(_entity(prediction))
    for number, plddt in enumerate(prediction.plddt, start=1):
        model = gemmi.Model(number)
        model.add_chain(gemmi.Chain(CHAIN))
        for label, (monomer, atoms) in enumerate(
            zip(chain, _atoms(prediction, number - 1), strict=True), start=1
        ):
            b_factor = 0.0 if monomer.cap else round(float(plddt[monomer.number - 1]), 2)
            model[CHAIN].add_residue(_residue(label, monomer, atoms, b_factor))
        structure.add_model(model)
    structure.assign_serial_numbers()
    return structure


def _atoms(prediction: PredictedModels, index: int) -> list[np.ndarray]:
    """Return the atoms (n, 3) of each position of a model."""
    coordinates = prediction.coordinates[index]
    before, behind = place_caps(
        prediction.sequence, coordinates, prediction.n_cap, prediction.c_cap, prediction.d_amino_acids
    )
    return [atoms for atoms in (before, *coordinates, behind) if len(atoms)]


def to_mmcif(prediction: PredictedModels) -> str:
    """Return a prediction as mmCIF text with ModelCIF categories."""
    structure = to_structure(prediction)
    groups = gemmi.MmcifOutputGroups(True)
    groups.cell = groups.symmetry = False  # nothing was crystallised
    groups.conn = groups.chem_comp = groups.software = False  # written by add_modelcif
    block = structure.make_mmcif_block(groups)
    add_modelcif(
        block,
        chain=prediction.chain,
        polymer_type="polypeptide(D)" if prediction.d_amino_acids else "polypeptide(L)",
        plddt=np.round(prediction.plddt.astype(np.float64), 2),
        description=clean_text(prediction.id) or structure.name,
        model_name=clean_text(prediction.model_name),
        version=clean_text(prediction.software_version),
        details=" ".join(prediction.remarks),
        disulfides=prediction.disulfides,
        links=_links(prediction),
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
    header = pdb_header(
        title=_title(prediction),
        remarks=_remarks(prediction),
        models=len(prediction.coordinates),
        chain=prediction.chain,
        disulfides=prediction.disulfides,
        links=_links(prediction),
    )
    return header + to_structure(prediction).make_pdb_string(options)


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


def _entity(prediction: PredictedModels) -> gemmi.Entity:
    entity = gemmi.Entity("1")
    entity.entity_type = gemmi.EntityType.Polymer
    types = gemmi.PolymerType
    entity.polymer_type = types.PeptideD if prediction.d_amino_acids else types.PeptideL
    # Without it label_seq_id comes out as '.'.
    entity.full_sequence = [monomer.name for monomer in prediction.chain]
    entity.subchains = [CHAIN]
    return entity


def _residue(label: int, monomer: Monomer, atoms: np.ndarray, b_factor: float) -> gemmi.Residue:
    residue = gemmi.Residue()
    residue.name = monomer.name
    residue.seqid = gemmi.SeqId(monomer.number, " ")
    residue.label_seq = label
    residue.subchain = CHAIN
    residue.entity_id = "1"
    residue.entity_type = gemmi.EntityType.Polymer
    residue.het_flag = "A" if monomer.standard else "H"
    for name, position in zip(monomer.atoms, atoms, strict=True):
        if name == "CB" and (monomer.letter == "G" or np.isnan(position).any()):
            continue
        atom = gemmi.Atom()
        atom.name = name
        atom.element = gemmi.Element(name[0])
        rounded = np.round(position.astype(np.float64), 3) + 0.0  # and no -0
        atom.pos = gemmi.Position(*rounded.tolist())
        atom.occ = 1.0
        atom.b_iso = b_factor
        residue.add_atom(atom)
    return residue


def _links(prediction: PredictedModels) -> list[Link]:
    """Return the bonds that close the ring or hold the caps, with their lengths in model 1."""
    chain, atoms = prediction.chain, _atoms(prediction, 0)
    last = len(chain) - 1
    pairs = [(last, 0)] if prediction.cyclic else []
    pairs += [(0, 1)] if prediction.n_cap else []
    pairs += [(last - 1, last)] if prediction.c_cap else []
    links = []
    for i, j in pairs:
        c, n = atoms[i][chain[i].atoms.index("C")], atoms[j][chain[j].atoms.index("N")]
        links.append(Link(i, j, float(np.linalg.norm(c.astype(np.float64) - n))))
    return links


def _remarks(prediction: PredictedModels) -> list[str]:
    program = clean_text(f"betafold-mlx {prediction.software_version}")
    model = f", model {clean_text(prediction.model_name)}" if prediction.model_name else ""
    return [
        f"Predicted by {program}{model}.",
        "Not an experimental structure. Backbone atoms and CB only.",
        "Models are ranked, best first. B-factor: predicted lDDT-CA, 0 to 100.",
        *prediction.remarks,
    ]
