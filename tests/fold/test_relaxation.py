"""Relaxed predictions: their files read by OpenMM and gemmi, and what they say."""

import dataclasses
import io

import gemmi
import numpy as np
import pytest
from structure_helpers import ideal, prediction

from betafold_mlx import Predictor
from betafold_mlx.errors import BetafoldError
from betafold_mlx.fold import relax as module
from betafold_mlx.fold.side_chains import NO_ROOM
from betafold_mlx.geometry.spread import mirror_image
from betafold_mlx.peptide.residue_table import RESIDUES
from betafold_mlx.peptide.sequence import THREE_LETTER

pytest.importorskip("openmm")


@pytest.fixture(autouse=True)
def _rough(monkeypatch):
    monkeypatch.setattr(module, "TOLERANCE", 100.0)


def helices(sequence, models=1, hand=1, **changes):
    """A prediction of helices."""
    atoms = ideal(sequence)
    atoms[[letter == "G" for letter in sequence], 4] = np.nan
    atoms = mirror_image(atoms) if hand < 0 else atoms
    coordinates = np.stack([atoms] * models)
    torsions = (
        np.tile(np.radians([-63.0, -42.0, 180.0]).astype(np.float32), (models, len(sequence), 1)) * hand
    )
    torsions[:, 0, 0] = torsions[:, -1, 1:] = np.nan
    return prediction(sequence, models, coordinates=coordinates, torsions=torsions, **changes)


def openmm_energy(text):
    """The energy of a PDB file, kJ/mol, by OpenMM alone: its reader, templates by their bonds, Reference platform."""
    from openmm import Context, Platform, VerletIntegrator, unit
    from openmm.app import ForceField, NoCutoff, PDBFile

    file = PDBFile(io.StringIO(text))
    for residue in file.topology.residues():  # the radii of GBn2 go by the names of residues
        kind = RESIDUES.get(residue.name)
        residue.name = residue.name if kind is None else THREE_LETTER[kind.parent]
    system = ForceField(*module.FORCE_FIELD).createSystem(file.topology, nonbondedMethod=NoCutoff)
    context = Context(system, VerletIntegrator(0.001), Platform.getPlatformByName("Reference"))
    context.setPositions(file.positions)
    energy = context.getState(energy=True).getPotentialEnergy()
    return energy.value_in_unit(unit.kilojoule_per_mole)


CASES = {
    "open": {},
    "caps": {"n_cap": "ACE", "c_cap": "NH2"},
    "amides": {"n_cap": "ACE", "c_cap": "NME"},
    "D": {"d_amino_acids": True, "hand": -1},
    "D and L": {"residues": {2: "DLY"}},
}


@pytest.mark.parametrize("case", CASES)
def test_openmm_takes_the_file_with_its_hydrogens_and_finds_the_same_energy(case):
    changes = dict(CASES[case])
    relaxed = helices("AKDGR", **changes).relax()
    assert relaxed.warnings == ()
    energy = relaxed.to_dict()["models"][0]["relaxation"]["energy_after"]
    assert openmm_energy(relaxed.text("pdb")) == pytest.approx(energy, abs=1)  # coordinates are rounded


def test_both_files_have_the_same_atoms():
    relaxed = helices("KCDG", n_cap="ACE", models=2).relax()
    cif, pdb = relaxed.to_gemmi(), gemmi.read_pdb_string(relaxed.text("pdb"))
    assert len(cif) == len(pdb) == 2
    for one, other in zip(cif, pdb, strict=True):
        a, b = ([each.atom for each in model.all()] for model in (one, other))
        assert [(x.name, x.element.name, x.pos.tolist()) for x in a] == [
            (x.name, x.element.name, x.pos.tolist()) for x in b
        ]
        assert sum(atom.is_hydrogen() for atom in a) == 3 + 13 + 5 + 4 + 3  # ACE, LYS+, CYS, ASP-, GLY
    hydrogens = [atom for atom in cif[0][0][1] if atom.is_hydrogen()]
    assert all(abs(atom.pos.dist(cif[0][0][1]["N"][0].pos) - 1.01) < 0.03 for atom in hydrogens[:1])


def test_what_it_says():
    start = helices("AKDGH", models=2)
    relaxed = start.relax(ph=3.0)
    document = relaxed.to_dict()
    assert document["relaxation"]["ph"] == 3 and document["relaxation"]["openmm"]
    assert start.to_dict()["relaxation"] is None
    for rank, model in enumerate(document["models"]):
        figures = model["relaxation"]
        assert figures["energy_after"] < figures["energy_before"]
        moved = np.linalg.norm(relaxed.heavy_atoms()[rank] - start.heavy_atoms(True)[rank], axis=-1)
        assert figures["largest_move"] == pytest.approx(moved.max(), abs=2e-3)
        assert figures["rmsd"] == pytest.approx(np.sqrt(np.square(moved).mean()), abs=2e-3)
        psi = np.array(model["torsions"]["psi"][:-1])
        assert (np.abs(psi + 42) < 50).all() and (psi != -42).any() and model["torsions"]["psi"][-1] is None
    assert np.array_equal(relaxed.coordinates, relaxed.atoms[:, :, :5], equal_nan=True)
    assert "hydrogens for pH 3." in relaxed.text("pdb").replace("\nREMARK  99 ", " ").replace("  ", "")
    assert "HD2 ASP" in relaxed.text("pdb")


def test_bonds_and_clashes_are_measured_again():
    start = helices("ACAAACAG", disulfides=((2, 6),), side_chain_clashes=(5,))
    start = dataclasses.replace(start, warnings=(f"{NO_ROOM}: CYS 2 SG and CYS 6 SG", "other"))
    relaxed = start.relax()
    model = relaxed.to_gemmi()[0][0]
    length = model[1]["SG"][0].pos.dist(model[5]["SG"][0].pos)
    (bond,) = relaxed.bonds[0]
    assert bond.formed and bond.distance == pytest.approx(length, abs=2e-3) == pytest.approx(2.04, abs=0.06)
    assert relaxed.warnings == ("other",) and relaxed.side_chain_clashes == (0,)


def test_what_cannot_be_relaxed_stays_as_it_is():
    start = helices("ASAAA", residues={2: "SEP"})
    relaxed = start.relax()
    assert relaxed.warnings == ("not relaxed: the force field has no SEP at 2",)
    assert relaxed.text("pdb") == start.text("pdb") and relaxed.to_dict()["relaxation"] is None


def test_backbones_alone_are_refused():
    with pytest.raises(BetafoldError, match="side chains"):
        helices("AKDGH").backbone_only().relax()


@pytest.mark.parametrize("peptide", ["cyclo(RGDfV)", "cyclo(GRC(1)TKSIPPIC(1)FPD)"])
def test_a_folded_ring_stays_closed(peptide):
    relaxed = Predictor.load().fold(peptide, candidates=2).relax()
    assert relaxed.relaxation is not None
    chain = relaxed.to_gemmi()[0][0]
    atoms = [chain[place][name][0].pos for place, name in ((-1, "CA"), (-1, "C"), (0, "N"), (0, "CA"))]
    assert atoms[1].dist(atoms[2]) == pytest.approx(1.335, abs=0.03)
    assert abs(np.degrees(gemmi.calculate_dihedral(*atoms))) > 165
    if relaxed.peptide.disulfides:
        assert chain[2]["SG"][0].pos.dist(chain[10]["SG"][0].pos) == pytest.approx(2.04, abs=0.04)
