"""Items and files for the tests of `betafold_mlx.evaluate`."""

import gemmi
import mlx.core as mx
import numpy as np

from betafold_mlx.evaluate.items import Item
from betafold_mlx.fold.prediction import Prediction
from betafold_mlx.geometry import build_backbone
from betafold_mlx.geometry.checks import measure_bonds
from betafold_mlx.peptide.sequence import ALPHABET, THREE_LETTER, Peptide
from betafold_mlx.structure.secondary import assign_secondary_structures

HELIX_DEGREES = (-63.0, -42.0, 180.0)


def make_item(
    name="pep", sequence=None, degrees=None, kind="free", cluster=0, seed=0, length=14, **chemistry
):
    """An item of ideal geometry; random torsions where none are given."""
    rng = np.random.default_rng(seed)
    if sequence is None:
        sequence = "".join(rng.choice(list(ALPHABET), size=length))
    if degrees is None:
        torsions = rng.uniform(-np.pi, np.pi, size=(len(sequence), 3))
    else:
        torsions = np.radians(np.broadcast_to(degrees, (len(sequence), 3)))
    peptide = Peptide.of(sequence, **chemistry)
    built = build_backbone(mx.array(torsions[None].astype(np.float32)), mx.array(peptide.ids[None]))
    return Item(name, kind, peptide, np.array(built)[0, :, :4], cluster)


def structure_of(models, bfactors=None, chain="A"):
    """A gemmi structure of (sequence, (L, 4, 3)) models; NaN atoms are left out."""
    structure = gemmi.Structure()
    for number, (sequence, coordinates) in enumerate(models, start=1):
        model, polymer = gemmi.Model(number), gemmi.Chain(chain)
        for place, (letter, positions) in enumerate(zip(sequence, coordinates, strict=True)):
            residue = gemmi.Residue()
            residue.name, residue.seqid = THREE_LETTER[letter], gemmi.SeqId(str(place + 1))
            for name, position in zip(("N", "CA", "C", "O"), positions.tolist(), strict=True):
                if np.isfinite(position).all():
                    atom = gemmi.Atom()
                    atom.name, atom.element, atom.pos = (
                        name,
                        gemmi.Element(name[0]),
                        gemmi.Position(*position),
                    )
                    atom.b_iso = 0.0 if bfactors is None else float(bfactors[place])
                    residue.add_atom(atom)
            polymer.add_residue(residue)
        model.add_chain(polymer)
        structure.add_model(model)
    structure.setup_entities()
    return structure


def write_pdb(path, models, bfactors=None, chain="A"):
    """Write models as PDB."""
    structure_of(models, bfactors, chain).write_pdb(str(path))


def write_cif(path, models, bfactors=None, chain="A"):
    """Write models as mmCIF."""
    structure_of(models, bfactors, chain).make_mmcif_document().write_file(str(path))


def native(item):
    """(sequence, coordinates) of an item."""
    return item.peptide.sequence, item.coordinates


def mirrored(item):
    """The same of its mirror image."""
    return item.peptide.sequence, item.coordinates * np.float32([1, 1, -1])


def prediction_of(peptide, models, plddt, pairings=()):
    """A `Prediction` of backbones (M, L, 4, 3) whose residues all have the model's confidence of (M,)."""
    count, length = len(models), len(peptide)
    cb = models[:, :, 1:2]  # it is measured only in disulfides; any place will do
    coordinates = np.concatenate([models, cb], axis=2).astype(np.float32)
    return Prediction(
        id=peptide.sequence,
        peptide=peptide,
        coordinates=coordinates,
        plddt=np.tile(np.float32(plddt)[:, None], (1, length)),
        torsions=np.zeros((count, length, 3), np.float32),
        secondary_structure=tuple(assign_secondary_structures(models[:, :, 1])),
        bonds=tuple(measure_bonds(peptide, model) for model in coordinates),
        clashes=(0,) * count,
        through=(False,) * count,
        templates=(),
        threaded=(None,) * count,
        seed=0,
        model_name="stand-in",
        model_sha256="f" * 64,
        embedder="residue",
        disulfide_patterns=tuple(pairings),
    )
