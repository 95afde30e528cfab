import mlx.core as mx
import numpy as np
import pytest
from synthetic import backbone_of, random_sequence

from betafold_mlx.geometry import backbone_torsions, frames
from betafold_mlx.train.losses import confidence_loss, fape, torsion_loss


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    structures = [backbone_of(random_sequence(rng, 12), rng, noise=20) for _ in range(2)]
    mask = np.ones((1, 12), dtype=bool)
    mask[0, 9:] = False
    return mx.array(structures[0])[None], mx.array(structures[1])[None], mx.array(mask)


def oracle_fape(predicted, target, mask, clamp):
    """Algorithm 28 with loops, float64."""

    def view(coordinates, i, point):
        n, ca, c = coordinates[i, :3]
        e1 = (c - ca) / np.linalg.norm(c - ca)
        u = (n - ca) - e1 * (e1 @ (n - ca))
        e2 = u / np.linalg.norm(u)
        axes = np.stack([e1, e2, np.cross(e1, e2)])
        return axes @ (point - ca)

    errors = []
    for i in np.flatnonzero(mask):
        for j in np.flatnonzero(mask):
            for atom in range(predicted.shape[1]):
                d = view(predicted, i, predicted[j, atom]) - view(target, i, target[j, atom])
                errors.append(min(np.sqrt(d @ d + 1e-4), clamp) / 10)
    return np.mean(errors)


@pytest.mark.parametrize("clamp", [10.0, 2.0])
def test_fape_equals_a_loop(pair, clamp):
    predicted, target, mask = pair
    got = float(fape(predicted, target, mask, clamp)[0])
    want = oracle_fape(
        np.array(predicted[0], dtype=np.float64),
        np.array(target[0], dtype=np.float64),
        np.array(mask[0]),
        clamp,
    )
    assert got == pytest.approx(want, rel=1e-4)


def test_fape_ignores_rigid_motion_and_sees_mirror_images(pair):
    predicted, target, mask = pair
    rotation, _ = frames.from_three_points(
        mx.array([0.3, 1, 2]), mx.array([1.0, 0, 0]), mx.array([0.0, 2, 1])
    )
    moved = predicted @ rotation.swapaxes(-1, -2) + mx.array([5.0, -3.0, 1.0])
    np.testing.assert_allclose(
        np.array(fape(moved, target, mask)), np.array(fape(predicted, target, mask)), rtol=1e-3
    )
    assert float(fape(target, target, mask)[0]) == pytest.approx(0.001, rel=1e-3)  # sqrt(1e-4) / 10
    assert float(fape(target * mx.array([1.0, 1.0, -1.0]), target, mask)[0]) > 0.1


def test_fape_gradient_is_finite_at_the_optimum_and_zero_at_padding(pair):
    _, target, mask = pair
    gradient = mx.grad(lambda x: fape(x, target, mask).sum())(target)
    assert mx.isfinite(gradient).all().item()
    assert float(mx.abs(gradient[0, 9:]).max()) == 0


def test_torsion_loss_is_least_at_the_mean_vector():
    """Two equally likely angles: the best vector points between them and is shorter than one."""
    angles = mx.array([0.4, 1.4])[:, None, None] * mx.ones((2, 1, 3))
    defined = mx.ones((2, 1, 3), dtype=mx.bool_)

    def loss(vector):
        return torsion_loss(mx.broadcast_to(vector, (2, 1, 3, 2)), angles, defined).mean()

    vector = mx.zeros((2,))
    for _ in range(200):
        vector = vector - 0.05 * mx.grad(loss)(vector)
    length, angle = float(mx.linalg.norm(vector)), float(mx.arctan2(vector[1], vector[0]))
    assert angle == pytest.approx(0.9, abs=1e-3)
    assert length == pytest.approx(np.cos(0.5), abs=1e-3)  # mean resultant length


def test_undefined_torsions_do_not_count(pair):
    coordinates, _, mask = pair
    torsions, defined = backbone_torsions(coordinates, mask)
    vectors = mx.stack([mx.cos(torsions), mx.sin(torsions)], axis=-1)
    noisy = mx.where(defined[..., None], vectors, 7.0)
    assert float(torsion_loss(noisy, torsions, defined)[0]) == pytest.approx(0, abs=1e-10)
    nothing = mx.zeros_like(defined)
    assert float(torsion_loss(noisy, torsions, nothing)[0]) == 0


def test_confidence_loss_is_a_cross_entropy():
    achieved = mx.array([[0.0, 0.5, 0.999, 1.0, 0.3]])
    mask = mx.array([[True, True, True, True, False]])
    logits = mx.random.normal((1, 5, 50), key=mx.random.key(0))
    p = np.exp(np.array(logits, dtype=np.float64))
    p /= p.sum(-1, keepdims=True)
    want = -np.mean([np.log(p[0, k, b]) for k, b in enumerate((0, 25, 49, 49))])
    assert float(confidence_loss(logits, achieved, mask)[0]) == pytest.approx(want, rel=1e-5)
