"""Predictions as PDB and mmCIF text: atoms, pLDDT and the stated chemistry.

mmCIF files carry the ModelCIF categories that viewers colour by; names follow the ModelCIF dictionary 1.4.9 and
what python-modelcif writes. A file has no date and nothing about the machine: the same prediction gives the
same bytes.

Bonds are stated (LINK and SSBOND, ``_struct_conn``) where every model has them, as a file states a bond for all its
models. Caps are placed when a file is written (`structure.caps`), as residues of their own, 0 before the first and
L + 1 after the last, with B-factor 0 and no pLDDT.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

import numpy as np

from betafold_mlx._version import __version__
from betafold_mlx.geometry.spread import superpose_models
from betafold_mlx.peptide.sequence import Peptide
from betafold_mlx.structure.components import Link, Monomer, WrittenChain, monomers, written_atoms

if TYPE_CHECKING:
    from betafold_mlx.fold.prediction import Prediction


def to_mmcif(prediction: Prediction) -> str:
    """Return a prediction as mmCIF text with ModelCIF categories.

    Occupancies are 1; the B-factor of every atom is the pLDDT of its residue, rounded to two digits, and 0 in caps.
    There is no OXT. Models are superposed on the first; coordinates are rounded to 0.001 A.
    """
    from betafold_mlx.structure.mmcif import mmcif_text

    name, plddt = block_name(prediction.id), _rounded_plddt(prediction)
    return mmcif_text(
        _written(prediction),
        name=name,
        description=clean_text(prediction.id) or name,
        polymer_type="polypeptide(D)" if prediction.peptide.d_amino_acids else "polypeptide(L)",
        model_names=[f"rank {rank}" for rank in range(1, len(plddt) + 1)],
        model_type="Ab initio model",
        plddt=plddt,
        made_by=clean_text(prediction.made_by),
        details=" ".join(_chemistry_remarks(prediction.peptide)),
    )


def to_pdb(prediction: Prediction) -> str:
    """Return a prediction as PDB text, its numbers as in `to_mmcif`."""
    from betafold_mlx.structure.pdb import pdb_text

    remarks = [
        f"Predicted by betafold-mlx {__version__}, model {clean_text(prediction.made_by)}.",
        "Not an experimental structure. Backbone atoms and CB only.",
        "Models are ranked, best first. B-factor: predicted lDDT-CA, 0 to 100.",
        *_chemistry_remarks(prediction.peptide),
    ]
    return pdb_text(_written(prediction), remarks)


def _written(prediction: Prediction) -> WrittenChain:
    """Return what both formats say of a prediction."""
    peptide, plddt = prediction.peptide, _rounded_plddt(prediction)
    chain = monomers(peptide.sequence, peptide.d_amino_acids, peptide.n_cap, peptide.c_cap)
    chain = [each if each.cap else each._replace(name=peptide.residues[each.number - 1]) for each in chain]
    models = _atoms(prediction)
    written = []
    for atoms, row in zip(models, plddt.tolist(), strict=True):
        b_factors = [0.0 if monomer.cap else row[monomer.number - 1] for monomer in chain]
        written.append(written_atoms(chain, atoms, b_factors))
    # The stated bonds that every model has, as model 1 has them.
    formed = [bonds[0] for bonds in zip(*prediction.bonds, strict=True) if all(b.formed for b in bonds)]
    disulfides = tuple(bond.residues for bond in formed if bond.kind == "disulfide")
    links = _links(peptide, any(bond.kind == "ring" for bond in formed), chain, models[0])
    return WrittenChain(_title(prediction), chain, written, disulfides, links)


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


def _title(prediction: Prediction) -> str:
    return clean_text(f"{prediction.id}: predicted by betafold-mlx {__version__}, model {prediction.made_by}")


def _rounded_plddt(prediction: Prediction) -> np.ndarray:
    """Return the pLDDT (M, L) as files have it."""
    return np.round(prediction.plddt.astype(np.float64), 2)


def _atoms(prediction: Prediction) -> list[list[np.ndarray]]:
    """Return for each model the atoms (n, 3) of each position."""
    peptide, models = prediction.peptide, superpose_models(prediction.coordinates)
    if not (peptide.n_cap or peptide.c_cap):
        return [list(model) for model in models]
    from betafold_mlx.structure.caps import place_caps

    caps = (
        place_caps(peptide.sequence, model, peptide.n_cap, peptide.c_cap, peptide.d_amino_acids)
        for model in models
    )
    return [
        [atoms for atoms in (before, *model, behind) if len(atoms)]
        for model, (before, behind) in zip(models, caps, strict=True)
    ]


def _links(peptide: Peptide, ring: bool, chain: list[Monomer], atoms: list[np.ndarray]) -> list[Link]:
    """Return the bonds that close the ring or hold the caps, with their lengths in model 1."""
    last = len(chain) - 1
    pairs = [(last, 0)] * ring + [(0, 1)] * bool(peptide.n_cap) + [(last - 1, last)] * bool(peptide.c_cap)
    links = []
    for i, j in pairs:
        c, n = atoms[i][chain[i].atoms.index("C")], atoms[j][chain[j].atoms.index("N")]
        links.append(Link(i, j, float(np.linalg.norm(c.astype(np.float64) - n))))
    return links


def _chemistry_remarks(peptide: Peptide) -> list[str]:
    """Return what a reader of the file should know of its chemistry, in sentences."""
    said = []
    if peptide.d_amino_acids:
        said.append("All residues but glycine are D: the mirror image of the predicted L peptide.")
    if peptide.n_cap or peptide.c_cap:
        caps = " and ".join(cap for cap in (peptide.n_cap, peptide.c_cap) if cap)
        said.append(f"{caps}: not modelled, but placed by ideal geometry; no pLDDT, B-factor 0.")
    return said
