"""Backbones from C-alpha traces: ideal, near the trace, of L residues, and each independent of its company."""

import math

import mlx.core as mx
import numpy as np
import oracles
import pytest
from chains import real
from generate_fakes import LETTERS, chain_of, clashes_between, problem_of, random_torsions
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import HELIX, STRAND

from betafold_mlx.errors import BetafoldError
from betafold_mlx.fold.fit_terms import chain_matrix, clash_gradient
from betafold_mlx.generate import fit as fit_module
from betafold_mlx.generate.fit import BOND_NOISE, fit_traces, looseness
from betafold_mlx.generate.fit_problem import KNOWN_WIDTH, MAX_OVERLAP, MAX_RMSD, FitProblem
from betafold_mlx.generate.trace_states import start_torsions, torsion_states
from betafold_mlx.structure.secondary import trace_angles, trace_dihedrals


def traces_of(rng, lengths):
    return [chain_of(random_torsions(rng, length))[:, 1] for length in lengths]


@pytest.mark.parametrize("residue", ["ALA", "GLY"])
def test_bonds_and_angles_are_ideal_and_the_rmsd_is_what_is_said(residue):
    rng = np.random.default_rng(1)
    traces = [trace + 0.4 * rng.normal(size=trace.shape) for trace in traces_of(rng, (8, 13, 13, 24, 32))]
    letter = LETTERS[residue]
    for trace, fit in zip(traces, fit_traces(traces, residue), strict=True):
        expected = oracles.build_backbone(fit.torsions, letter * len(trace))
        atoms = fit.coordinates.astype(np.float64)
        assert np.isnan(atoms[:, 4]).all() == (residue == "GLY")
        kept = 4 if residue == "GLY" else 5
        _, _, off = oracles.kabsch(atoms[:, :kept].reshape(-1, 3), expected[:, :kept].reshape(-1, 3))
        assert off < 2e-3
        for i, (n, ca, c, o) in enumerate(atoms[:, :4]):
            lengths = {"N-CA": (n, ca), "CA-C": (ca, c), "C-O": (c, o)}
            angles = {"N-CA-C": (n, ca, c), "CA-C-O": (ca, c, o)}
            if i + 1 < len(atoms):
                lengths["C-N"] = (c, atoms[i + 1, 0])
                angles |= {"CA-C-N": (ca, c, atoms[i + 1, 0]), "C-N-CA": (c, *atoms[i + 1, :2])}
            for name, (a, b) in lengths.items():
                assert abs(np.linalg.norm(a - b) - oracles.ideal(name, letter)) < 1e-3, name
            for name, points in angles.items():
                assert abs(oracles.angle(*points) - oracles.ideal(name, letter)) < 2e-3, name
        assert fit.rmsd == pytest.approx(oracles.kabsch(atoms[:, 1], trace)[2], abs=1e-3)
        # it lies on the trace
        assert fit.rmsd == pytest.approx(oracles.rms_distance(atoms[:, 1], trace), abs=1e-3)


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_the_traces_of_ideal_chains_come_out(seed):
    """Of chains that do not run through themselves: those cannot, and need not, be followed."""
    rng = np.random.default_rng(seed)
    chains = [chain_of(random_torsions(rng, length)) for length in rng.integers(4, 33, size=24)]
    chains = [chain for chain in chains if overlap_of(chain) < 0.2]
    for fit in fit_traces([chain[:, 1] for chain in chains]):
        assert fit.rmsd < 0.15 and not fit.problems


def overlap_of(chain):
    atoms = mx.array(np.ascontiguousarray(chain.transpose(2, 1, 0)[..., None]))
    return float(clash_gradient(atoms, mx.ones((len(chain), 1), dtype=mx.bool_), True)[2][0])


def test_real_peptides_are_fitted_within_a_third_of_an_angstrom(shared_data):
    traces = [backbone[:32, 1] for _, backbone in real(shared_data, every=8) if len(backbone) >= 8][:150]
    fits = fit_traces(traces)
    rmsd = np.array([fit.rmsd for fit in fits])
    assert np.median(rmsd) < 0.1 and np.quantile(rmsd, 0.9) < 0.3
    assert np.mean([not fit.problems for fit in fits]) > 0.95


def test_torsions_of_a_trace_are_found_to_a_cell():
    rng = np.random.default_rng(0)
    for shape in (HELIX, STRAND):
        torsions = np.tile(shape, (16, 1)) + np.radians(4) * rng.normal(size=(16, 3))
        nothing = np.full((16, 2), np.nan)
        start = start_torsions(chain_of(torsions)[:, 1], "ALA", nothing, 1.0)[1:-1]
        away = np.degrees(np.abs(np.angle(np.exp(1j * (start - torsions[1:-1, :2])))))
        assert np.median(away) < 15


def test_angles_of_a_trace_against_the_oracle():
    trace = np.random.default_rng(2).normal(size=(7, 3)) * 4
    for i, angle in enumerate(trace_angles(trace)):
        assert angle == pytest.approx(oracles.angle(*trace[i : i + 3]), abs=1e-9)
    for i, dihedral in enumerate(trace_dihedrals(trace)):
        assert dihedral == pytest.approx(oracles.dihedral(*trace[i : i + 4]), abs=1e-9)


def test_a_mirrored_trace_stays_left_handed_and_its_residues_stay_l():
    trace = chain_of(np.tile(HELIX, (20, 1)))[:, 1]
    mirrored = trace * [1.0, 1.0, -1.0]
    right, left = fit_traces([trace, mirrored])
    assert right.rmsd < 0.05 and left.rmsd < 0.3
    hand = [np.degrees(oracles.dihedral(*fit.coordinates[6:10, 1].astype(float))) for fit in (right, left)]
    assert 40 < hand[0] < 60 and -60 < hand[1] < -40
    assert oracles.kabsch(left.coordinates[:, 1], trace)[2] > 2.0
    for fit in (right, left):
        for n, ca, c, _, cb in fit.coordinates.astype(np.float64):
            assert (
                np.dot(np.cross(n - ca, c - ca), cb - ca)
                > 0.5 * np.dot(np.cross(n - ca, c - ca), oracles.place_cb(n, ca, c, "A") - ca)
                > 0
            )


@pytest.mark.parametrize("atoms", [(1,), (0, 1, 2)])
@pytest.mark.parametrize("residue", ["ALA", "GLY"])
@pytest.mark.parametrize("clash_weight", [0.0, 30.0])
def test_the_gradient_is_that_of_the_energy(atoms, residue, clash_weight):
    rng = np.random.default_rng(3)
    problem, length = problem_of(rng, [9, 6], atoms, known=True, residue=residue)
    # Compact, so that atoms clash.
    torsions = np.tile(np.radians([-50.0, -30.0, 175.0]), (2, length, 1)) + 0.3 * rng.normal(
        size=(2, length, 3)
    )
    value, gradient, _ = problem.energy(torsions, clash_weight)
    if clash_weight:
        assert (value > problem.energy(torsions, 0.0)[0] + 1.0).any()
    for _ in range(6):
        direction = rng.normal(size=torsions.shape)
        above, below = (problem.energy(torsions + h * direction, clash_weight)[0] for h in (1e-3, -1e-3))
        expected = (gradient * direction.reshape(2, -1)).sum(axis=1)
        np.testing.assert_allclose(
            expected, (above - below) / 2e-3, rtol=5e-3, atol=5e-3 * np.abs(gradient).max()
        )


@pytest.mark.parametrize("atoms", [(1,), (0, 1, 2)])
def test_the_matrix_is_that_of_the_derivatives_without_rigid_motions(atoms):
    rng = np.random.default_rng(4)
    torsions, real_residues = random_torsions(rng, 7), 5
    sequence = "A" * len(torsions)

    def positions(flat):
        built = oracles.build_backbone(flat.reshape(-1, 3), sequence)
        return built[:real_residues, list(atoms)].reshape(-1)

    x = torsions.reshape(-1)
    columns = [(positions(x + step) - positions(x - step)) / 2e-6 for step in 1e-6 * np.eye(len(x))]
    jacobian = np.stack(columns, axis=1)
    points = positions(x).reshape(-1, 3)
    points = points - points.mean(axis=0)
    turns = [np.cross(axis, points).reshape(-1) for axis in np.eye(3)]
    moves = [np.tile(axis, len(points)) for axis in np.eye(3)]
    rigid = np.stack([*turns, *moves], axis=1)
    free = jacobian - rigid @ np.linalg.lstsq(rigid, jacobian, rcond=None)[0]
    weight = np.zeros((1, len(torsions), len(atoms)))
    weight[:, :real_residues] = 1.0
    found = chain_matrix(oracles.build_backbone(torsions, sequence)[None], atoms, weight)[0]
    np.testing.assert_allclose(found, free.T @ free, atol=1e-5)


@pytest.mark.parametrize("with_cb", [True, False])
def test_clashes_against_a_sum_over_pairs(with_cb):
    rng = np.random.default_rng(5)
    lengths, length = (8, 6), 8
    atoms = rng.normal(size=(2, length, 5, 3)) * 2.5
    mask = np.arange(length) < np.array(lengths)[:, None]
    energy, _, overlap = clash_gradient(
        mx.array(atoms.transpose(3, 2, 1, 0).astype(np.float32)), mx.array(mask.T), with_cb
    )
    for row, size in enumerate(lengths):
        total, deepest = clashes_between(atoms[row, :size], with_cb, around=None)
        assert total > 1 and float(energy[row]) == pytest.approx(total, rel=1e-4)
        assert float(overlap[row]) == pytest.approx(deepest, abs=1e-4)


def test_a_fit_does_not_depend_on_its_company(monkeypatch):
    rng = np.random.default_rng(6)
    traces = [
        trace + 0.2 * rng.normal(size=trace.shape) for trace in traces_of(rng, (10, 24, 11, 24, 32, 16))
    ]
    together = fit_traces(traces)
    monkeypatch.setattr("betafold_mlx.evaluate.batching._PAIRS", 1)
    for alone, fit in zip(fit_traces(traces), together, strict=True):
        assert np.array_equal(alone.coordinates, fit.coordinates) and alone.rmsd == fit.rmsd
        assert np.array_equal(alone.torsions, fit.torsions)
    assert fit_traces([]) == []


def test_what_no_backbone_can_follow_is_a_problem():
    helix = chain_of(np.tile(HELIX, (14, 1)))[:, 1]
    torn, good = fit_traces([helix + [[0, 0, 9.0 * (i > 6)] for i in range(14)], helix])
    assert not good.problems and good.rmsd < 0.05 and good.overlap < MAX_OVERLAP
    assert "from any ideal backbone" in torn.problems[0]
    turns = np.arange(16)[:, None] * np.radians(90)
    # four points, again and again
    square = 2.7 * np.concatenate([np.cos(turns), np.sin(turns), 0 * turns], axis=1)
    (knot,) = fit_traces([square])
    assert knot.problems
    bad = good._replace(rmsd=MAX_RMSD + 0.1, overlap=MAX_OVERLAP + 0.1, misfit=1.1)
    assert [problem.split()[0] for problem in bad.problems] == ["the", "the", "atoms"]  # all reasons are said
    assert good.whole and bad._replace(misfit=0.9).whole and not bad.whole


def test_known_torsions_are_kept():
    trace = chain_of(np.tile(HELIX, (16, 1)))[:, 1]
    stated = np.full((16, 3), np.nan)
    stated[4:9] = HELIX + np.radians([6.0, -6.0, 4.0])
    plain, held = fit_traces([trace, trace], known=[np.full((16, 3), np.nan), stated])

    def away(fit):
        return np.abs(np.angle(np.exp(1j * (fit.torsions[4:9] - stated[4:9])))).max()

    assert away(held) < 2.5 * KNOWN_WIDTH < away(plain)


def test_a_noisy_trace_is_followed_loosely():
    rng = np.random.default_rng(9)
    clean = traces_of(rng, [24] * 6)
    noisy = [trace + 0.2 * rng.normal(size=trace.shape) for trace in clean]
    assert all(looseness(trace) < 1.2 for trace in clean)  # ideal geometry, omega a little off
    loose = [looseness(trace) for trace in noisy]
    assert np.mean(loose) == pytest.approx(1 + 0.2 / BOND_NOISE, rel=0.2)
    moved = [trace @ np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1.0]]) + 5.0 for trace in noisy]
    np.testing.assert_allclose([looseness(trace) for trace in moved], loose)
    fits = fit_traces(noisy)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit_module, "BOND_NOISE", 1e9)
        followed = fit_traces(noisy)
    assert sum(not fit.problems for fit in fits) >= 3
    assert np.mean([fit.rmsd for fit in followed]) < np.mean([fit.rmsd for fit in fits])

    def bent(some):  # torsions that common states do not explain
        centres = torsion_states("ALA").centres
        turn = np.concatenate([fit.torsions[1:-1, None, :2] - centres for fit in some])
        return np.square(np.angle(np.exp(1j * turn))).sum(axis=-1).min(axis=1).mean()

    assert bent(fits) < bent(followed)


def test_what_cannot_be_followed_loosely_is_followed_exactly(monkeypatch):
    rng = np.random.default_rng(9)
    noisy = [trace + 0.35 * rng.normal(size=trace.shape) for trace in traces_of(rng, [24] * 8)]
    fits = fit_traces(noisy)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit_module, "BOND_NOISE", 1e9)
        followed = [not fit.problems for fit in fit_traces(noisy)]
    assert any(followed) and all(not fit.problems for fit, good in zip(fits, followed, strict=True) if good)
    monkeypatch.setattr(fit_module.Fit, "problems", ())  # nothing is done again
    assert any(fit.rmsd > MAX_RMSD for fit in fit_traces(noisy))


def test_real_backbones_get_the_nearest_ideal_one():
    rng = np.random.default_rng(8)
    chain = chain_of(np.tile(HELIX, (10, 1)))[:, :3] + 0.08 * rng.normal(size=(10, 3, 3))
    native = np.nan_to_num(oracles.backbone_torsions(chain), nan=math.pi)
    rebuilt = oracles.build_backbone(native, "A" * 10)[:, :3].reshape(-1, 3)
    start, unknown = native[None].astype(np.float64), np.full((1, 10, 3), np.nan)
    (fit,) = FitProblem(chain[None], (0, 1, 2), start, unknown, "ALA", np.array([10])).solve()
    assert fit.rmsd < 0.6 * oracles.kabsch(rebuilt, chain.reshape(-1, 3))[2]
    off = oracles.kabsch(fit.coordinates[:, :3].reshape(-1, 3), chain.reshape(-1, 3))[2]
    assert fit.rmsd == pytest.approx(off, abs=1e-3)


@pytest.mark.parametrize(
    ("trace", "residue", "said"),
    [
        (np.zeros((2, 3)), "ALA", "3 C-alphas"),
        (np.zeros((5, 2)), "ALA", "3 C-alphas"),
        (np.zeros((5, 3)), "TRP", "not one of ALA, GLY"),
    ],
)
def test_what_cannot_be_fitted_is_said(trace, residue, said):
    with pytest.raises(BetafoldError, match=said):
        fit_traces([trace], residue)


@pytest.mark.parametrize("rings", [False, True])
def test_a_trace_that_is_not_finite_has_no_backbone_and_costs_no_other(rings):
    helix = chain_of(np.tile(HELIX, (12, 1)))[:, 1]
    torn = helix.copy()
    torn[3, 1] = np.inf
    first, none, last = fit_traces([helix, torn, helix], rings=rings)
    (alone,) = fit_traces([helix], rings=rings)
    assert np.array_equal(first.coordinates, alone.coordinates)
    assert np.array_equal(last.coordinates, alone.coordinates)
    assert none.problems == ("the trace holds coordinates that are not numbers",) and not none.whole
    assert none.coordinates.shape == (12, 5, 3) and np.isnan(none.coordinates).all() and np.isnan(none.rmsd)
    (nothing,) = fit_traces([torn], rings=rings)
    assert np.isnan(nothing.torsions).all()
