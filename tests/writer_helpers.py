"""Predictions to write into files, and independent readers of what was written."""

import io
from dataclasses import fields

import biotite.structure.io.pdb as biotite_pdb
import biotite.structure.io.pdbx as biotite_pdbx
import gemmi
import numpy as np
from structure_helpers import ideal

from betafold_mlx.fold.prediction import Prediction
from betafold_mlx.geometry.closure import Bond
from betafold_mlx.geometry.spread import superpose_models
from betafold_mlx.peptide.sequence import THREE_LETTER, Peptide
from betafold_mlx.structure.components import D_THREE_LETTER
from betafold_mlx.structure.writer import _title, block_name, to_pdb

SEQUENCE = "GCNAPFCKGYWC"
ATOMS = ("N", "CA", "C", "O", "CB")


def prediction(sequence=SEQUENCE, models=3, seed=0, **changes):
    """Return models of random torsions, superposed as files have them; every stated bond counts as formed."""
    generator = np.random.default_rng(seed)
    coordinates = np.stack([ideal(sequence, seed=seed + model) for model in range(models)])
    coordinates[:, [letter == "G" for letter in sequence], 4] = np.nan
    stated = {field.name: changes.pop(field.name) for field in fields(Peptide) if field.name in changes}
    peptide = Peptide(sequence, **stated)
    bonds = [Bond("ring", (1, len(sequence)), 1.33, True)] if peptide.cyclic else []
    bonds += [Bond("disulfide", pair, 3.9, True) for pair in peptide.disulfides]
    made = {
        "id": "x",
        "peptide": peptide,
        "coordinates": superpose_models(coordinates.astype(np.float32)),
        "plddt": generator.uniform(0, 100, (models, len(sequence))).astype(np.float32),
        "torsions": np.zeros((models, len(sequence), 3), np.float32),
        "secondary_structure": ("C" * len(sequence),) * models,
        "bonds": (tuple(bonds),) * models,
        "seed": 0,
        "model_name": "betafold-mini",
        "model_sha256": "0" * 64,
        "embedder": {"kind": "residue", "label": "a residue embedding learned with the model"},
    }
    return Prediction(**made | changes)


def expected_atoms(p):
    """Return names, residue names, residue numbers, coordinates (M, A, 3) and B-factors (M, A) of the atoms.

    Of an L peptide without caps.
    """
    kept = [(i, k) for i, letter in enumerate(p.sequence) for k in range(5) if not (k == 4 and letter == "G")]
    i, k = np.array(kept).T
    names = [ATOMS[atom] for atom in k]
    residues = [THREE_LETTER[p.sequence[index]] for index in i]
    return names, residues, (i + 1).tolist(), p.coordinates[:, i, k], p.plddt[:, i]


def gemmi_structure(p):
    """Return a prediction as a gemmi structure, atom by atom: what gemmi makes of it is another way to write it.

    Of a peptide without caps; without bonds, which gemmi does not write between atoms that are absent.
    """
    structure = gemmi.Structure()
    structure.name = structure.info["_entry.id"] = block_name(p.id)
    structure.info["_struct.title"] = _title(p)
    structure.info["_exptl.method"] = "THEORETICAL MODEL"
    entity = gemmi.Entity("1")
    entity.entity_type = gemmi.EntityType.Polymer
    entity.polymer_type = (
        gemmi.PolymerType.PeptideD if p.peptide.d_amino_acids else gemmi.PolymerType.PeptideL
    )
    codes = D_THREE_LETTER if p.peptide.d_amino_acids else THREE_LETTER
    entity.full_sequence = [codes[letter] for letter in p.sequence]
    entity.subchains = ["A"]
    structure.entities.append(entity)
    for number, (coordinates, plddt) in enumerate(
        zip(superpose_models(p.coordinates), p.plddt, strict=True), start=1
    ):
        model = gemmi.Model(number)
        model.add_chain(gemmi.Chain("A"))
        for place, letter in enumerate(p.sequence):
            residue = gemmi.Residue()
            residue.name, residue.seqid = codes[letter], gemmi.SeqId(place + 1, " ")
            residue.label_seq, residue.subchain, residue.entity_id = place + 1, "A", "1"
            residue.entity_type = gemmi.EntityType.Polymer
            residue.het_flag = "A" if codes[letter] == THREE_LETTER[letter] else "H"
            for name, position in zip(ATOMS, coordinates[place], strict=True):
                if np.isnan(position).any():
                    continue
                atom = gemmi.Atom()
                atom.name, atom.element, atom.occ = name, gemmi.Element(name[0]), 1.0
                atom.pos = gemmi.Position(*(round(float(x), 3) + 0.0 for x in position))
                atom.b_iso = round(float(plddt[place]), 2)
                residue.add_atom(atom)
            model["A"].add_residue(residue)
        structure.add_model(model)
    structure.assign_serial_numbers()
    return structure


def read_gemmi(text, form):
    structure = (
        gemmi.read_pdb_string(text)
        if form is to_pdb
        else gemmi.make_structure_from_block(gemmi.cif.read_string(text).sole_block())
    )
    structure.setup_entities()
    return structure


def read_biotite(text, form):
    fields = ["b_factor", "occupancy"]
    if form is to_pdb:
        return biotite_pdb.PDBFile.read(io.StringIO(text)).get_structure(extra_fields=fields)
    return biotite_pdbx.get_structure(biotite_pdbx.CIFFile.read(io.StringIO(text)), extra_fields=fields)
