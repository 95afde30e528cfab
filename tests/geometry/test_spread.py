"""How the models of a peptide differ, against biotite and by hand."""

import biotite.structure as struc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import backbone_of, random_sequence

from betafold_mlx.geometry.spread import ALIKE, measure_spread, superpose_models


def models(seed, count, noise):
    rng = np.random.default_rng(seed)
    base = backbone_of(random_sequence(rng, 12), rng, noise=15)
    full = np.concatenate([base, base[:, :1] + 1.0], axis=1)  # (L, 5, 3)
    return full + noise * rng.normal(size=(count, *full.shape))


def test_one_model_has_no_spread():
    assert measure_spread(models(0, 1, 0.0)) == ((1,), (0.0,), (0.0,) * 12)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 6), st.floats(0.05, 2.0))
def test_rmsd_and_spread_are_biotites(seed, count, noise):
    made = models(seed, count, noise)
    spread = measure_spread(made)
    atoms = made[:, :, :3].reshape(count, -1, 3)
    laid = [struc.superimpose(atoms[0], model)[0].reshape(-1, 3, 3) for model in atoms]
    want = [np.sqrt(np.square(fit.reshape(-1, 3) - atoms[0]).sum(-1).mean()) for fit in laid]
    np.testing.assert_allclose(spread.rmsd_to_first, want, atol=1e-4)
    ca = np.stack(laid)[:, :, 1]
    rmsf = np.sqrt(np.square(ca - ca.mean(axis=0)).sum(-1).mean(axis=0))
    np.testing.assert_allclose(spread.per_residue, rmsf, atol=1e-4)


def test_a_mirror_image_is_another_fold():
    (model,) = models(1, 1, 0.0)
    image = model * [1, 1, -1]
    spread = measure_spread(np.stack([model, image]))
    atoms = (x[:, :3].reshape(-1, 3) for x in (model, image))
    apart = struc.rmsd(first := next(atoms), struc.superimpose(first, next(atoms))[0])
    assert spread.rmsd_to_first[1] == pytest.approx(apart, abs=1e-4) and apart > 1


def test_clusters_are_led_by_the_best_model_that_is_alike():
    first, second, third = (models(seed, 1, 0.0)[0] for seed in (1, 2, 3))
    made = np.stack([first, second, first + 0.01, second + 5.0, third])
    spread = measure_spread(made)
    assert spread.clusters[:4] == (1, 2, 1, 2) and spread.clusters[4] == 3
    assert spread.rmsd_to_first[1] > ALIKE and spread.rmsd_to_first[2] == pytest.approx(0, abs=1e-2)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5))
def test_models_are_laid_on_the_first_as_biotite_does(seed, count):
    made = models(seed, count, 2.0)
    made[:, 3, 4] = np.nan  # glycine has no CB
    laid = superpose_models(made)
    np.testing.assert_array_equal(laid[0], made[0])
    backbone = made[:, :, :3].reshape(count, -1, 3)
    for model, atoms in zip(laid, backbone, strict=True):
        fitted = struc.superimpose(backbone[0], atoms)[0]
        np.testing.assert_allclose(model[:, :3].reshape(-1, 3), fitted, atol=1e-4)
    assert (np.isnan(laid) == np.isnan(made)).all()
