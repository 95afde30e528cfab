"""Relief of crowded models: room is made with small moves of ideal geometry, and stated bonds stay closed."""

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from betafold_mlx import Predictor
from betafold_mlx.evaluate.stereochemistry import measure
from betafold_mlx.fold import side_chains as folded_side_chains
from betafold_mlx.fold.ranking import faults
from betafold_mlx.fold.relief import _Crowd, relieve
from betafold_mlx.fold.sterics import clashes, contacts_of
from betafold_mlx.geometry import build_backbone, dihedral
from betafold_mlx.geometry.checks import measure_stated
from betafold_mlx.geometry.side_chains import build_side_chains, side_chains
from betafold_mlx.geometry.spread import mirror_image
from betafold_mlx.geometry.torsions import torsions_around
from betafold_mlx.peptide.bonds import StatedBond
from betafold_mlx.peptide.sequence import Peptide

SEQUENCE = "AWAFGGAFLWA"
TURN = [(-63, -42), (-63, -42), (-120, 130), (-90, 0), (60, 30), (-80, 0), (-120, 130), (-120, 130)]


def crowded(d_amino_acids=False):
    """Return a peptide with side chains in one place: torsions of a tight turn, chi angles all extended."""
    peptide = Peptide.of(SEQUENCE, d_amino_acids=d_amino_acids)
    pairs = [*TURN, *[(-63, -42)] * 3]
    torsions = np.radians([[phi, psi, 180.0] for phi, psi in pairs])[None]
    sign = -1 if d_amino_acids else 1
    hands = mx.array(peptide.d_residues)[None]
    turned = mx.array((sign * torsions).astype(np.float32))
    backbone = np.array(build_backbone(turned, mx.array(peptide.ids)[None], d_residues=hands))
    chains = side_chains([peptide.residues], [True], len(peptide))
    chi = np.full((1, len(peptide), 2), sign * np.pi, dtype=np.float32)
    chi[..., 1] = sign * np.pi / 2
    return peptide, backbone, chi, chains


def atoms_of(backbone, chi, chains):
    return np.array(build_side_chains(mx.array(backbone), mx.array(chi), chains, mx.zeros(chi.shape[:2])))


def count(peptide, atoms, chains):
    return len(clashes(atoms, contacts_of([peptide], chains))[0])


@pytest.fixture(scope="module")
def relieved():
    peptide, backbone, chi, chains = crowded()
    return relieve(peptide, atoms_of(backbone, chi, chains), chi)


def test_there_is_more_room_and_little_moved(relieved):
    peptide, backbone, chi, chains = crowded()
    before = count(peptide, atoms_of(backbone, chi, chains), chains)
    assert before >= 3 and count(peptide, relieved.atoms, chains) == 0 and relieved.better.all()
    ca, moved = backbone[0, :, 1], relieved.atoms[0, :, 1]
    apart = [np.linalg.norm(points[:, None] - points, axis=-1) for points in (ca, moved)]
    assert np.abs(apart[0] - apart[1]).max() < 1.5


def test_geometry_stays_ideal(relieved):
    """The torsions and chi angles that came out rebuild all atoms."""
    peptide, *_, chains = crowded()
    torsions = np.nan_to_num(torsions_around(relieved.atoms[:, :, :4]))
    again = np.array(build_backbone(mx.array(torsions.astype(np.float32)), mx.array(peptide.ids)[None]))
    again = atoms_of(again, relieved.chi.astype(np.float32), chains)
    there = np.array(chains.mask)
    there[0, -1, [3, 5]] = False  # O and OXT of the last residue, whose psi is not among these
    np.testing.assert_allclose(relieved.atoms[there], again[there], atol=2e-3)


def test_a_d_peptide_gives_way_as_its_mirror_image(relieved):
    peptide, backbone, chi, chains = crowded(d_amino_acids=True)
    mirrored = relieve(peptide, atoms_of(backbone, chi, chains), chi)
    there = np.array([(letter != "G", slot < 4) for letter in SEQUENCE for slot in range(5)]).any(axis=1)
    both = (mirror_image(mirrored.atoms[:, :, :5]), relieved.atoms[:, :, :5])
    np.testing.assert_allclose(*(points[0].reshape(-1, 3)[there] for points in both), atol=0.05)


BONDED = (
    Peptide.of("GCRFCCNCCPNMSGCGVCCRF", disulfides=((2, 19), (5, 18), (6, 15), (8, 9))),
    Peptide.of("GDCYWTSTPPFFTCTPD", cyclic=True, disulfides=((3, 14),)),
    Peptide.parse("ACWQFKRDLWVACF", bonds=[StatedBond(6, "NZ", 8, "CG")], disulfides=[(2, 13)]),
)


@pytest.fixture(scope="module")
def packed():
    """Return peptides with stated bonds as they are packed, and as they gave way."""
    predictor = Predictor.load(templates=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folded_side_chains, "_make_room", lambda *_: None)
        before = [predictor.fold(peptide, candidates=3) for peptide in BONDED]
    return before, [predictor.fold(peptide, candidates=3) for peptide in BONDED]


def test_bonded_models_have_more_room_and_their_bonds(packed):
    overlaps = [sum(measure(each)["overlaps"] for each in some) for some in packed]
    assert overlaps[0] > 15 and overlaps[1] < 0.6 * overlaps[0]
    for before, after in zip(*packed, strict=True):
        peptide = after.peptide
        assert all(bond.formed for bond in after.bonds[0])
        assert [bond.residues for bond in after.bonds[0]] == [bond.residues for bond in before.bonds[0]]
        counts = measure(after)
        assert counts["bond outliers"] == counts["wrong hands"] == 0
        # C-N-CD of a proline whose phi a ring has turned stands at the limit, and may cross it.
        assert counts["angle outliers"] <= measure(before)["angle outliers"] + ("P" in peptide.sequence)
        again = torsions_around(after.coordinates)
        kept = np.isfinite(after.torsions)
        assert (kept == np.isfinite(before.torsions)).all()
        np.testing.assert_allclose(np.cos(again[kept]), np.cos(after.torsions[kept]), atol=1e-4)
        for i, j in peptide.disulfides:
            sulfurs = [after.atoms[0, place - 1, after.atom_names[place - 1].index("SG")] for place in (i, j)]
            assert np.linalg.norm(sulfurs[0] - sulfurs[1]) == pytest.approx(2.05, abs=0.05)


def test_a_bond_that_is_not_made_is_made_and_no_longer_warned_of(packed):
    before = packed[0][0]
    crowd = _Crowd(before.peptide, before.atoms)
    bent = crowd.build(np.where(np.arange(crowd.turning.behind.shape[1]) == 3 * 15, 0.3, 0.0)[None])
    chi = np.full((1, 21, 4), np.pi)
    for place in (2, 5, 6, 8, 9, 15, 18, 19):
        names = before.atom_names[place - 1]
        points = [mx.array(bent[0, place - 1, names.index(name)]) for name in ("N", "CA", "CB", "SG")]
        chi[0, place - 1, 0] = dihedral(*points).item()
    bonds = measure_stated(before.peptide, bent[:, :, :5], chi)
    lines = tuple(faults(bonds[0], False))
    assert any("disulfide 2-19" in line for line in lines)
    open_one = replace(before, atoms=bent, coordinates=bent[:, :, :5], bonds=tuple(bonds), warnings=lines)
    free = relieve(before.peptide, bent, chi)
    after = folded_side_chains._moved(open_one, np.zeros(1, dtype=int), free)
    assert free.better.all() and all(bond.formed for bond in after.bonds[0])
    assert not any("not formed" in line for line in after.warnings)


def test_models_with_room_are_left_alone():
    predictor = Predictor.load(templates=None)
    for peptide in (Peptide.of("AEAAAKAAA"), Peptide.of("ACAAKAAACA", disulfides=((2, 9),))):
        whole, bare = (predictor.fold(peptide, candidates=1, atoms=atoms) for atoms in ("all", "backbone"))
        np.testing.assert_array_equal(whole.coordinates, bare.coordinates)


def test_gradient(packed):
    """Contacts and disulfides, against central differences."""
    crowd = _Crowd(BONDED[0], packed[0][0].atoms)
    crowd.bond = 0.01
    rng = np.random.default_rng(0)
    turned = rng.normal(0, 0.05, (1, crowd.turning.behind.shape[1]))
    _, gradient, _ = crowd(turned)
    for step in rng.normal(size=(5, turned.shape[1])):
        step = 1e-3 * step / np.linalg.norm(step)
        (up,), (down,) = crowd(turned + step)[0], crowd(turned - step)[0]
        assert (up - down) / 2 == pytest.approx(gradient[0] @ step, rel=0.05, abs=1e-3)
