"""Predictions as PDB and mmCIF text: atoms, pLDDT and the stated chemistry.

mmCIF files carry the ModelCIF categories that viewers colour by; names follow the ModelCIF dictionary 1.4.9 and
what python-modelcif writes. There is no date and nothing of the machine in a file: the same prediction gives the
same bytes.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from dataclasses import dataclass

import gemmi
import numpy as np

from betafold_mlx.errors import BetafoldError
from betafold_mlx.peptide.chemistry import C_CAPS, N_CAPS
from betafold_mlx.peptide.sequence import residue_ids
from betafold_mlx.structure.atoms import WrittenModel, written_model
from betafold_mlx.structure.bonds import Pairs
from betafold_mlx.structure.caps import place_caps
from betafold_mlx.structure.components import Link, Monomer, monomers
from betafold_mlx.structure.mmcif import add_chain, block_text
from betafold_mlx.structure.modelcif import add_modelcif
from betafold_mlx.structure.pdbatoms import pdb_atoms
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

    @functools.cached_property
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


def to_mmcif(prediction: PredictedModels) -> str:
    """Return a prediction as mmCIF text with ModelCIF categories.

    Occupancies are 1; the B-factor of every atom is the pLDDT of its residue, rounded to two digits, and 0 in caps.
    There is no OXT. Coordinates are rounded to 0.001 A.
    """
    name = block_name(prediction.id)
    description = clean_text(prediction.id) or name
    block = gemmi.cif.Block(name)
    add_chain(
        block,
        chain=prediction.chain,
        polymer_type="polypeptide(D)" if prediction.d_amino_acids else "polypeptide(L)",
        description=description,
        title=_title(prediction),
        models=_written(prediction),
    )
    add_modelcif(
        block,
        chain=prediction.chain,
        names=[f"rank {rank}" for rank in range(1, len(prediction.plddt) + 1)],
        model_type="Ab initio model",
        plddt=np.round(prediction.plddt.astype(np.float64), 2),
        description=description,
        model_name=clean_text(prediction.model_name),
        version=clean_text(prediction.software_version),
        details=" ".join(prediction.remarks),
        disulfides=prediction.disulfides,
        links=_links(prediction),
    )
    return block_text(block)


def to_pdb(prediction: PredictedModels) -> str:
    """Return a prediction as PDB text, its numbers as in `to_mmcif`.

    It has no HEADER record: that asks for a date, a classification and a PDB code.
    """
    header = pdb_header(
        title=_title(prediction),
        remarks=_remarks(prediction),
        models=len(prediction.coordinates),
        chain=prediction.chain,
        disulfides=prediction.disulfides,
        links=_links(prediction),
    )
    return header + pdb_atoms(_written(prediction))


def block_name(text: str) -> str:
    """Return `text` as the name of an mmCIF data block: letters, digits, ``_``, ``-``, ``.``; up to 75."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", clean_text(text)).strip("_")[:75] or "peptide"


def clean_text(text: str) -> str:
    """Return `text` as one line of printable ASCII, which is what CIF 1.1 and PDB files may hold."""
    if text.isascii() and text.isprintable():
        return " ".join(text.split())[:200]
    bare = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    ascii_text = bare.encode("ascii", "replace").decode()
    printable = "".join(c if c.isprintable() else " " for c in ascii_text)
    return " ".join(printable.split())[:200]


def _title(prediction: PredictedModels) -> str:
    return clean_text(prediction.title) or clean_text(prediction.id) or "peptide"


def _written(prediction: PredictedModels) -> list[WrittenModel]:
    """Return the atoms of each model as they are written."""
    chain = prediction.chain
    models = []
    for index, plddt in enumerate(np.round(prediction.plddt.astype(np.float64), 2).tolist()):
        b_factors = [0.0 if monomer.cap else plddt[monomer.number - 1] for monomer in chain]
        models.append(written_model(chain, _atoms(prediction, index), b_factors))
    return models


def _atoms(prediction: PredictedModels, index: int) -> list[np.ndarray]:
    """Return the atoms (n, 3) of each position of a model."""
    coordinates = prediction.coordinates[index]
    before, behind = place_caps(
        prediction.sequence, coordinates, prediction.n_cap, prediction.c_cap, prediction.d_amino_acids
    )
    return [atoms for atoms in (before, *coordinates, behind) if len(atoms)]


def _links(prediction: PredictedModels) -> list[Link]:
    """Return the bonds that close the ring or hold the caps, with their lengths in model 1."""
    chain = prediction.chain
    last = len(chain) - 1
    pairs = [(last, 0)] if prediction.cyclic else []
    pairs += [(0, 1)] if prediction.n_cap else []
    pairs += [(last - 1, last)] if prediction.c_cap else []
    if not pairs:
        return []
    atoms = _atoms(prediction, 0)
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
