"""Relaxation with OpenMM: what is added, what moves, and what is left as it is."""

import subprocess
import sys
from pathlib import Path

import gemmi
import mlx.core as mx
import numpy as np
import pytest

from betafold_mlx.errors import BetafoldError
from betafold_mlx.fold import relax as module
from betafold_mlx.fold.relax import CannotRelaxError, check_openmm, relax
from betafold_mlx.geometry import build_backbone
from betafold_mlx.geometry.side_chains import build_side_chains, side_chains
from betafold_mlx.peptide.residue_table import RESIDUES
from betafold_mlx.peptide.sequence import ALPHABET, D_THREE_LETTER, THREE_LETTER

pytest.importorskip("openmm")

SHARED = Path(__file__).parents[3] / "shared" / "data" / "structures"


def helix(codes, hand=1.0):
    """The heavy atoms of residues in a helix, side chains staggered."""
    ids = mx.array([[ALPHABET.index(RESIDUES[code].parent) for code in codes]])
    torsions = mx.array(np.tile(np.radians([-63.0, -42.0, 180.0]), (1, len(codes), 1)).astype(np.float32))
    chi = mx.array(np.tile(np.radians([-65.0, 180.0, 180.0, 180.0]), (1, len(codes), 1)).astype(np.float32))
    like = [THREE_LETTER[RESIDUES[code].parent] if RESIDUES[code].hand == "D" else code for code in codes]
    chains = side_chains([like], [True], len(codes))
    atoms = np.array(build_side_chains(build_backbone(torsions, ids), chi, chains, torsions[..., 0]))[0]
    atoms = atoms.astype(float) * [1.0, 1.0, hand]
    return [
        {name: point for name, point in zip(names, points, strict=False) if name}
        for names, points in zip(chains.names[0], atoms, strict=True)
    ]


def native(name):
    """Codes, heavy atoms, and ring and disulfides of a real file."""
    path = SHARED / name
    if not path.is_file():
        pytest.skip("the shared data are not here")
    chain = gemmi.read_structure(str(path))[0][0]
    codes = [residue.name for residue in chain]
    atoms = [
        {name: np.array(residue[name][0].pos.tolist()) for name in RESIDUES[residue.name].atoms}
        for residue in chain
    ]
    sulfurs = [(k, each["SG"]) for k, each in enumerate(atoms) if "SG" in each]
    links = [
        (i, "SG", j, "SG") for i, a in sulfurs for j, b in sulfurs if i < j and np.linalg.norm(a - b) < 2.5
    ]
    return codes, atoms, [*links, (0, "N", len(codes) - 1, "C")]


def hydrogens(relaxed):
    return [sorted(name for name in atoms if name[0] == "H") for atoms in relaxed.atoms]


def length(relaxed, link):
    i, atom_i, j, atom_j = link
    return np.linalg.norm(relaxed.atoms[i][atom_i] - relaxed.atoms[j][atom_j])


def chirality(atoms):
    n, ca, c, cb = (atoms[name] for name in ("N", "CA", "C", "CB"))
    return np.sign(np.dot(np.cross(n - ca, c - ca), cb - ca))


ALL = [THREE_LETTER[letter] for letter in "AEKLHQDRTYWCFGIMNPSV"]


def test_every_residue_gets_its_hydrogens(monkeypatch):
    """Neutral ones as in the CCD, but for acids, which are charged; HIS has one of its two."""
    monkeypatch.setattr(module, "TOLERANCE", 1000.0)
    made = relax(ALL, [helix(ALL)])[0]
    for place, (code, found) in enumerate(zip(ALL, hydrogens(made), strict=True)):
        names = {name for group in RESIDUES[code].hydrogens.values() for name in group}
        names -= {"HD2"} if code == "ASP" else {"HE2"} if code == "GLU" else set()
        if code == "HIS":
            names -= {"HE2"} if "HD1" in found else {"HD1"}
        expected = names | {"H2", "H3"} if place == 0 else names
        assert set(found) == expected, code


def test_it_goes_down_and_hardly_moves_the_backbone():
    codes = [THREE_LETTER[letter] for letter in "AEWLKG"]
    start = helix(codes)
    made = relax(codes, [start])[0]
    assert made.energy_after < made.energy_before
    moved = [
        [np.linalg.norm(after[name] - before[name]) for name in before]
        for before, after in zip(start, made.atoms, strict=True)
    ]
    flat = np.concatenate(moved)
    assert made.rmsd == pytest.approx(np.sqrt(np.square(flat).mean()))
    assert made.moved == pytest.approx(flat.max())
    assert np.sqrt(np.square([row[:4] for row in moved]).mean()) < 0.3
    for code, before, after in zip(codes, start, made.atoms, strict=True):
        assert [name for name in after if name[0] != "H"] == list(before)
        assert code == "GLY" or chirality(after) == chirality(before) == 1


def test_the_same_again_and_the_mirror_image():
    codes = [THREE_LETTER[letter] for letter in "AKAFA"]
    one, again = relax(codes, [helix(codes)])[0], relax(codes, [helix(codes)])[0]
    assert one.energy_after == again.energy_after
    for a, b in zip(one.atoms, again.atoms, strict=True):
        assert all((a[name] == b[name]).all() for name in a)
    mirrored = [D_THREE_LETTER[RESIDUES[code].parent] for code in codes]
    other = relax(mirrored, [helix(mirrored, hand=-1.0)])[0]
    assert other.energy_after == pytest.approx(one.energy_after, rel=0.02)
    assert hydrogens(other) == hydrogens(one)
    assert [chirality(atoms) for atoms in other.atoms] == [-1] * 5


def test_ph():
    codes = [THREE_LETTER[letter] for letter in "AEHDA"]
    low = hydrogens(relax(codes, [helix(codes)], ph=3.0)[0])
    assert "HE2" in low[1] and {"HD1", "HE2"} <= set(low[2]) and "HD2" in low[3]


@pytest.mark.parametrize("ph", [2.0, 12.0])
def test_the_ends_stay_as_they_are_at_ph_7(ph, monkeypatch):
    monkeypatch.setattr(module, "TOLERANCE", 1000.0)
    for ends in ("DD", "EE", "KK", "CC"):
        codes = [THREE_LETTER[letter] for letter in (ends[0], "G", ends[1])]
        found = hydrogens(relax(codes, [helix(codes)], ph=ph)[0])
        acid = ends[0] in "DE"
        names = {name for group in RESIDUES[codes[0]].hydrogens.values() for name in group}
        names -= {"HD2", "HE2"} if acid else set()
        assert set(found[0]) == names | {"H2", "H3"} and set(found[2]) == names


def test_caps():
    inner = ["ALA", "HYP", "ALA"]
    atoms = helix(inner)
    end = atoms[-1].pop("OXT")
    n, ca = atoms[0]["N"], atoms[0]["CA"]
    out = (n - ca) / np.linalg.norm(n - ca)
    side = np.cross(out, [0.0, 0.0, 1.0])
    acetyl = {"C": n + 1.33 * out, "O": n + 1.9 * out + 1.1 * side, "CH3": n + 2.1 * out - 1.2 * side}
    made = relax(["ACE", *inner, "NH2"], [[acetyl, *atoms, {"N": end}]])[0]
    found = hydrogens(made)
    assert found[0] == ["H1", "H2", "H3"] and found[-1] == ["HN1", "HN2"] and "H2" not in found[1]
    assert found[2] == sorted(name for group in RESIDUES["HYP"].hydrogens.values() for name in group)
    assert length(made, (0, "C", 1, "N")) == pytest.approx(1.33, abs=0.04)


def test_a_ring_stays_closed():
    codes, atoms, links = native("1jbl.pdb")
    made = relax(codes, [atoms], links)[0]
    ring, bridge = links[-1], links[0]
    assert length(made, ring) == pytest.approx(1.335, abs=0.03)
    assert length(made, bridge) == pytest.approx(2.05, abs=0.03)
    found = hydrogens(made)
    assert "H" in found[0] and "H2" not in found[0] and "OXT" not in made.atoms[-1]
    assert "HG" not in found[bridge[0]]
    assert made.energy_after < made.energy_before and made.rmsd < 1


@pytest.mark.parametrize(
    ("codes", "links", "says"),
    [
        (["ALA", "SEP", "NLE"], [], "not relaxed: the force field has no SEP at 2, NLE at 3$"),
        (["LYS", "ALA", "ASP"], [(0, "NZ", 2, "CG")], "no LYS at 1, ASP at 3 with these bonds"),
    ],
)
def test_what_the_force_field_does_not_have(codes, links, says):
    with pytest.raises(CannotRelaxError, match=says):
        relax(codes, [helix(codes)], links)


def test_missing_atoms():
    codes = ["ALA", "LYS", "ALA"]
    atoms = helix(codes)
    del atoms[1]["NZ"]
    with pytest.raises(CannotRelaxError, match="no LYS at 2 with these atoms"):
        relax(codes, [atoms])


def test_without_openmm(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(BetafoldError, match="pip install"):
        check_openmm()


def test_openmm_is_imported_by_relaxing_alone():
    code = "import sys, betafold_mlx.fold.relax; sys.exit('openmm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
