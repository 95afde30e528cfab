"""The same numbers as biotite and gemmi, on built chains everywhere and on real ones where they are there."""

import math

import biotite.structure as struc
import chains
import gemmi
import mlx.core as mx
import numpy as np
import pytest

from betafold_mlx.geometry import backbone_torsions, rmsd, superpose
from betafold_mlx.geometry.metrics import lddt

ANGLE = 2e-4  # radians; chains lie up to 100 A from the origin, in float32, in either program


@pytest.fixture(scope="module", params=["synthetic", "real"])
def backbones(request):
    """Sequences and (L, 4, 3) backbones."""
    if request.param == "synthetic":
        return chains.synthetic()
    return chains.real(request.getfixturevalue("shared_data"), every=8)


@pytest.fixture(scope="module")
def decoys(backbones):
    """Pairs of backbones of one length: a chain with noise of 0 to 6 A, and the piece of another chain."""
    rng = np.random.default_rng(0)
    pairs = []
    for number, (_, target) in enumerate(backbones):
        noise = rng.normal(size=target.shape).astype(np.float32) * (number % 4) * 2
        # Turned by 120 degrees. (At exactly 180 with no noise gemmi 0.7.5 gives the right RMSD but no
        # rotation.)
        pairs.append((target[..., [1, 2, 0]] + noise, target))
        other = backbones[number - 1][1]
        shared = min(len(other), len(target))
        pairs.append((other[:shared], target[:shared]))
    return pairs


def worst(result, expected):
    """Return the largest circular difference; NaN must stand at the same places."""
    difference = (np.asarray(result, np.float64) - expected + np.pi) % (2 * np.pi) - np.pi
    return np.nanmax(np.abs(difference))


def test_torsions_are_those_of_biotite(backbones):
    for sequence, backbone in backbones:
        torsions, defined = (np.array(x) for x in backbone_torsions(mx.array(backbone)))
        expected = np.stack(struc.dihedral_backbone(chains.as_biotite(sequence, backbone)), axis=-1)
        np.testing.assert_array_equal(defined, np.isfinite(expected))
        assert worst(torsions, expected) < ANGLE


def test_torsions_are_those_of_gemmi(backbones):
    for sequence, backbone in backbones:
        torsions = np.array(backbone_torsions(mx.array(backbone))[0])
        residues = chains.as_gemmi(sequence, backbone)
        around = [None, *residues, None]
        for i, (before, residue, after) in enumerate(zip(around, residues, around[2:], strict=False)):
            phi, psi = gemmi.calculate_phi_psi(before, residue, after)
            omega = gemmi.calculate_omega(residue, after) if after else math.nan
            expected = np.array([phi, psi, omega])
            assert np.isnan(expected).sum() == (before is None) + 2 * (after is None)
            assert worst(torsions[i], expected) < ANGLE


def test_superposition_and_rmsd_are_those_of_biotite(decoys):
    for mobile, target in decoys:
        a, b = mobile.reshape(-1, 3), target.reshape(-1, 3)
        expected, _ = struc.superimpose(b, a)
        np.testing.assert_allclose(superpose(mx.array(a), mx.array(b)), expected, atol=5e-3)
        assert abs(rmsd(mx.array(a), mx.array(b)).item() - struc.rmsd(b, expected)) < 1e-4
        in_place = rmsd(mx.array(a), mx.array(b), superposed=False).item()
        assert in_place == pytest.approx(struc.rmsd(b, a), abs=1e-4, rel=3e-6)


def test_superposition_and_rmsd_are_those_of_gemmi(decoys):
    for mobile, target in decoys:
        a, b = mobile[:, 1], target[:, 1]
        positions = [[gemmi.Position(*p) for p in points.tolist()] for points in (b, a)]
        result = gemmi.superpose_positions(*positions)
        expected = [result.transform.apply(p).tolist() for p in positions[1]]
        np.testing.assert_allclose(superpose(mx.array(a), mx.array(b)), expected, atol=5e-3)
        assert abs(rmsd(mx.array(a), mx.array(b)).item() - result.rmsd) < 1e-4


def test_lddt_is_that_of_biotite(decoys):
    for mobile, target in decoys:
        predicted, ca = (mx.array(x[:, 1]) for x in (mobile, target))
        reference = chains.as_biotite("A" * len(target), target)[1::4]
        expected = struc.lddt(reference, mobile[:, 1], aggregation="residue")
        np.testing.assert_allclose(lddt(predicted, ca), expected, atol=1e-3)
        expected = struc.lddt(reference, mobile[:, 1])
        np.testing.assert_allclose(lddt(predicted, ca, per_residue=False), expected, atol=1e-4)
