"""Predictions as PDB and mmCIF text: atoms, pLDDT and the stated chemistry.

mmCIF files carry the ModelCIF categories that viewers colour by; names follow the ModelCIF dictionary 1.4.9 and
what python-modelcif writes. There is no date and nothing of the machine in a file: the same prediction gives the
same bytes.

Bonds are stated (LINK and SSBOND, ``_struct_conn``) where every model has them, as a file states a bond for all its
models. Caps are placed when a file is written (`structure.caps`), as residues of their own, 0 before the first and
L + 1 behind the last, with B-factor 0 and no pLDDT.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

import numpy as np

from betafold_mlx._version import __version__
from betafold_mlx.geometry.closure import Bond
from betafold_mlx.geometry.spread import superpose_models
from betafold_mlx.peptide.sequence import Peptide
from betafold_mlx.structure.bonds import Pairs
from betafold_mlx.structure.caps import place_caps
from betafold_mlx.structure.components import Link, Monomer, monomers, written_atoms
from betafold_mlx.structure.mmcif import mmcif_text
from betafold_mlx.structure.pdb import pdb_text

if TYPE_CHECKING:
    from betafold_mlx.fold.prediction import Prediction


def to_mmcif(prediction: Prediction) -> str:
    """Return a prediction as mmCIF text with ModelCIF categories.

    Occupancies are 1; the B-factor of every atom is the pLDDT of its residue, rounded to two digits, and 0 in caps.
    There is no OXT. Models are superposed on the first; coordinates are rounded to 0.001 A.
    """
    name = block_name(prediction.id)
    peptide, plddt = prediction.peptide, _rounded_plddt(prediction)
    chain, atoms = _chain(peptide), _atoms(prediction)
    return mmcif_text(
        name=name,
        description=clean_text(prediction.id) or name,
        title=_title(prediction),
        chain=chain,
        polymer_type="polypeptide(D)" if peptide.d_amino_acids else "polypeptide(L)",
        models=[written_atoms(chain, *model) for model in zip(atoms, _b_factors(chain, plddt), strict=True)],
        model_names=[f"rank {rank}" for rank in range(1, len(plddt) + 1)],
        model_type="Ab initio model",
        plddt=plddt,
        made_by=clean_text(prediction.made_by),
        details=" ".join(_chemistry_remarks(peptide)),
        disulfides=_disulfides(prediction),
        links=_links(prediction, chain, atoms[0]),
    )


def to_pdb(prediction: Prediction) -> str:
    """Return a prediction as PDB text, its numbers as in `to_mmcif`."""
    chain, atoms = _chain(prediction.peptide), _atoms(prediction)
    b_factors = _b_factors(chain, _rounded_plddt(prediction))
    return pdb_text(
        title=_title(prediction),
        remarks=[
            f"Predicted by betafold-mlx {__version__}, model {clean_text(prediction.made_by)}.",
            "Not an experimental structure. Backbone atoms and CB only.",
            "Models are ranked, best first. B-factor: predicted lDDT-CA, 0 to 100.",
            *_chemistry_remarks(prediction.peptide),
        ],
        chain=chain,
        models=[written_atoms(chain, *model) for model in zip(atoms, b_factors, strict=True)],
        disulfides=_disulfides(prediction),
        links=_links(prediction, chain, atoms[0]),
    )


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


def _chain(peptide: Peptide) -> list[Monomer]:
    return monomers(peptide.sequence, peptide.d_amino_acids, peptide.n_cap, peptide.c_cap)


def _rounded_plddt(prediction: Prediction) -> np.ndarray:
    """Return the pLDDT (M, L) as files have it."""
    return np.round(prediction.plddt.astype(np.float64), 2)


def _b_factors(chain: list[Monomer], plddt: np.ndarray) -> list[list[float]]:
    """Return for each model the B-factor of each position."""
    return [[0.0 if monomer.cap else row[monomer.number - 1] for monomer in chain] for row in plddt.tolist()]


def _atoms(prediction: Prediction) -> list[list[np.ndarray]]:
    """Return for each model the atoms (n, 3) of each position."""
    peptide = prediction.peptide
    models = []
    for model in superpose_models(prediction.coordinates):
        before, behind = place_caps(
            peptide.sequence, model, peptide.n_cap, peptide.c_cap, peptide.d_amino_acids
        )
        models.append([atoms for atoms in (before, *model, behind) if len(atoms)])
    return models


def _formed(prediction: Prediction) -> list[Bond]:
    """Return the stated bonds that every model has, as model 1 has them."""
    return [bonds[0] for bonds in zip(*prediction.bonds, strict=True) if all(bond.formed for bond in bonds)]


def _disulfides(prediction: Prediction) -> Pairs:
    return tuple(bond.residues for bond in _formed(prediction) if bond.kind == "disulfide")


def _links(prediction: Prediction, chain: list[Monomer], atoms: list[np.ndarray]) -> list[Link]:
    """Return the bonds that close the ring or hold the caps, with their lengths in model 1."""
    peptide, last = prediction.peptide, len(chain) - 1
    pairs = [(last, 0)] if any(bond.kind == "ring" for bond in _formed(prediction)) else []
    pairs += [(0, 1)] if peptide.n_cap else []
    pairs += [(last - 1, last)] if peptide.c_cap else []
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
