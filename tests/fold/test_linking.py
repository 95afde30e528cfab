"""Lactams, lassos and other stated bonds: closed exactly, in the files, and said where they cannot be."""

from dataclasses import replace
from itertools import pairwise

import gemmi
import mlx.core as mx
import numpy as np
import pytest
from rotamer_helpers import made_rotamers
from synthetic import toy_model

from betafold_mlx import Predictor
from betafold_mlx.fold import linking
from betafold_mlx.fold.ensemble import refine
from betafold_mlx.fold.gradient import EnergyGradient, EnergyWeights
from betafold_mlx.fold.linking import close_links
from betafold_mlx.fold.packing import pack
from betafold_mlx.fold.restraints import restraints_from, with_links
from betafold_mlx.geometry import build_backbone
from betafold_mlx.geometry.links import link_terms, linked_atoms, misfits
from betafold_mlx.geometry.spread import mirror_image
from betafold_mlx.model.config import ModelConfig
from betafold_mlx.model.directory import LoadedModel
from betafold_mlx.model.folding import FoldingModel
from betafold_mlx.model.inputs import collate
from betafold_mlx.peptide.bonds import StatedBond
from betafold_mlx.peptide.cap_bonds import cap_column, with_cap_atoms
from betafold_mlx.peptide.sequence import Peptide
from betafold_mlx.structure.caps import place_caps

LACTAM = Peptide.parse("AAKAAAEAAA", bonds=[StatedBond(3, "NZ", 7, "CD")])
LASSO = Peptide.parse("GGVGKIIEYFIGGGVGRYG", bonds=[StatedBond(1, "N", 8, "CD")])
BOTH = Peptide.parse("AACKAADCAA", bonds=[StatedBond(4, "NZ", 7, "CG")], disulfides=[(3, 8)])
ESTER = Peptide.parse("ATAKFWAALK", bonds=[StatedBond(2, "OG1", 10, "C")])
IMPOSSIBLE = Peptide.parse("GAGA", cyclic=True, bonds=[StatedBond(2, "CB", 4, "CB")])
CONFIG = ModelConfig(width=32, layers=1, heads=4, ffn_width=64)


@pytest.fixture(scope="module")
def network():
    mx.random.seed(0)
    return FoldingModel(CONFIG)


def restraints_of(network, peptide, count):
    inputs = collate([peptide] * count)
    if peptide.d_residues.any() and not peptide.d_amino_acids:
        pytest.fail("of one hand alone")
    return restraints_from(network(inputs), inputs)


def closed(network, peptide, phi=-62.0, psi=-42.0, count=4):
    """Close bends of a helix; return all atoms of bonded residues, and what `close_links` says."""
    bonds = restraints_of(network, peptide, count).bonds
    rng = np.random.default_rng(0)
    torsions = np.radians([phi, psi, 180.0]) + rng.normal(0, 0.15, (count, bonds.mask.shape[1], 3))
    torsions[..., 2] = np.pi
    made, chi, misfit = close_links(peptide, torsions, bonds)
    backbone = np.array(build_backbone(mx.array(made), bonds.residues, bonds.mask)).astype(float)
    backbone = mirror_image(backbone) if peptide.d_amino_acids else backbone
    return linked_atoms(peptide, backbone, chi), backbone, chi, misfit


def angle(points, *atoms):
    a, b, c = (points[atom] for atom in atoms)
    u, v = a - b, c - b
    cosine = (u * v).sum(-1) / np.linalg.norm(u, axis=-1) / np.linalg.norm(v, axis=-1)
    return np.degrees(np.arccos(cosine))


def torsion(points, *atoms):
    a, b, c = (points[y] - points[x] for x, y in pairwise(atoms))
    sine = (np.cross(a, b) * c).sum(-1) * np.linalg.norm(b, axis=-1)
    return np.degrees(np.arctan2(sine, (np.cross(a, b) * np.cross(b, c)).sum(-1)))


AMIDES = [
    (LACTAM, [(7, "CG"), (7, "CD"), (3, "NZ"), (3, "CE")], (7, "OE1")),
    (LASSO, [(8, "CG"), (8, "CD"), (1, "N"), (1, "CA")], (8, "OE1")),
    (BOTH, [(7, "CB"), (7, "CG"), (4, "NZ"), (4, "CE")], (7, "OD1")),
]


@pytest.mark.parametrize(("peptide", "chain", "oxygen"), AMIDES)
def test_an_amide_is_closed_exactly(network, peptide, chain, oxygen):
    points, _, _, misfit = closed(network, peptide)
    assert (misfit < 1).all()
    before, carbon, nitrogen, behind = chain
    np.testing.assert_allclose(np.linalg.norm(points[carbon] - points[nitrogen], axis=-1), 1.33, atol=0.02)
    np.testing.assert_allclose(angle(points, before, carbon, nitrogen), 116.5, atol=6)
    np.testing.assert_allclose(angle(points, oxygen, carbon, nitrogen), 123, atol=6)
    np.testing.assert_allclose(angle(points, carbon, nitrogen, behind), 122, atol=6)
    assert (np.abs(torsion(points, *chain)) > 174).all()
    assert (np.abs(torsion(points, oxygen, carbon, nitrogen, behind)) < 6).all()
    if peptide is BOTH:
        np.testing.assert_allclose(
            np.linalg.norm(points[3, "SG"] - points[8, "SG"], axis=-1), 2.04, atol=0.02
        )
        np.testing.assert_allclose(angle(points, (3, "CB"), (3, "SG"), (8, "SG")), 104, atol=6)
        chi3 = np.abs(torsion(points, (3, "CB"), (3, "SG"), (8, "SG"), (8, "CB")))
        np.testing.assert_allclose(chi3, 90, atol=30)


@pytest.mark.parametrize("atom", ["CB", "CA"])
def test_a_thioether_is_closed_exactly(network, atom):
    """To a methyl as in lanthionine, or to CA as in subtilosin, in the place of its hydrogen."""
    peptide = Peptide.parse("AACAAAAAAA", bonds=[StatedBond(3, "SG", 6, atom)])
    points, _, _, misfit = closed(network, peptide, -80, 60)
    assert (misfit < 1).all()
    np.testing.assert_allclose(np.linalg.norm(points[3, "SG"] - points[6, atom], axis=-1), 1.819, atol=0.02)
    np.testing.assert_allclose(angle(points, (3, "CB"), (3, "SG"), (6, atom)), 100.8, atol=6)
    for near in ("CA",) if atom == "CB" else ("N", "C", "CB"):
        np.testing.assert_allclose(angle(points, (3, "SG"), (6, atom), (6, near)), 109.5, atol=6)


def test_a_d_peptide_closes_with_d_residues(network):
    mirror = Peptide.parse("AAKAAAEAAA", bonds=LACTAM.bonds, d_amino_acids=True)
    images, backbone, _, misfit = closed(network, mirror)
    assert (misfit < 1).all()
    n, ca, c, _, cb = (backbone[:, 3, atom] for atom in range(5))
    assert ((np.cross(n - ca, c - ca) * (cb - ca)).sum(-1) < -2).all()  # D
    assert (np.abs(np.linalg.norm(images[7, "CD"] - images[3, "NZ"], axis=-1) - 1.33) < 0.02).all()


def test_derivatives_are_those_of_small_steps(network):
    bonds = restraints_of(network, BOTH, 1).bonds
    length = bonds.mask.shape[1]
    terms = [term for bond in BOTH.bonds for term in link_terms(BOTH, bond) if len(term.atoms) == 2]
    angles = linking._angles_of(BOTH, terms, length)
    number = {atom: row for row, atom in enumerate(angles.atoms)}
    chi = np.full((1, length, 4), np.nan)
    values = np.random.default_rng(2).uniform(-2, 2, (1, 3 * length + len(angles.chi)))

    def at(values):
        torsions, all_chi = linking._split(values, angles, chi)
        backbone = linking._backbone(BOTH, torsions, bonds)
        points = linking._points(BOTH, backbone, all_chi, angles.atoms)
        off = misfits(terms, {atom: points[:, row] for atom, row in number.items()})
        return backbone, points, np.append(off, linking._crowding(points, angles)[0])

    backbone, points, off = at(values)
    pulls = np.zeros((1, len(terms) + 1, len(angles.atoms), 3))
    for row, term in enumerate(terms):
        places = [number[atom] for atom in term.atoms]
        for place, pull in zip(places, linking._pulls([points[:, p] for p in places]), strict=True):
            pulls[:, row, place] = pull
    pulls[:, -1] = linking._crowding(points, angles)[1]
    slopes = linking._by_angles(points, pulls, backbone, angles, number)[0]
    real = np.append(np.arange(3 * len(BOTH) - 2), np.arange(3 * length, values.shape[1]))
    for column in real:
        step = np.zeros_like(values)
        step[0, column] = 4e-3
        slope = (at(values + step)[2] - at(values - step)[2]) / 8e-3
        np.testing.assert_allclose(slopes[:, column], slope, atol=0.03)
    assert off[-1] > 0 and np.abs(slopes).max() > 1


def test_minimisation_draws_bonded_residues_together_and_leaves_others_as_they_are(network):
    restraints = restraints_of(network, LACTAM, 2)
    far = mx.array(np.radians(np.tile([-120.0, 130.0, 180.0], (2, 16, 1))).transpose().astype(np.float32))
    linked = with_links(restraints, [LACTAM, Peptide.of("AAKAAAEAAA")])
    slopes = []
    for each in (restraints, linked):
        gradient = EnergyGradient(each, EnergyWeights())
        slopes.append(np.array(gradient(far, gradient.pull(far), 1.0, 0.0)))
    assert np.abs(slopes[0] - slopes[1])[..., 0].max() > 0.1
    np.testing.assert_array_equal(slopes[0][..., 1], slopes[1][..., 1])


def test_plain_peptides_do_not_change_by_linked_company(network):
    plain = Peptide.of("GIGKFLHSAK")
    inputs = collate([plain, LACTAM])
    answer = network(inputs)
    alone = refine(answer, inputs, 0, [0])
    beside = refine(answer, inputs, 0, [0], peptides=[plain, LACTAM])
    np.testing.assert_array_equal(np.array(alone.torsions)[0], np.array(beside.torsions)[0])
    assert alone.chi is None and np.isfinite(beside.chi[1, 0]).any(axis=-1).nonzero()[0].tolist() == [2, 6]
    assert np.isnan(beside.chi[0]).all()


def test_packing_keeps_the_side_chains_of_bonds(network):
    points, backbone, chi, _ = closed(network, LACTAM)
    rotamers = made_rotamers()
    log = np.log(np.maximum(np.array(rotamers.weight)[np.pad(LACTAM.ids, (0, 6))], 1e-9))
    rows = np.zeros(len(backbone), dtype=int)
    packed = pack([LACTAM], rows, backbone, np.tile(log, (len(rows), 1, 1)), rotamers, given=chi)
    for place in (3, 7):
        names = linking.RESIDUES[LACTAM.residues[place - 1]].atoms
        for slot, name in enumerate(names):
            np.testing.assert_allclose(packed.atoms[:, place - 1, slot], points[place, name], atol=2e-3)
    mentioned = {name for pairs in packed.clashes for pair in pairs for name in pair}
    assert "GLU 7 OE2" not in mentioned  # it leaves


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    mx.random.seed(0)
    path = tmp_path_factory.mktemp("toy")
    return Predictor(LoadedModel(toy_model(CONFIG), "toy", "0" * 64, path))


def test_files_state_the_bond_and_leave_out_what_leaves(bundled_folds):
    from rdkit import Chem

    for peptide, (carbon, nitrogen), gone in (
        (LASSO, ((8, "CD"), (1, "N")), (8, "OE2")),
        (ESTER, ((10, "C"), (2, "OG1")), (10, "OXT")),
    ):
        prediction = bundled_folds[peptide]
        (bond,) = prediction.bonds[0]
        assert bond.kind == "bond" and bond.formed and prediction.constraints_met
        document = prediction.to_gemmi()
        ends = [
            {
                (c.partner1.res_id.seqid.num, c.partner1.atom_name),
                (c.partner2.res_id.seqid.num, c.partner2.atom_name),
            }
            for c in document.connections
        ]
        assert ends == [{carbon, nitrogen}]
        assert document.connections[0].reported_distance == pytest.approx(1.33, abs=0.03)
        assert document.connections[0].type == gemmi.ConnectionType.Covale
        text = prediction.text("pdb")
        assert sum(line.startswith("LINK") for line in text.splitlines()) == 1
        molecule = Chem.MolFromPDBBlock(text)  # None where a valence is wrong
        assert len(Chem.GetMolFrags(molecule)) == 1
        named = {
            (a.GetPDBResidueInfo().GetResidueNumber(), a.GetPDBResidueInfo().GetName().strip()): a
            for a in molecule.GetAtoms()
        }
        assert gone not in named
        assert named[nitrogen].GetIdx() in {a.GetIdx() for a in named[carbon].GetNeighbors()}


@pytest.fixture(scope="module")
def bundled_folds():
    pytest.importorskip("rdkit")
    return {peptide: Predictor.load().fold(peptide) for peptide in (LASSO, ESTER)}


def test_chloroacetyl_is_closed_to_a_cysteine_in_the_files():
    """ACE's CH3 on SG, without chlorine; phi of the first residue is one that a residue of its hand has."""
    chem = pytest.importorskip("rdkit.Chem")
    predictor = Predictor.load(templates=None)
    for text, smiles in (
        ("ClAc-GAGC", "O=C1CNC(=O)[C@H](C)NC(=O)CNC(=O)CSC[C@@H](C(=O)O)N1"),
        ("ClAc-aGAGGC-NH2", "O=C1CNC(=O)CNC(=O)[C@H](C)NC(=O)CNC(=O)[C@@H](C)NC(=O)CSC[C@@H](C(=O)N)N1"),
        (
            "ClAc-PAGGAGC",
            "O=C1CNC(=O)[C@H](C)NC(=O)CNC(=O)CNC(=O)[C@H](C)NC(=O)[C@@H]2CCCN2C(=O)CSC[C@@H](C(=O)O)N1",
        ),
    ):
        peptide = Peptide.parse(text)
        prediction = predictor.fold(peptide, candidates=1)
        (bond,) = prediction.bonds[0]
        assert bond.formed and (bond.residues, bond.atoms) == ((0, len(peptide)), ("CH3", "SG"))
        for form in ("pdb", "cif"):
            text = prediction.text(form)
            structure = prediction.to_gemmi() if form == "cif" else gemmi.read_pdb_string(text)
            at = {(r.seqid.num, a.name): a.pos for r in structure[0][0] for a in r}
            assert (at[0, "CH3"] - at[len(peptide), "SG"]).length() == pytest.approx(1.819, abs=0.02)
            angle = gemmi.calculate_angle(at[0, "CH3"], at[len(peptide), "SG"], at[len(peptide), "CB"])
            assert np.degrees(angle) == pytest.approx(100.8, abs=6)
            angle = gemmi.calculate_angle(at[0, "C"], at[0, "CH3"], at[len(peptide), "SG"])
            assert np.degrees(angle) == pytest.approx(110.5, abs=6)
            phi = gemmi.calculate_dihedral(at[0, "C"], at[1, "N"], at[1, "CA"], at[1, "C"])
            assert phi == pytest.approx(prediction.torsions[0, 0, 0], abs=0.01)
            assert peptide.residues[0] == "GLY" or (phi > 0) == (peptide.residues[0] == "DAL")
            ends = {
                frozenset((c.partner1.atom_name, c.partner2.atom_name)): c.reported_distance
                for c in structure.connections
            }
            assert ends[frozenset(("CH3", "SG"))] == pytest.approx(1.82, abs=0.02)
        molecule = chem.MolFromPDBBlock(prediction.text("pdb"))
        chem.AssignStereochemistryFrom3D(molecule)
        assert chem.MolToSmiles(molecule) == chem.CanonSmiles(smiles)


def test_a_cap_is_placed_alike_with_and_without_a_bond():
    """Of every standard residue and of D residues, against `place_caps` with the same phi."""
    for sequence, d in (("ACDEFGHIKLMNPQRSTVWY", False), ("ACDEFGHIKLMNPQRSTVWY", True)):
        for first in sequence:
            peptide = Peptide.of(first + "AAC", d_amino_acids=d, n_cap="ACE")
            peptide = replace(peptide, bonds=(StatedBond(0, "CH3", 4, "SG"),))
            torsions = mx.array(np.radians(np.tile([-80.0, 120.0, 180.0], (1, 4, 1))).astype(np.float32))
            backbone = np.array(build_backbone(torsions, mx.array(peptide.ids[None])))
            backbone = mirror_image(backbone) if d else backbone
            whole = with_cap_atoms(peptide)
            chi = np.zeros((1, 4, 6))
            chi[0, 0, cap_column(peptide)] = phi = 1.1 if d else -1.1
            points = linked_atoms(whole, backbone, chi)
            cap, _ = place_caps(peptide.sequence, backbone[0], "ACE", None, d, phi)
            found = np.stack([points[1, f"{name}'0"][0] for name in ("C", "O", "CH3")])
            np.testing.assert_allclose(found, cap, atol=2e-3)


def test_a_bond_that_cannot_be_is_said(predictor, quick_folds):
    prediction = predictor.fold(IMPOSSIBLE, candidates=1)
    bond = next(bond for bond in prediction.bonds[0] if bond.kind == "bond")
    assert not bond.formed and not prediction.constraints_met
    assert f"{bond.describe()}: not formed in this model" in prediction.warnings
    assert "2:CB-4:CB" in bond.describe()
    assert not any("CB" in c.partner1.atom_name for c in prediction.to_gemmi().connections)
