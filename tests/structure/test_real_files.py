"""The reader against gemmi's and biotite's own ways through the real files."""

import warnings

import biotite.structure.io.pdb as biotite_pdb
import biotite.structure.io.pdbx as biotite_pdbx
import gemmi
import mlx.core as mx
import numpy as np
import pytest
from structure_helpers import ideal, pdb, rows

from betafold_mlx.geometry import backbone_torsions
from betafold_mlx.structure.jsonl import read_backbones
from betafold_mlx.structure.reader import find_structure_files, read_structure


@pytest.fixture(scope="module")
def files(shared_data):
    found = find_structure_files(shared_data / "structures")
    assert len(found) >= 36
    return {path: read_structure(path) for path in found}


def test_every_file_is_the_record_of_the_peptide_collection(files, shared_data):
    records = {record.id: record for record in read_backbones(shared_data / "peptides.jsonl.gz")}
    for path, structure in files.items():
        (backbone,) = structure.backbones
        expected = records[backbone.id]
        assert structure.dropped == [], path.name
        for field in ("sequence", "kind", "cyclic", "disulfides", "pdb", "chain", "method", "resolution"):
            assert getattr(backbone, field) == getattr(expected, field), (path.name, field)
        np.testing.assert_array_equal(backbone.coordinates, expected.coordinates)


def polymer(path):
    """Return the residues of the first chain as gemmi's polymer detection sees them."""
    structure = gemmi.read_structure(str(path))
    structure.setup_entities()
    structure.remove_alternative_conformations()
    return [residue for residue in structure[0][0].get_polymer() if residue.name not in ("ACE", "NH2")]


def gemmi_torsions(residues):
    """Return (L, 3) phi, psi, omega in degrees, NaN where there is no neighbour."""
    ends = [None, *residues, None]
    table = []
    for before, residue, after in zip(ends, residues, ends[2:], strict=False):
        phi, psi = gemmi.calculate_phi_psi(before, residue, after)
        omega = gemmi.calculate_omega(residue, after) if after else np.nan
        table.append(np.degrees([phi, psi, omega]))
    return np.array(table)


def assert_torsions_agree(path, backbone):
    torsions, defined = backbone_torsions(mx.array(backbone.coordinates))
    torsions, defined = np.degrees(np.array(torsions)), np.array(defined)
    expected = gemmi_torsions(polymer(path))
    np.testing.assert_array_equal(defined, ~np.isnan(expected))
    difference = (torsions - expected + 180.0) % 360.0 - 180.0
    assert np.abs(difference[defined]).max() < 0.05, path.name


def test_torsions_agree_with_gemmi(files):
    for path, structure in files.items():
        assert_torsions_agree(path, structure.backbones[0])


@pytest.mark.parametrize("seed", range(5))
def test_torsions_of_made_up_chains_agree_with_gemmi(tmp_path, seed):
    sequence = "GPAWKLPGCDEFHIMNQRSTVY"
    path = tmp_path / "x.pdb"
    path.write_text(pdb(rows(sequence, ideal(sequence, seed=seed))))
    assert_torsions_agree(path, read_structure(path).backbones[0])


def test_atoms_agree_with_biotite(files):
    for path, structure in files.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # biotite's remarks on the files, not ours
            if path.suffix == ".cif":
                atoms = biotite_pdbx.get_structure(biotite_pdbx.CIFFile.read(path), model=1)
            else:
                atoms = biotite_pdb.get_structure(biotite_pdb.PDBFile.read(path), model=1)
        (backbone,) = structure.backbones
        atoms = atoms[np.isin(atoms.atom_name, ["N", "CA", "C", "O"])]
        atoms = atoms[~np.isin(atoms.res_name, ["ACE", "NH2", "HOH", "MPD", "ACT"])]
        assert atoms.atom_name.tolist() == ["N", "CA", "C", "O"] * len(backbone)
        np.testing.assert_array_equal(atoms.coord, backbone.coordinates.reshape(-1, 3))


def test_every_model_of_every_ensemble(shared_data):
    for path in find_structure_files(shared_data / "ensembles"):
        structure = read_structure(path, first_model_only=False)
        assert structure.dropped == []
        assert len(structure.backbones) == len(gemmi.read_structure(str(path))) > 1
        assert len({backbone.id for backbone in structure.backbones}) == len(structure.backbones)
        assert len({backbone.sequence for backbone in structure.backbones}) == 1
        first = read_structure(path).backbones[0]
        np.testing.assert_array_equal(first.coordinates, structure.backbones[0].coordinates)
