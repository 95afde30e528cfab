"""Mixtures of von Mises distributions over (phi, psi), against float64 numpy on a grid."""

import math

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from betafold_mlx.model.ramachandran import (
    STATES,
    RamachandranHead,
    TorsionMixture,
    fit_states,
    log_normaliser,
)

GRID = np.arange(-180, 180) * np.pi / 180


def mixture(seed=0, shape=(2, 3), states=5):
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.ones(states), size=shape)
    centre, k = rng.uniform(-np.pi, np.pi, (states, 2)), rng.uniform(0.5, 60, (states, 2))
    arrays = [mx.array(x.astype(np.float32)) for x in (np.log(weights), centre, k)]
    return TorsionMixture(*arrays), weights, centre, k


def oracle_density(x, weights, centre, k):
    """(..., 2) -> density; weights (K,)."""
    each = np.exp(k * np.cos(x[..., None, :] - centre)) / (2 * np.pi * np.i0(k))
    return each, (weights * each.prod(axis=-1)).sum(axis=-1)


@given(st.floats(1e-3, 400))
def test_the_normaliser_is_that_of_the_bessel_function(k):
    got = float(log_normaliser(mx.array([k]))[0])
    assert got == pytest.approx(math.log(2 * math.pi) + math.log(np.i0(k)), abs=2e-5, rel=1e-6)


def test_the_normaliser_is_smooth_where_its_two_series_meet():
    slope = mx.grad(lambda k: log_normaliser(k).sum())(mx.array([3.7499, 3.7501]))
    assert float(slope[0]) == pytest.approx(float(slope[1]), rel=1e-3)


def test_density_is_the_mixture_and_sums_to_one():
    mixed, weights, centre, k = mixture()
    phi, psi = np.meshgrid(GRID, GRID, indexing="ij")
    points = np.stack([phi, psi], axis=-1)
    for row in np.ndindex(weights.shape[:-1]):
        one = TorsionMixture(mixed.log_weights[row], mixed.centre, mixed.concentration)
        got = np.array(one.log_density(mx.array(points.astype(np.float32)), mx.array([True, True])))
        _, want = oracle_density(points, weights[row], centre, k)
        np.testing.assert_allclose(np.exp(got), want, rtol=2e-4, atol=1e-7)
        assert np.exp(got).mean() * (2 * np.pi) ** 2 == pytest.approx(1, abs=1e-3)


def test_an_undefined_torsion_is_integrated_out():
    mixed, weights, centre, k = mixture(1, (1,))
    angles = mx.array([[0.7, 1.9]])
    for known in ((True, False), (False, True)):
        each, _ = oracle_density(np.array([0.7, 1.9]), weights[0], centre, k)
        want = (weights[0] * each[:, known.index(True)]).sum()
        got = mixed.log_density(angles, mx.array([known]))
        assert float(got[0]) == pytest.approx(math.log(want), abs=1e-4)
    nothing = mixed.log_density(angles, mx.array([(False, False)]))
    assert float(nothing[0]) == pytest.approx(0, abs=1e-5)


def test_best_angles_have_the_smallest_expected_error():
    mixed, weights, centre, k = mixture(2)
    best = np.array(mixed.best_angles())
    assert (best >= -np.pi - 1e-6).all() and (best < np.pi).all()
    turn = np.abs(GRID[:, None] - GRID)
    turn = np.minimum(turn, 2 * np.pi - turn)
    for row in np.ndindex(weights.shape[:-1]):
        for axis in (0, 1):
            x = np.stack([GRID, GRID], axis=-1)
            density = (oracle_density(x, weights[row], centre, k)[0][..., axis] * weights[row]).sum(axis=-1)
            expected = turn @ density / density.sum()
            place = np.argmin(np.abs(np.angle(np.exp(1j * (GRID - best[row][axis])))))
            assert expected[place] <= expected.min() + np.radians(1)


def test_samples_follow_the_density():
    mixed, weights, centre, k = mixture(3, ())
    many = TorsionMixture(
        mx.broadcast_to(mixed.log_weights, (2, 20000, 5)), mixed.centre, mixed.concentration
    )
    drawn = np.array(many.sample(mx.random.key(0)))
    np.testing.assert_array_equal(drawn[0], drawn[1])  # peptides of a batch share the random numbers
    drawn = drawn[0]
    for axis in (0, 1):
        got = np.exp(1j * drawn[:, axis]).mean()
        # each state is drawn as a wrapped normal of its width, whose mean resultant length is exp(-variance / 2)
        r = np.exp(-0.5 / k[:, axis])
        assert abs(got - (weights * r * np.exp(1j * centre[:, axis])).sum()) < 0.03
    assert np.array_equal(drawn, np.array(many.sample(mx.random.key(0)))[0])
    assert not np.array_equal(drawn, np.array(many.sample(mx.random.key(1)))[0])


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 10**6))
def test_the_fit_finds_the_regions_of_made_up_data(seed):
    rng = np.random.default_rng(seed)
    centres = np.radians([[-63, -42], [-120, 135], [60, 40]])
    which = rng.choice(3, size=6000, p=[0.5, 0.4, 0.1])
    angles = centres[which] + np.radians(10) * rng.normal(size=(6000, 2))
    centre, concentration, weight = fit_states(angles.astype(np.float32))
    assert weight.sum() == pytest.approx(1)
    x = np.stack([*np.meshgrid(GRID[::3], GRID[::3], indexing="ij")], axis=-1)
    density = oracle_density(x, weight, centre, concentration)[1]
    near = np.cos(x[..., None, :] - centres).sum(axis=-1) > 2 * np.cos(np.radians(30))
    share = np.array([density[near[..., n]].sum() for n in range(3)]) / density.sum()
    np.testing.assert_allclose(share, [0.5, 0.4, 0.1], atol=0.05)


def test_rounds_of_the_fit_are_expectation_and_maximisation():
    angles = np.random.default_rng(1).uniform(-np.pi, np.pi, (200, 2))
    centre = angles[np.random.default_rng(0).choice(200, STATES, replace=False)]
    k, weight = np.full((STATES, 2), 20.0), np.full(STATES, 1 / STATES)
    for _ in range(2):
        each, total = oracle_density(angles, weight, centre, k)
        share = weight * each.prod(axis=-1) / total[:, None]  # (N, K)
        # The mean of unit vectors: its direction, and from its length Banerjee et al. 2005, eq. 4.4, on the circle.
        mean = share.T @ np.exp(1j * angles) / share.sum(axis=0)[:, None]
        centre, r = np.angle(mean), np.clip(np.abs(mean), 0.05, 0.999)
        k = np.minimum((2 * r - r**3) / (1 - r**2), 200.0)
        weight = np.maximum(share.mean(axis=0), 1e-4)
        weight /= weight.sum()
    for got, want in zip(fit_states(angles, rounds=2), (centre, k, weight), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6)


def test_the_head_starts_from_the_fit():
    mx.random.seed(0)
    head = RamachandranHead(8)
    rng = np.random.default_rng(0)
    centre, concentration, weight = fit_states(rng.normal(size=(500, 2)))
    head.start_from(centre, concentration, weight)
    head.linear.weight = mx.zeros_like(head.linear.weight)
    mixed = head(mx.zeros((1, 4, 8)))
    assert mixed.log_weights.shape == (1, 4, STATES)
    np.testing.assert_allclose(np.exp(np.array(mixed.log_weights[0, 0])), weight, rtol=1e-3)
    np.testing.assert_allclose(np.array(mixed.concentration), concentration, rtol=1e-4)
