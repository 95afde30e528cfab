"""Rings: closed exactly near their traces, by the measures that a chemist would take."""

import math

import mlx.core as mx
import numpy as np
import oracles
import pytest
from generate_fakes import LETTERS, clashes_between, problem_of, ring_traces

from betafold_mlx.errors import BetafoldError
from betafold_mlx.fold.fit_terms import clash_gradient
from betafold_mlx.fold.gradient import RING_PAIRS
from betafold_mlx.generate.fit import MIN_RING, fit_traces
from betafold_mlx.generate.generator_config import MAX_LENGTH, MIN_LENGTH
from betafold_mlx.generate.rings import ROUND, Rings, continued, once_around
from betafold_mlx.generate.validity import trace_validity

LENGTHS = (8, 14, 14, 19, 30)


@pytest.fixture(scope="module")
def traces():
    return ring_traces(LENGTHS, 1)


@pytest.fixture(scope="module", params=["ALA", "GLY"])
def fitted(request, traces):
    rng = np.random.default_rng(1)
    noisy = [trace + 0.1 * rng.normal(size=trace.shape) for trace in traces]
    return request.param, noisy, fit_traces(noisy, request.param, rings=True)


def test_the_bond_is_that_of_a_peptide(fitted):
    residue, _, fits = fitted
    ideal = oracles.build_backbone(np.full((3, 3), math.pi), 3 * LETTERS[residue])
    for fit in fits:
        n, ca, c, o = fit.coordinates[:, :4].astype(float).transpose(1, 0, 2)
        assert np.linalg.norm(c[-1] - n[0]) == pytest.approx(1.33, abs=0.02)
        for across, inside in (
            ((ca[-1], c[-1], n[0]), (ideal[0, 1], ideal[0, 2], ideal[1, 0])),
            ((c[-1], n[0], ca[0]), (ideal[0, 2], ideal[1, 0], ideal[1, 1])),
            ((o[-1], c[-1], n[0]), (ideal[0, 3], ideal[0, 2], ideal[1, 0])),
        ):
            assert math.degrees(oracles.angle(*across)) == pytest.approx(
                math.degrees(oracles.angle(*inside)), abs=2.0
            )
        omega = math.degrees(oracles.dihedral(ca[-1], c[-1], n[0], ca[0]))
        assert abs(abs(omega) - 180.0) < 5.0
        # The torsions that are told are those of the atoms, across the bond too.
        across = (
            (0, 0, (c[-1], n[0], ca[0], c[0])),
            (-1, 1, (n[-1], ca[-1], c[-1], n[0])),
            (-1, 2, (ca[-1], c[-1], n[0], ca[0])),
        )
        for row, column, atoms in across:
            away = fit.torsions[row, column] - oracles.dihedral(*atoms)
            assert abs(math.remainder(away, 2 * math.pi)) < 0.02


def test_the_rest_is_ideal_and_near_the_trace(fitted):
    residue, noisy, fits = fitted
    assert [fit.problems for fit in fits] == [()] * len(LENGTHS)
    for trace, fit in zip(noisy, fits, strict=True):
        assert fit.rmsd < 0.4 and fit.misfit < 0.1
        assert fit.rmsd == pytest.approx(oracles.rms_distance(fit.coordinates[:, 1], trace), abs=1e-3)
        sequence = LETTERS[residue] * len(trace)
        rebuilt = oracles.build_backbone(fit.torsions.astype(float), sequence)[:, :4].reshape(-1, 3)
        assert oracles.kabsch(rebuilt, fit.coordinates[:, :4].reshape(-1, 3))[2] < 2e-3


@pytest.fixture(scope="module")
def together(traces):
    return fit_traces(traces, rings=True)


def test_a_ring_does_not_depend_on_its_company(traces, together):
    for trace, fit in list(zip(traces, together, strict=True))[:4:2]:
        (alone,) = fit_traces([trace], rings=True)
        assert np.array_equal(alone.coordinates, fit.coordinates)
        assert np.array_equal(alone.torsions, fit.torsions)


def test_it_does_not_matter_where_a_ring_begins(traces, together):
    begun_elsewhere = fit_traces([np.roll(trace, 3, axis=0) for trace in traces[:3]], rings=True)
    for turned, fit in zip(begun_elsewhere, together[:3], strict=True):
        assert not turned.problems and abs(turned.rmsd - fit.rmsd) < 0.15
        moved = np.roll(turned.coordinates[:, 1], -3, axis=0)
        assert np.sqrt(np.square(moved - fit.coordinates[:, 1]).sum(axis=1).mean()) < 0.4


def test_what_does_not_close_is_a_problem():
    straight = np.arange(12)[:, None] * np.array([3.3, 0.0, 0.0])
    (fit,) = fit_traces([straight], rings=True)
    assert fit.problems and not np.isnan(fit.coordinates[:, :4]).any()
    far = fit._replace(rmsd=0.1, overlap=0.0, misfit=1.1)
    assert far.problems == ("the ring cannot be closed near the trace",)
    with pytest.raises(BetafoldError, match=f"needs {MIN_RING} C-alphas"):
        fit_traces([straight[: MIN_RING - 1]], rings=True)


@pytest.mark.parametrize("length", [MIN_LENGTH, 13, MAX_LENGTH])
def test_what_goes_on_around_comes_back(length):
    points = np.arange(3.0 * length).reshape(length, 3)
    longer = continued(points)
    assert len(longer) == length + ROUND and np.array_equal(longer[length:], points[:ROUND])
    assert np.array_equal(once_around(longer), points)
    marked = longer.copy()
    marked[0] = -1.0  # an open end: not known there
    assert np.array_equal(once_around(marked), points)


@pytest.mark.parametrize("clash_weight", [0.0, 30.0])
def test_the_gradient_of_a_ring_is_that_of_its_energy(clash_weight):
    rng = np.random.default_rng(3)
    problem, length = problem_of(rng, [9, 6], rings=True)
    torsions = np.tile(np.radians([-70.0, -40.0, 175.0]), (2, length, 1))
    torsions += 0.3 * rng.normal(size=torsions.shape)
    _, gradient, _ = problem.energy(torsions, clash_weight)
    for _ in range(4):
        direction = rng.normal(size=torsions.shape)
        above, below = (problem.energy(torsions + h * direction, clash_weight)[0] for h in (3e-4, -3e-4))
        expected = (gradient * direction.reshape(2, -1)).sum(axis=1)
        np.testing.assert_allclose(
            expected, (above - below) / 6e-4, rtol=5e-3, atol=5e-3 * np.abs(gradient).max()
        )


def test_what_stretches_is_what_is_measured():
    rng = np.random.default_rng(4)
    lengths = np.array([8, 6])
    rings, backbone = Rings(lengths, 8, "ALA"), 4.0 * rng.normal(size=(2, 8, 5, 3))
    stretch, pulls = rings.stretch(backbone)
    ideal = oracles.build_backbone(np.full((2, 3), math.pi), "AA")
    for row, length in enumerate(lengths):
        for number, (a, b) in enumerate(RING_PAIRS):
            wanted = np.linalg.norm(ideal[0, a] - ideal[1, b])
            found = np.linalg.norm(backbone[row, length - 1, a] - backbone[row, 0, b])
            assert stretch[number, row] == pytest.approx(found - wanted, abs=2e-3)
    step = 1e-6 * rng.normal(size=backbone.shape)
    moved = rings.stretch(backbone + step)[0] - stretch
    np.testing.assert_allclose((pulls * step).sum(axis=(2, 3, 4)), moved, rtol=1e-3, atol=1e-9)


def test_neighbours_around_a_ring_do_not_clash():
    rng = np.random.default_rng(5)
    lengths, length = (8, 7), 8
    atoms = rng.normal(size=(2, length, 5, 3)) * 2.5
    mask = np.arange(length) < np.array(lengths)[:, None]
    energy, _, overlap = clash_gradient(
        mx.array(atoms.transpose(3, 2, 1, 0).astype(np.float32)), mx.array(mask.T), True, mx.array(lengths)
    )
    for row, size in enumerate(lengths):
        total, deepest = clashes_between(atoms[row, :size], True, around=size)
        assert total > 1 and float(energy[row]) == pytest.approx(total, rel=1e-4)
        assert float(overlap[row]) == pytest.approx(deepest, abs=1e-4)


def test_the_trace_of_a_ring_is_judged_around_it():
    turns = np.arange(10)[:, None] * 2 * math.pi / 10
    circle = 3.8 / (2 * math.sin(math.pi / 10)) * np.concatenate([np.cos(turns), np.sin(turns)], axis=1)
    circle = np.concatenate([circle, np.zeros((10, 1))], axis=1)
    found = trace_validity(circle, True)
    assert found["valid"] and found["worst_bond"] == 3.8 and found["nearest_approach"] > 7
    assert trace_validity(circle)["nearest_approach"] == 3.8  # of an open chain the ends are no neighbours
    assert trace_validity(circle[:-1], True)["bonds_ok"] == pytest.approx(8 / 9, abs=1e-4)
