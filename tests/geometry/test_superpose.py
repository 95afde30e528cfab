import mlx.core as mx
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from betafold_mlx.geometry import rmsd, superpose, superposition


def f32(*arrays):
    return tuple(mx.array(np.asarray(a, dtype=np.float32)) for a in arrays)


def pairs(seed, batch, n, scale=10.0, noise=None):
    """Return mobile and target points: unrelated, or the same up to a rigid motion and noise."""
    rng = np.random.default_rng(seed)
    mobile = rng.normal(size=(batch, n, 3)) * scale
    if noise is None:
        return mobile, rng.normal(size=(batch, n, 3)) * scale
    rotation = np.stack([oracles.random_rotation(rng) for _ in range(batch)])
    target = np.einsum("bij,bnj->bni", rotation, mobile + noise * rng.normal(size=mobile.shape))
    return mobile, target + rng.normal(size=(batch, 1, 3)) * scale


def assert_proper(rotation):
    rotation = np.array(rotation, dtype=np.float64).reshape(-1, 3, 3)
    np.testing.assert_allclose(
        rotation @ rotation.swapaxes(1, 2), np.tile(np.eye(3), (len(rotation), 1, 1)), atol=1e-5
    )
    np.testing.assert_allclose(np.linalg.det(rotation), 1.0, atol=1e-5)


@pytest.mark.parametrize("n", [3, 4, 10, 96])
@pytest.mark.parametrize("noise", [None, 0.0, 0.1, 3.0])
@pytest.mark.parametrize("scale", [1.0, 10.0, 1000.0])
def test_superposition_is_the_kabsch_oracle(n, noise, scale):
    mobile, target = pairs(n, 25, n, scale, noise)
    rotation, translation = superposition(*f32(mobile, target))
    assert_proper(rotation)
    moved, deviation = superpose(*f32(mobile, target)), rmsd(*f32(mobile, target))
    for row in range(25):
        best_rotation, best_translation, best = oracles.kabsch(mobile[row], target[row])
        tolerance = 1e-5 * scale  # 1e-4 A for a peptide, which is 10 A wide
        expected = mobile[row] @ best_rotation.T + best_translation
        if noise is not None or n > 4:  # else two rotations may be all but equally good
            np.testing.assert_allclose(moved[row], expected, atol=10 * tolerance)
        direct = mobile[row] @ np.array(rotation[row]).T + np.array(translation[row])
        np.testing.assert_allclose(moved[row], direct, atol=tolerance)
        assert oracles.rms_distance(direct, target[row]) <= best + tolerance
        assert abs(deviation[row].item() - best) <= tolerance


def test_mirror_images_are_not_superposed():
    mobile, _ = pairs(0, 20, 12)
    target = mobile * [1, 1, -1]
    rotation, _ = superposition(*f32(mobile, target))
    assert_proper(rotation)
    expected = [oracles.kabsch(m, t)[2] for m, t in zip(mobile, target, strict=True)]
    np.testing.assert_allclose(rmsd(*f32(mobile, target)), expected, atol=1e-4)
    assert min(expected) > 1.0


LINE = np.arange(6.0)[:, None] * [1.0, 2.0, -0.5]
PLANE = np.random.default_rng(0).normal(size=(6, 3)) * [3, 3, 0]
CASES = {
    "no point": (np.zeros((0, 3)), np.zeros((0, 3))),
    "one point": ([[1.0, 2.0, 3.0]], [[-4.0, 5.0, 6.0]]),
    "two points": ([[0.0, 0, 0], [0, 2, 0]], [[5.0, 0, 0], [7, 0, 0]]),
    "coincident": (np.ones((5, 3)), np.full((5, 3), 2.0)),
    "coincident on spread": (np.ones((6, 3)), PLANE),
    "line on line": (LINE, LINE[::-1] * 1.1 + 3.0),
    "line on plane": (LINE, PLANE),
    "opposite lines": (LINE - LINE.mean(0), -(LINE - LINE.mean(0))),
    "plane on plane": (PLANE, PLANE[:, [2, 0, 1]]),
    "half turn": (PLANE, PLANE * [-1, -1, 1]),
    "cube on its mirror image": (
        np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]),
        np.array([[x, y, -z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]),
    ),
    "identical": (PLANE, PLANE),
    "huge": (PLANE * 1e10, LINE * 1e10),
    "tiny": (PLANE * 1e-12, LINE * 1e-12),
}


@pytest.mark.parametrize("case", CASES)
def test_degenerate_points_are_finite_proper_and_still_optimal(case):
    mobile, target = (np.asarray(points, dtype=np.float32) for points in CASES[case])
    rotation, translation = superposition(*f32(mobile, target))
    assert_proper(rotation)
    assert np.isfinite(np.array(translation)).all()
    deviation, gradient = mx.value_and_grad(lambda x: rmsd(x, mx.array(target)))(mx.array(mobile))
    assert np.isfinite(np.array(gradient)).all()
    expected = oracles.kabsch(mobile, target)[2] if len(mobile) else 0.0
    assert abs(deviation.item() - expected) <= 1e-5 * max(
        np.abs(target).max(initial=0), np.abs(mobile).max(initial=0)
    )


def test_gradient_at_distance_zero_is_zero():
    points, _ = pairs(1, 3, 8)
    for superposed in (True, False):
        gradient = mx.grad(lambda x, s=superposed: rmsd(x, *f32(points), superposed=s).sum())(*f32(points))
        assert np.isfinite(np.array(gradient)).all()
    np.testing.assert_array_equal(gradient, 0.0)


@pytest.mark.parametrize("superposed", [True, False])
@pytest.mark.parametrize("noise", [None, 0.5])
def test_gradient_is_the_central_difference_through_the_rotation(superposed, noise):
    mobile, target = pairs(2, 1, 7, 3.0, noise)
    function = oracles.kabsch if superposed else lambda a, b: (0, 0, oracles.rms_distance(a, b))
    for argument in (0, 1):

        def shifted(x, argument=argument):
            return function(*((x, target[0]) if argument == 0 else (mobile[0], x)))[2]

        expected = oracles.central_differences(shifted, (mobile, target)[argument][0])
        total = lambda a, b: rmsd(a, b, superposed=superposed).sum()  # noqa: E731
        gradient = mx.grad(total, argnums=argument)(*f32(mobile, target))
        np.testing.assert_allclose(gradient[0], expected, atol=2e-5)


def test_masked_points_do_not_count_and_padded_is_unpadded():
    mobile, target = pairs(3, 4, 12)
    mask = np.ones((4, 12), dtype=bool)
    mask[0, 5:], mask[1, ::2], mask[2, :] = False, False, False
    spoiled = np.where(mask[..., None], mobile, np.nan)
    deviation = np.array(rmsd(*f32(spoiled, target), mx.array(mask)))
    plain = np.array(rmsd(*f32(spoiled, target), mx.array(mask), superposed=False))
    rotation, _ = superposition(*f32(spoiled, target), mx.array(mask))
    assert_proper(rotation)
    moved = superpose(*f32(mobile, target), mx.array(mask))
    assert moved.shape == (4, 12, 3)
    for row in (0, 1, 3):
        kept_mobile, kept_target = mobile[row][mask[row]], target[row][mask[row]]
        best_rotation, best_translation, best = oracles.kabsch(kept_mobile, kept_target)
        np.testing.assert_allclose(deviation[row], best, atol=1e-4)
        np.testing.assert_allclose(plain[row], oracles.rms_distance(kept_mobile, kept_target), atol=1e-4)
        np.testing.assert_allclose(moved[row], mobile[row] @ best_rotation.T + best_translation, atol=1e-3)
    assert deviation[2] == plain[2] == 0.0

    gradient = np.array(mx.grad(lambda x: rmsd(x, *f32(target), mx.array(mask)).sum())(*f32(spoiled)))
    assert np.isfinite(gradient).all()
    assert (gradient[~mask] == 0).all()


def test_leading_axes_broadcast():
    mobile, target = pairs(4, 6, 9)
    models, reference = f32(mobile.reshape(2, 3, 9, 3), target[0])
    result = np.array(rmsd(models, reference))
    assert result.shape == (2, 3)
    expected = [oracles.kabsch(m, target[0])[2] for m in mobile]
    np.testing.assert_allclose(result.reshape(-1), expected, atol=1e-4)


@settings(derandomize=True, deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 12), shift=st.floats(-50, 50))
def test_rmsd_does_not_depend_on_the_frame(seed, n, shift):
    rng = np.random.default_rng(seed)
    mobile, target = rng.normal(size=(2, n, 3)) * 5
    moved = mobile @ oracles.random_rotation(rng).T + shift
    assert abs(rmsd(*f32(mobile, target)).item() - rmsd(*f32(moved, target)).item()) < 1e-4
    assert rmsd(*f32(mobile, moved)).item() < 1e-4
