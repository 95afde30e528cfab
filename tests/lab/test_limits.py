"""What is told of the native structure, and what folding then makes of it."""

import mlx.core as mx
import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="needs matplotlib")

from synthetic import backbone_of, random_sequence, toy_model

from betafold_mlx.data.windows import Window
from betafold_mlx.fold.ensemble import refine
from betafold_mlx.geometry.metrics import backbone_rmsd
from betafold_mlx.lab.limits import native_distances, native_regions
from betafold_mlx.model.heads import expected_distances
from betafold_mlx.peptide.sequence import Peptide
from betafold_mlx.train.batches import make_batch

LENGTH = 14


@pytest.fixture(scope="module")
def told():
    """A toy network's answer, and what it should have been."""
    rng = np.random.default_rng(1)
    windows = [
        Window(Peptide.of(sequence := random_sequence(rng, LENGTH)), backbone_of(sequence, rng, noise=10))
        for _ in range(3)
    ]
    batch = make_batch(windows, 16)
    mx.random.seed(0)
    return toy_model()(batch.inputs), batch


def test_told_distances_are_the_native_ones(told):
    folded, batch = told
    ca = np.array(batch.targets.coordinates)[:, :LENGTH, 1]
    native = np.linalg.norm(ca[:, :, None] - ca[:, None], axis=-1)
    found = np.array(expected_distances(native_distances(folded, batch.targets).distogram))[
        :, :LENGTH, :LENGTH
    ]
    far = (native > 5) & (native < 35)  # the first and the last bin stand for all that lies beyond
    assert far.any() and np.abs(found - native)[far].max() < 0.6


def test_told_regions_hold_the_native_torsions(told):
    folded, batch = told
    mixture = native_regions(folded, batch.targets).mixture
    defined = np.array(batch.targets.defined)[..., :2]
    native = np.array(batch.targets.torsions)[..., :2]
    # The probability of each state at the native torsions, from the definition of von Mises distributions.
    centre, k = np.array(mixture.centre, dtype=np.float64), np.array(mixture.concentration, dtype=np.float64)
    log_p = k * np.cos(native[..., None, :] - centre) - np.log(2 * np.pi * np.i0(k))
    log_p = (log_p * defined[..., None, :]).sum(axis=-1)
    p = np.exp(log_p - log_p.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    inner = defined.all(axis=-1)
    np.testing.assert_allclose(np.exp(np.array(mixture.log_weights))[inner], p[inner], atol=1e-3)


def test_what_is_told_brings_the_fold_nearer(told):
    folded, batch = told

    def rmsd(answer):
        made = refine(answer, batch.inputs, 0, [0]).coordinates[:, 0, :, :4]
        return np.array(backbone_rmsd(made, batch.targets.coordinates, batch.inputs.mask)).mean()

    both = native_distances(native_regions(folded, batch.targets), batch.targets)
    assert rmsd(both) < 0.6 * rmsd(folded)
