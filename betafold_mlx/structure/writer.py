"""Predictions as PDB and mmCIF text: atoms, pLDDT and the stated chemistry.

mmCIF files carry the ModelCIF categories that viewers colour by; names follow the ModelCIF dictionary 1.4.9 and
what python-modelcif writes. A file has no date and nothing about the machine: the same prediction gives the
same bytes.

The atoms of a residue are in the order N, CA, C, O, CB, side chain, OXT; what leaves when a bond is made is not
written. Bonds are stated (LINK, SSBOND and CONECT, ``_struct_conn``) where every model has them, as a file states a
bond for all its models. Caps are placed when a file is written (`structure.caps`), as residues of their own, 0 before
the first and L + 1 after the last, with B-factor 0 and no pLDDT.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from betafold_mlx._version import __version__
from betafold_mlx.geometry.spread import superpose_models
from betafold_mlx.peptide.bonds import ring_bond
from betafold_mlx.peptide.cap_bonds import has_cap_bond
from betafold_mlx.peptide.residue_table import RESIDUES
from betafold_mlx.peptide.sequence import Peptide
from betafold_mlx.structure.components import CAP_ATOMS, End, Monomer, WrittenChain, monomers, written_chain

if TYPE_CHECKING:
    from betafold_mlx.fold.prediction import Prediction

_ALL_ATOMS = (
    "All heavy atoms. The B-factor of a residue is of its CA: side chains have no confidence of their own."
)
_BACKBONE_ATOMS = "Backbone atoms and CB only."


def to_mmcif(prediction: Prediction) -> str:
    """Return a prediction as mmCIF text with ModelCIF categories.

    Occupancies are 1; the B-factor of every atom is the pLDDT of its residue, rounded to two digits, and 0 in caps.
    Models are superposed on the first; coordinates are rounded to 0.001 A.
    """
    from betafold_mlx.structure.mmcif import mmcif_text

    name, plddt = block_name(prediction.id), _rounded_plddt(prediction)
    return mmcif_text(
        written_prediction(prediction),
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
        f"Not an experimental structure. {_which_atoms(prediction)}",
        "Models are ranked, best first. B-factor: predicted lDDT-CA, 0 to 100.",
        *_chemistry_remarks(prediction.peptide),
    ]
    return pdb_text(written_prediction(prediction), remarks)


def written_prediction(prediction: Prediction) -> WrittenChain:
    """Return what both formats say of a prediction."""
    peptide, relaxation = prediction.peptide, prediction.relaxation
    chain = monomers(peptide.residues, peptide.n_cap, peptide.c_cap)
    plddt = _rounded_plddt(prediction)
    if peptide.n_cap or peptide.c_cap:
        plddt = np.pad(plddt, ((0, 0), (int(bool(peptide.n_cap)), int(bool(peptide.c_cap)))))
    names, coordinates = (
        _heavy_atoms(prediction, chain) if relaxation is None else (relaxation.names, relaxation.coordinates)
    )
    return written_chain(_title(prediction), chain, names, coordinates, plddt, _bonds(prediction, chain))


def _heavy_atoms(
    prediction: Prediction, chain: Sequence[Monomer]
) -> tuple[Sequence[tuple[str, ...]], np.ndarray]:
    """Return the heavy atoms of each position, and their coordinates (M, n, 3) with the models superposed."""
    peptide = prediction.peptide
    names, coordinates = prediction.names, prediction.heavy_atoms(True)
    if peptide.n_cap or peptide.c_cap:
        before, behind = _caps(prediction)
        coordinates = np.concatenate([before, coordinates, behind], axis=1)
        names = tuple(CAP_ATOMS[m.name] if m.cap else names[m.number - 1] for m in chain)
    return names, coordinates


def _which_atoms(prediction: Prediction) -> str:
    """Return what a reader should know of the atoms in the file."""
    relaxation = prediction.relaxation
    if relaxation is None:
        return _ALL_ATOMS if prediction.all_atoms else _BACKBONE_ATOMS
    return (
        f"All atoms, minimised by OpenMM {relaxation.openmm} with AMBER ff14SB and GBn2, the backbone restrained; "
        f"hydrogens for pH {relaxation.ph:g}. The B-factor of a residue is of its CA, before that."
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


def _rounded_plddt(prediction: Prediction) -> np.ndarray:
    """Return the pLDDT (M, L) as files have it."""
    return np.round(prediction.plddt.astype(np.float64), 2)


def _caps(prediction: Prediction) -> tuple[np.ndarray, np.ndarray]:
    """Return the atoms of both caps of each model, (M, n, 3) and (M, m, 3)."""
    from betafold_mlx.structure.caps import place_caps

    peptide = prediction.peptide
    mirrored = (RESIDUES[peptide.residues[0]].hand or ("D" if peptide.d_amino_acids else "")) == "D"
    atoms = prediction.coordinates if prediction.atoms is None else prediction.atoms
    phi = prediction.torsions[:, 0, 0] if has_cap_bond(peptide) else [np.nan] * len(prediction.coordinates)
    placed = [
        place_caps(peptide.sequence, model, peptide.n_cap, peptide.c_cap, mirrored, float(of_model))
        for model, of_model in zip(superpose_models(atoms), phi, strict=True)
    ]
    return np.stack([before for before, _ in placed]), np.stack([behind for _, behind in placed])


def _bonds(prediction: Prediction, chain: list[Monomer]) -> list[tuple[End, End]]:
    """Return the bonds to be stated: those of the peptide that no model lacks.

    Those along the chain too where they are of a residue or cap that is no standard residue, as in wwPDB files, and
    between residues with another bond: Mol* takes what is stated between two residues for all that there is.
    """
    peptide = prediction.peptide
    shift = int(bool(peptide.n_cap))  # from 1-based places to positions
    lacking = {(bond.kind, bond.residues) for model in prediction.bonds for bond in model if not bond.formed}
    ring = ring_bond(len(peptide))
    pairs, others = [], []
    for bond in peptide.bonds:
        kind = "ring" if bond == ring else "disulfide" if bond.disulfide else "bond"
        if (kind, (bond.i, bond.j)) in lacking:
            continue
        ends = End(bond.i - 1 + shift, bond.atom_i), End(bond.j - 1 + shift, bond.atom_j)
        if bond == ring:
            pairs.append(ends[::-1])
        else:
            others.append(ends)
    beside = {first.position for first, second in others if second.position - first.position == 1}
    along = [
        (End(position, one.ends[1]), End(position + 1, other.ends[0]))
        for position, (one, other) in enumerate(pairwise(chain))
        if not (one.standard and other.standard) or position in beside
    ]
    return pairs + along + others


def _chemistry_remarks(peptide: Peptide) -> list[str]:
    """Return what a reader of the file should know of its chemistry, in sentences."""
    said = []
    if peptide.d_amino_acids:
        said.append("All residues with a hand are D: the mirror image of the predicted L peptide.")
    if peptide.n_cap or peptide.c_cap:
        caps = " and ".join(cap for cap in (peptide.n_cap, peptide.c_cap) if cap)
        held = ", and by its stated bond" if has_cap_bond(peptide) else ""
        said.append(f"{caps}: not modelled, but placed by ideal geometry{held}; no pLDDT, B-factor 0.")
    return said
