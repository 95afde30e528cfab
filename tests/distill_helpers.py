"""A data set that was built and split, and models that label for tests."""

import gemmi
import mlx.core as mx
import numpy as np
from data_helpers import random_backbones, write
from synthetic import backbone_of, toy_model

from betafold_mlx.data.build import build_dataset
from betafold_mlx.data.store import dataset_sha256
from betafold_mlx.distill.leakage import LeakageCheck
from betafold_mlx.model.directory import save_model
from betafold_mlx.peptide.sequence import THREE_LETTER


def built_dataset(folder, peptides=40, chains=40):
    """Build a data set in `folder`, and return it."""
    source = write(folder.parent / "source.jsonl", random_backbones(peptides=peptides, chains=chains))
    dataset, _ = build_dataset([source])
    dataset.save(folder)
    return dataset


def guard_of(folder, dataset):
    return LeakageCheck(dataset, dataset_sha256(folder))


def save_toy(directory, seed=7, sure=3.0, training=None):
    """Save a model with random weights, and return its directory."""
    mx.random.seed(seed)
    model = toy_model()
    model.calibration.bias = mx.array(sure)
    save_model(directory, model, "a card", training or {})
    return directory


def structure_of(sequence, confidence, method="", chain="A"):
    """A gemmi structure with a backbone and B-factors."""
    structure = gemmi.Structure()
    structure.name = "predicted"
    if method:
        structure.info["_exptl.method"] = method
    model, made = gemmi.Model(1), gemmi.Chain(chain)
    coordinates = backbone_of(sequence, np.random.default_rng(3))
    for number, letter in enumerate(sequence):
        residue = gemmi.Residue()
        residue.name, residue.seqid = THREE_LETTER[letter], gemmi.SeqId(number + 1, " ")
        residue.entity_type = gemmi.EntityType.Polymer
        for name, element, place in zip(("N", "CA", "C", "O"), "NCCO", coordinates[number], strict=True):
            atom = gemmi.Atom()
            atom.name, atom.element, atom.pos = (
                name,
                gemmi.Element(element),
                gemmi.Position(*map(float, place)),
            )
            atom.b_iso, atom.occ = float(confidence[number]), 1.0
            residue.add_atom(atom)
        made.add_residue(residue)
    model.add_chain(made)
    structure.add_model(model)
    structure.setup_entities()
    structure.entities[0].full_sequence = [THREE_LETTER[letter] for letter in sequence]
    structure.assign_label_seq_id()
    return structure


def write_pdb(path, *arguments, **more):
    path.write_text(structure_of(*arguments, **more).make_pdb_string())
    return path


def values(length, low=(), start=90.0, below=30.0):
    """Confidences 0 to 100: all high, but for some stretches."""
    found = np.full(length, start) + np.arange(length) % 5
    for first, last in low:
        found[first:last] = below
    return found
