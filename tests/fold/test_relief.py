"""Relief of crowded models: room is made with small moves of ideal geometry, and nothing else is touched."""

import mlx.core as mx
import numpy as np
import pytest

from betafold_mlx import Predictor
from betafold_mlx.fold.relief import relieve
from betafold_mlx.fold.sterics import clashes, contacts_of
from betafold_mlx.geometry import build_backbone
from betafold_mlx.geometry.side_chains import build_side_chains, side_chains
from betafold_mlx.geometry.spread import mirror_image
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
    return len(clashes(atoms, contacts_of([peptide], chains, backbone=True))[0])


@pytest.fixture(scope="module")
def relieved():
    peptide, backbone, chi, chains = crowded()
    return relieve([peptide], np.zeros(1, dtype=int), backbone, chi, chains)


def test_there_is_more_room_and_little_moved(relieved):
    peptide, backbone, chi, chains = crowded()
    before, after = (
        count(peptide, atoms_of(b, c, chains), chains) for b, c in ((backbone, chi), relieved[:2])
    )
    assert before >= 3 and after < before
    ca, moved = backbone[0, :, 1], relieved.backbone[0, :, 1]
    apart = [np.linalg.norm(points[:, None] - points, axis=-1) for points in (ca, moved)]
    assert np.abs(apart[0] - apart[1]).max() < 1.5


def test_geometry_stays_ideal(relieved):
    peptide, backbone, *_ = crowded()
    again = build_backbone(mx.array(relieved.torsions), mx.array(peptide.ids)[None])
    for points in (relieved.backbone, np.array(again)):
        for a, b in ((0, 1), (1, 2), (2, 3), (1, 4)):
            lengths = np.linalg.norm(points[0, :, a] - points[0, :, b], axis=-1)
            wanted = np.linalg.norm(backbone[0, :, a] - backbone[0, :, b], axis=-1)
            np.testing.assert_allclose(lengths, wanted, atol=1e-4)
    np.testing.assert_allclose(np.array(again), relieved.backbone, atol=1e-4)


def test_a_d_peptide_gives_way_as_its_mirror_image(relieved):
    peptide, backbone, chi, chains = crowded(d_amino_acids=True)
    mirrored = relieve([peptide], np.zeros(1, dtype=int), backbone, chi, chains)
    there = np.array([(letter != "G", slot < 4) for letter in SEQUENCE for slot in range(5)]).any(axis=1)
    both = (mirror_image(mirrored.backbone), relieved.backbone)
    np.testing.assert_allclose(*(points[0].reshape(-1, 3)[there] for points in both), atol=0.05)


def test_models_with_room_and_with_stated_bonds_are_left_alone():
    predictor = Predictor.load(templates=None)
    for peptide in (Peptide.of("AEAAAKAAA"), Peptide.of("CYFQNCPRG", disulfides=((1, 6),))):
        whole, bare = (predictor.fold(peptide, candidates=1, atoms=atoms) for atoms in ("all", "backbone"))
        np.testing.assert_array_equal(whole.coordinates, bare.coordinates)
