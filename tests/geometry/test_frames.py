import mlx.core as mx
import numpy as np
import oracles
import pytest

from betafold_mlx.geometry import frames


def random_frames(rng, n=20):
    rotation = np.stack([oracles.random_rotation(rng) for _ in range(n)])
    translation = rng.normal(size=(n, 3)) * 10
    return rotation, translation


def as_mx(*arrays):
    return tuple(mx.array(a.astype(np.float32)) for a in arrays)


def homogeneous(rotation, translation):
    matrix = np.tile(np.eye(4), (len(rotation), 1, 1))
    matrix[:, :3, :3], matrix[:, :3, 3] = rotation, translation
    return matrix


def test_three_points_give_the_documented_axes():
    rng = np.random.default_rng(0)
    n, ca, c = rng.normal(size=(3, 50, 3)) * 3
    rotation, translation = (np.array(x) for x in frames.from_three_points(*as_mx(n, ca, c)))
    np.testing.assert_allclose(translation, ca, atol=1e-6)
    np.testing.assert_allclose(np.linalg.det(rotation), 1.0, atol=1e-5)
    np.testing.assert_allclose(rotation.swapaxes(1, 2) @ rotation, np.tile(np.eye(3), (50, 1, 1)), atol=1e-5)
    local_n = np.einsum("bji,bj->bi", rotation, n - ca)
    local_c = np.einsum("bji,bj->bi", rotation, c - ca)
    assert (local_c[:, 0] > 0).all()
    np.testing.assert_allclose(local_c[:, 1:], 0.0, atol=1e-5)
    assert (local_n[:, 1] > 0).all()
    np.testing.assert_allclose(local_n[:, 2], 0.0, atol=1e-5)


def test_compose_invert_and_apply_are_those_of_homogeneous_matrices():
    rng = np.random.default_rng(1)
    outer, inner = random_frames(rng), random_frames(rng)
    points = rng.normal(size=(20, 7, 3))
    a, b = as_mx(*outer), as_mx(*inner)

    expected = homogeneous(*outer) @ homogeneous(*inner)
    rotation, translation = frames.compose(a, b)
    np.testing.assert_allclose(rotation, expected[:, :3, :3], atol=1e-5)
    np.testing.assert_allclose(translation, expected[:, :3, 3], atol=1e-4)

    expected = np.linalg.inv(homogeneous(*outer))
    rotation, translation = frames.invert(a)
    np.testing.assert_allclose(rotation, expected[:, :3, :3], atol=1e-5)
    np.testing.assert_allclose(translation, expected[:, :3, 3], atol=1e-4)

    expected = np.einsum("bij,bnj->bni", outer[0], points) + outer[1][:, None]
    np.testing.assert_allclose(frames.apply(a, *as_mx(points)), expected, atol=1e-4)


def test_distances_keep_the_digits_of_small_differences():
    points = np.array([[100.0, 100.0, 100.0], [100.0, 100.0, 101.5], [100.0, 100.0, 100.0]])
    result = frames.distances(*as_mx(points, points))
    np.testing.assert_allclose(result, [[0, 1.5, 0], [1.5, 0, 1.5], [0, 1.5, 0]], atol=1e-6)


@pytest.mark.parametrize("case", ["coincident", "collinear", "partly coincident"])
def test_degenerate_points_give_finite_values_and_gradients(case):
    n = {"coincident": 0.0, "collinear": -1.0, "partly coincident": 0.0}[case]
    c = {"coincident": 0.0, "collinear": 2.0, "partly coincident": 1.0}[case]
    points = mx.array([[n, 0.0, 0.0], [0.0, 0.0, 0.0], [c, 0.0, 0.0]])

    def total(x):
        rotation, translation = frames.from_three_points(x[0], x[1], x[2])
        return (rotation * mx.arange(9.0).reshape(3, 3)).sum() + translation.sum()

    value, gradient = mx.value_and_grad(total)(points)
    assert np.isfinite(value.item())
    assert np.isfinite(np.array(gradient)).all()


def test_norm_has_zero_gradient_at_zero_and_the_right_one_elsewhere():
    gradient = mx.grad(lambda v: frames.norm(v).sum())(mx.array([[0.0, 0.0, 0.0], [3.0, 0.0, 4.0]]))
    np.testing.assert_allclose(gradient, [[0, 0, 0], [0.6, 0, 0.8]], atol=1e-6)
