import math

import mlx.core as mx
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from betafold_mlx.geometry import backbone_torsions, dihedral, wrap


def circular(a, b):
    return np.abs((np.asarray(a, np.float64) - np.asarray(b, np.float64) + np.pi) % (2 * np.pi) - np.pi)


def chain(rng, length):
    """Return a random walk with backbone-like bonds, (L, 4, 3) float32: no ideal geometry involved."""
    steps = rng.normal(size=(length * 4, 3))
    steps *= 1.45 / np.linalg.norm(steps, axis=1, keepdims=True)
    return np.cumsum(steps, axis=0).reshape(length, 4, 3).astype(np.float32)


def test_wrap_maps_onto_the_half_open_circle():
    angles = [0.0, 3.0, 3.5, -3.5, 4 * math.pi + 1.0, -4 * math.pi - 1.0, 100.0]
    wrapped = np.array(wrap(mx.array(angles)))
    assert circular(wrapped, angles).max() < 1e-5
    assert (np.abs(wrapped) <= math.pi + 1e-6).all()
    assert wrap(mx.array(math.pi)).item() > 3.14
    assert wrap(mx.array(-math.pi)).item() > 3.14
    np.testing.assert_allclose(mx.grad(lambda a: wrap(a).sum())(mx.array(angles)), 1.0)


@pytest.mark.parametrize(
    ("last", "expected"),
    [((1, 1, 0), 0.0), ((1, -1, 0), math.pi), ((1, 0, 1), math.pi / 2), ((1, 0, -1), -math.pi / 2)],
)
def test_sign_and_zero_are_those_of_iupac(last, expected):
    # Looking along +x, with y up, +z is to the right: clockwise.
    points = [(0.0, 1.0, 0.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0), tuple(map(float, last))]
    result = dihedral(*(mx.array(p) for p in points)).item()
    assert circular(result, expected) < 1e-6


def test_dihedral_is_the_oracle():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(4, 500, 3)).astype(np.float32) * 1.5
    result = dihedral(*(mx.array(p) for p in points))
    expected = [oracles.dihedral(*quadruple) for quadruple in points.astype(np.float64).swapaxes(0, 1)]
    assert (
        circular(result, expected).max() < 1e-4
    )  # the worst of them has its first three points nearly on a line


def test_gradient_is_the_central_difference():
    rng = np.random.default_rng(1)
    for _ in range(10):
        points = rng.normal(size=(4, 3)) * 1.5
        expected = oracles.central_differences(lambda p: oracles.dihedral(*p), points)
        gradient = mx.grad(lambda p: dihedral(*p))(mx.array(points.astype(np.float32)))
        np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "points",
    [
        np.zeros((4, 3)),
        np.arange(4.0)[:, None] * [1.0, 0.0, 0.0],
        np.arange(4.0)[:, None] * [0.3, -1.1, 0.7],  # a line on which rounding leaves small cross products
        [[0, 0, 0], [1, 0, 0], [1, 0, 0], [1, 1, 0]],
        [[0, 0, 0], [0, 0, 0], [1, 0, 0], [1, 1, 0]],
        np.eye(4, 3) * 1e-9,
    ],
)
def test_degenerate_points_give_finite_values_and_gradients(points):
    value, gradient = mx.value_and_grad(lambda p: dihedral(*p))(mx.array(np.array(points, dtype=np.float32)))
    assert math.isfinite(value.item())
    assert np.isfinite(np.array(gradient)).all()


def test_cis_and_trans_have_a_gradient_too():
    for last in (1.0, -1.0):  # where arccos would fail
        points = mx.array([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, last, 0.0]])
        gradient = np.array(mx.grad(lambda p: dihedral(*p))(points))
        np.testing.assert_allclose(gradient[3], [0, 0, last], atol=1e-6)


@pytest.mark.parametrize("length", [1, 2, 3, 20])
def test_backbone_torsions_are_the_oracle(length):
    coordinates = chain(np.random.default_rng(length), length)
    torsions, defined = backbone_torsions(mx.array(coordinates))
    expected = oracles.backbone_torsions(coordinates.astype(np.float64))
    np.testing.assert_array_equal(defined, ~np.isnan(expected))
    assert circular(torsions, np.nan_to_num(expected)).max() < 1e-4
    assert (np.array(torsions)[np.isnan(expected)] == 0.0).all()


def test_masked_residues_undefine_the_torsions_that_need_them():
    coordinates = chain(np.random.default_rng(3), 6)
    whole, _ = backbone_torsions(mx.array(coordinates))
    spoiled = coordinates.copy()
    spoiled[[2, 5]] = np.nan  # a hole, and padding
    mask = mx.array([True, True, False, True, True, False])

    torsions, defined = backbone_torsions(mx.array(spoiled), mask)
    expected = np.zeros((6, 3), dtype=bool)
    expected[[1, 4], 0] = True  # phi needs the residue before
    expected[[0, 3], 1:] = True  # psi and omega need the one after
    np.testing.assert_array_equal(defined, expected)
    np.testing.assert_allclose(torsions, np.where(expected, whole, 0.0), atol=1e-6)

    gradient = mx.grad(lambda x: backbone_torsions(x, mask)[0].sum())(mx.array(spoiled))
    assert np.isfinite(np.array(gradient)).all()
    assert (np.array(gradient)[[2, 5]] == 0).all()


def test_batches_are_their_members():
    rng = np.random.default_rng(4)
    coordinates = np.stack([chain(rng, 5) for _ in range(6)]).reshape(2, 3, 5, 4, 3)
    torsions, defined = backbone_torsions(mx.array(coordinates))
    assert torsions.shape == defined.shape == (2, 3, 5, 3)
    single, _ = backbone_torsions(mx.array(coordinates[1, 2]))
    np.testing.assert_allclose(torsions[1, 2], single, atol=1e-6)


@settings(derandomize=True, deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), length=st.integers(2, 12), shift=st.floats(-100, 100))
def test_rigid_motion_keeps_and_mirror_negates_torsions(seed, length, shift):
    rng = np.random.default_rng(seed)
    coordinates = chain(rng, length)
    torsions = np.array(backbone_torsions(mx.array(coordinates))[0])
    # Torsions of nearly straight triples are as uncertain as the rounding of coordinates at this distance.
    bonds = np.diff(coordinates[:, :3].reshape(-1, 3), axis=0)
    straight = np.linalg.norm(np.cross(bonds[:-1], bonds[1:]), axis=1).min()
    tolerance = (1e-5 + 1e-6 * abs(shift)) / max(straight, 1e-3) + 1e-5

    moved = coordinates @ oracles.random_rotation(rng).T + shift
    assert circular(backbone_torsions(mx.array(moved.astype(np.float32)))[0], torsions).max() < tolerance
    mirrored = coordinates * np.array([1, 1, -1], dtype=np.float32)
    assert circular(backbone_torsions(mx.array(mirrored))[0], -torsions).max() < tolerance
