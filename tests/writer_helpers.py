"""Predictions to write into files, and independent readers of what was written."""

import io
import warnings

import biotite.structure.io.pdb as biotite_pdb
import biotite.structure.io.pdbx as biotite_pdbx
import gemmi
import numpy as np
from structure_helpers import ideal

from betafold_mlx.sequence import THREE_LETTER
from betafold_mlx.structure.writer import PredictedModels, to_pdb

SEQUENCE = "GCNAPFCKGYWC"
ATOMS = ("N", "CA", "C", "O", "CB")


def prediction(sequence=SEQUENCE, models=3, seed=0, **changes):
    generator = np.random.default_rng(seed)
    coordinates = np.stack([ideal(sequence, seed=seed + model) for model in range(models)])
    coordinates[:, [letter == "G" for letter in sequence], 4] = np.nan
    fields = {
        "id": "x",
        "sequence": sequence,
        "coordinates": coordinates.astype(np.float32),
        "plddt": generator.uniform(0, 100, (models, len(sequence))).astype(np.float32),
        "model_name": "betafold-mini",
        "software_version": "1.2.3",
        **changes,
    }
    return PredictedModels(**fields)


def expected_atoms(p):
    """Return names, residue names, residue numbers, coordinates (M, A, 3) and B-factors (M, A) of the atoms.

    Of an L peptide without caps.
    """
    kept = [(i, k) for i, letter in enumerate(p.sequence) for k in range(5) if not (k == 4 and letter == "G")]
    i, k = np.array(kept).T
    names = [ATOMS[atom] for atom in k]
    residues = [THREE_LETTER[p.sequence[index]] for index in i]
    return names, residues, (i + 1).tolist(), p.coordinates[:, i, k], p.plddt[:, i]


def read_gemmi(text, form):
    structure = (
        gemmi.read_pdb_string(text)
        if form is to_pdb
        else gemmi.make_structure_from_block(gemmi.cif.read_string(text).sole_block())
    )
    structure.setup_entities()
    return structure


def read_biotite(text, form):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        if form is to_pdb:
            return biotite_pdb.PDBFile.read(io.StringIO(text)).get_structure(
                extra_fields=["b_factor", "occupancy"]
            )
        file = biotite_pdbx.CIFFile.read(io.StringIO(text))
        return biotite_pdbx.get_structure(
            file, extra_fields=["b_factor", "occupancy"], use_author_fields=False
        )
