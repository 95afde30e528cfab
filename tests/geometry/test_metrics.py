import math

import mlx.core as mx
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from betafold_mlx.geometry import build_backbone, metrics
from betafold_mlx.peptide.sequence import residue_ids

PAIRWISE = {
    "ca_distance_error": (metrics.ca_distance_error, lambda d: np.abs(d).mean() if d else 0.0),
    "drmsd": (metrics.drmsd, lambda d: math.sqrt(np.square(d).mean()) if d else 0.0),
}
WHOLE_CHAIN = {name: function for name, (function, _) in PAIRWISE.items()} | {
    "lddt": lambda p, t, m=None: metrics.lddt(p, t, m, per_residue=False),
    "gdt_ts": metrics.gdt_ts,
}


def f32(*arrays):
    return tuple(mx.array(np.asarray(a, dtype=np.float32)) for a in arrays)


def walk(rng, length, batch=()):
    """Return chains of points 3.8 A apart."""
    steps = rng.normal(size=(*batch, length, 3))
    return np.cumsum(3.8 * steps / np.linalg.norm(steps, axis=-1, keepdims=True), axis=-2)


def pair(seed, length, noise=2.0, batch=()):
    rng = np.random.default_rng(seed)
    target = walk(rng, length, batch)
    return target + noise * rng.normal(size=target.shape), target


def test_torsion_error_goes_the_short_way_round():
    degrees = [(170, -170, 20), (-170, 170, 20), (10, 30, 20), (180, 0, 180), (350, -10, 0), (-180, 180, 0)]
    predicted, target, expected = np.radians(np.array(degrees, dtype=np.float64).T)
    np.testing.assert_allclose(metrics.torsion_error(*f32(predicted, target)), expected, atol=1e-5)


@pytest.mark.parametrize("name", PAIRWISE)
@pytest.mark.parametrize("length", [1, 2, 3, 25])
def test_distance_scores_are_the_oracle(name, length):
    function, summary = PAIRWISE[name]
    predicted, target = pair(length, length)
    expected = summary(oracles.distance_differences(predicted, target))
    np.testing.assert_allclose(function(*f32(predicted, target)), expected, atol=1e-5)


@pytest.mark.parametrize("name", PAIRWISE)
def test_gradient_of_distance_scores_is_the_central_difference(name):
    function, summary = PAIRWISE[name]
    predicted, target = pair(5, 6)
    expected = oracles.central_differences(
        lambda p: summary(oracles.distance_differences(p, target)), predicted
    )
    gradient = mx.grad(lambda p: function(p, *f32(target)))(*f32(predicted))
    np.testing.assert_allclose(gradient, expected, atol=1e-5)


@pytest.mark.parametrize("name", PAIRWISE)
@pytest.mark.parametrize("points", [np.zeros((4, 3)), walk(np.random.default_rng(0), 6), np.zeros((1, 3))])
def test_gradient_of_distance_scores_is_finite_at_zero(name, points):
    gradient = mx.grad(lambda p: PAIRWISE[name][0](p, *f32(points)))(*f32(points))
    np.testing.assert_array_equal(gradient, 0.0)


@pytest.mark.parametrize("length", [1, 2, 12, 60])
@pytest.mark.parametrize("noise", [0.0, 0.5, 2.0, 10.0])
def test_lddt_is_the_oracle(length, noise):
    predicted, target = pair(length, length, noise)
    if length == 60:
        assert np.linalg.norm(target[0] - target, axis=1).max() > 15.0  # so that the radius matters
    per_residue, chain = oracles.lddt(predicted, target)
    np.testing.assert_allclose(metrics.lddt(*f32(predicted, target)), per_residue, atol=1e-5)
    np.testing.assert_allclose(metrics.lddt(*f32(predicted, target), per_residue=False), chain, atol=1e-5)


@pytest.mark.parametrize("noise", [0.0, 0.5, 1.5, 3.0, 6.0])
def test_gdt_ts_comes_close_to_the_exhaustive_one_from_below(noise):
    exhaustive, found, one_fit = [], [], []
    for seed in range(4):
        predicted, target = pair(seed, 8, noise)
        exhaustive.append(oracles.gdt_ts(predicted, target))
        found.append(metrics.gdt_ts(*f32(predicted, target)).item())
        rotation, translation, _ = oracles.kabsch(predicted, target)
        error = np.linalg.norm(predicted @ rotation.T + translation - target, axis=1)
        one_fit.append(np.mean([error <= cutoff for cutoff in (1, 2, 4, 8)]))
    assert (np.array(found) <= np.array(exhaustive) + 1e-6).all()
    assert (np.array(found) >= np.array(one_fit) - 1e-6).all()
    assert np.mean(exhaustive) - np.mean(found) < (0.1 if noise else 1e-6)


def test_gdt_ts_searches_as_documented():
    predicted, target = pair(0, 26, 2.0, batch=(6,))
    expected = [oracles.gdt_ts_search(p, t) for p, t in zip(predicted, target, strict=True)]
    found = np.array(metrics.gdt_ts(*f32(predicted, target)))
    # Fits of one or two points are not unique: with another choice one more or one less atom may fit.
    np.testing.assert_allclose(found, expected, atol=1.01 / (4 * 26))
    np.testing.assert_allclose(found.mean(), np.mean(expected), atol=0.003)


def test_gdt_ts_finds_the_part_that_fits():
    rng = np.random.default_rng(0)
    target = walk(rng, 20)
    predicted = target @ oracles.random_rotation(rng).T + 5.0
    assert metrics.gdt_ts(*f32(predicted, target)).item() == 1.0
    predicted[13:] += np.arange(1, 8)[:, None] * [200.0, 0, 0]  # no two of these fit together with anything
    assert metrics.gdt_ts(*f32(predicted, target)).item() == pytest.approx(13 / 20)


def test_gdt_ts_flatters_short_chains_as_documented():
    residues = mx.array(residue_ids("A" * 10)[None])
    helix, strand = (
        build_backbone(mx.broadcast_to(mx.array(np.radians(t).astype(np.float32)), (1, 10, 3)), residues)[
            :, :, 1
        ]
        for t in ([-63.0, -42, 180], [-120.0, 130, 180])
    )
    assert 0.25 < metrics.gdt_ts(strand, helix).item() < 0.5


@pytest.mark.parametrize("name", WHOLE_CHAIN)
def test_padded_is_unpadded_and_masked_is_absent(name):
    function = WHOLE_CHAIN[name]
    predicted, target = pair(1, 24, batch=(5,))
    mask = np.arange(24) < np.array([1, 2, 9, 23, 0])[:, None]
    spoiled = np.where(mask[..., None], predicted, np.nan), np.where(mask[..., None], target, np.nan)
    scores = np.array(function(*f32(*spoiled), mx.array(mask)))
    assert scores.shape == (5,)
    for row, length in enumerate([1, 2, 9, 23]):
        alone = function(*f32(predicted[row, :length], target[row, :length]))
        np.testing.assert_allclose(scores[row], alone, atol=1e-5)
    assert scores[4] == 0.0

    holes = np.arange(24) % 3 > 0
    scores = function(*f32(predicted[0], target[0]), mx.array(holes))
    if name != "gdt_ts":  # whose windows are contiguous in the chain, holes or not
        np.testing.assert_allclose(scores, function(*f32(predicted[0][holes], target[0][holes])), atol=1e-5)


def test_lddt_per_residue_is_zero_where_masked():
    predicted, target = pair(2, 10)
    mask = np.arange(10) < 6
    scores = np.array(metrics.lddt(*f32(predicted, target), mx.array(mask)))
    np.testing.assert_allclose(scores[:6], oracles.lddt(predicted[:6], target[:6])[0], atol=1e-5)
    assert (scores[6:] == 0).all()


@pytest.mark.parametrize("name", WHOLE_CHAIN)
def test_models_broadcast_against_one_reference(name):
    predicted, target = pair(3, 9, batch=(2, 3))
    scores = np.array(WHOLE_CHAIN[name](*f32(predicted, target[0, 0])))
    assert scores.shape == (2, 3)
    single = WHOLE_CHAIN[name](*f32(predicted[1, 2], target[0, 0]))
    np.testing.assert_allclose(scores[1, 2], single, atol=1e-5)


@settings(derandomize=True, deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), length=st.integers(3, 20), shift=st.floats(-50, 50))
def test_scores_do_not_depend_on_the_frame(seed, length, shift):
    predicted, target = pair(seed, length)
    rng = np.random.default_rng(seed)
    moved = predicted @ oracles.random_rotation(rng).T + shift
    # A distance within rounding of a threshold may fall on either side: one of them changes a score by this
    # much.
    step = {"lddt": 2 / (4 * length), "gdt_ts": 1 / (4 * length)}
    for name, function in WHOLE_CHAIN.items():
        difference = abs(function(*f32(predicted, target)).item() - function(*f32(moved, target)).item())
        assert difference < 1e-4 + step.get(name, 0.0)


def test_backbone_rmsd_takes_n_ca_c_and_leaves_masked_residues_out():
    rng = np.random.default_rng(0)
    predicted, target = rng.normal(size=(2, 3, 7, 5, 3)) * 5
    mask = np.arange(7) < np.array([7, 4, 1])[:, None]
    result = np.array(metrics.backbone_rmsd(*f32(predicted, target), mx.array(mask)))
    for row, length in enumerate([7, 4, 1]):
        atoms = [x[row, :length, :3].reshape(-1, 3) for x in (predicted, target)]
        assert result[row] == pytest.approx(oracles.kabsch(*atoms)[2], abs=1e-4)
    assert metrics.backbone_rmsd(*f32(predicted[0], target[0])).item() == pytest.approx(result[0], abs=1e-5)


def test_reconstruction_floor_is_zero_for_ideal_geometry_and_not_else():
    rng = np.random.default_rng(0)
    residues = mx.array(rng.integers(0, 20, size=(4, 12)))
    mask = mx.array(np.arange(12) < np.array([12, 7, 2, 1])[:, None])
    ideal = build_backbone(mx.array(rng.uniform(-3, 3, (4, 12, 3)).astype(np.float32)), residues, mask)
    assert np.array(metrics.reconstruction_floor(ideal, residues, mask)).max() < 1e-4
    stretched = ideal * 1.05  # same torsions and angles, longer bonds
    floor = np.array(metrics.reconstruction_floor(stretched, residues, mask))
    assert (floor > 0.03).all()
    assert floor[0] > 0.15


def test_reconstruction_floor_of_real_peptides(shared_data):
    from chains import real

    floors = []
    for sequence, backbone in real(shared_data):
        if len(sequence) <= 32:
            floors.append(
                metrics.reconstruction_floor(
                    *f32(backbone[None]), mx.array(residue_ids(sequence)[None])
                ).item()
            )
    assert 0.2 < np.median(floors) < 0.5
    assert max(floors) < 4.0
