import gemmi
import numpy as np
import pytest
from structure_helpers import ideal

from betafold_mlx.structure.bonds import infer_disulfides, sulfur_disulfides, virtual_cb
from betafold_mlx.structure.jsonl import read_backbones
from betafold_mlx.structure.reader import find_structure_files, read_structure


def test_virtual_cb_is_where_ideal_geometry_puts_it():
    atoms = ideal("ACDEFHIKLMNQRSTVWY", seed=1)
    assert np.linalg.norm(virtual_cb(atoms) - atoms[:, 4], axis=-1).max() < 0.1


def test_sulfurs_pair_once_the_closest_first():
    x = np.array([0.0, 2.2, 4.2, np.nan, 20.0, 22.6, 40.0, 40.5])
    sulfurs = np.stack([x, np.zeros(8), np.zeros(8)], axis=-1)
    assert sulfur_disulfides(sulfurs) == ((1, 2),)
    assert sulfur_disulfides(sulfurs[:2]) == ((0, 1),)
    assert sulfur_disulfides(sulfurs[:0]) == ()


def test_inferred_disulfides_are_those_of_the_sulfurs(shared_data):
    # Every original file has its sulfurs; the guess must not see them.
    checked = 0
    for path in find_structure_files(shared_data / "structures"):
        (backbone,) = read_structure(path).backbones
        assert infer_disulfides(backbone.sequence, backbone.coordinates) == backbone.disulfides, path.name
        checked += len(backbone.disulfides)
    assert checked >= 40


def test_agreement_with_the_peptide_collection(shared_data):
    records = [r for r in read_backbones(shared_data / "peptides.jsonl.gz") if r.sequence.count("C") > 1]
    guessed = [infer_disulfides(r.sequence, r.coordinates) for r in records]
    stated = [r.disulfides for r in records]
    assert len(records) == 147
    assert sum(len(pairs) for pairs in stated) == 245
    assert sum(a == b for a, b in zip(guessed, stated, strict=True)) >= 140
    assert sum(len(set(a) & set(b)) for a, b in zip(guessed, stated, strict=True)) >= 238
    assert sum(len(set(a) - set(b)) for a, b in zip(guessed, stated, strict=True)) <= 10


@pytest.mark.parametrize("sequence", ["", "C", "AAAA", "CAAAAAAAAAAAAAAAAC"])
def test_nothing_to_pair(sequence):
    atoms = ideal(sequence) if sequence else np.zeros((0, 4, 3))
    assert infer_disulfides(sequence, atoms) == ()


def test_a_heap_of_cysteines_is_paired_at_most_once_each():
    atoms = np.random.default_rng(0).normal(scale=3.0, size=(120, 4, 3))
    pairs = infer_disulfides("C" * 120, atoms)
    members = [position for pair in pairs for position in pair]
    assert pairs
    assert len(members) == len(set(members))
    assert list(pairs) == sorted(pairs)


def test_constants_are_those_of_the_files(shared_data):
    """The medians quoted beside the constants."""
    from betafold_mlx.structure import bonds

    lengths, angles = [], []
    paths = find_structure_files(shared_data / "structures") + find_structure_files(shared_data / "ensembles")
    for path in paths:
        for model in gemmi.read_structure(str(path)):
            cysteines = [residue for chain in model for residue in chain if residue.name == "CYS"]
            sulfurs = np.array([residue.sole_atom("SG").pos.tolist() for residue in cysteines]).reshape(-1, 3)
            for i, j in sulfur_disulfides(sulfurs):
                lengths.append(np.linalg.norm(sulfurs[i] - sulfurs[j]))
                for a, b in ((i, j), (j, i)):
                    cb = np.array(cysteines[a].sole_atom("CB").pos.tolist())
                    u, v = cb - sulfurs[a], sulfurs[b] - sulfurs[a]
                    angles.append(np.arccos(u @ v / np.linalg.norm(u) / np.linalg.norm(v)))
    assert np.median(lengths) == pytest.approx(bonds.SG_SG, abs=0.01)
    assert np.degrees(np.median(angles)) == pytest.approx(np.degrees(bonds.CB_SG_SG), abs=0.5)
