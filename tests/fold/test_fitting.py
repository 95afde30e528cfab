"""The fit of torsions to C-alphas: its gradient against an energy in float64, and what it reaches."""

import functools
import math

import mlx.core as mx
import numpy as np
import oracles
import pytest
from fit_helpers import ca_of, padded, plain_energy, shape_of
from synthetic import toy_model

from betafold_mlx.fold.closing import close_bonds
from betafold_mlx.fold.ensemble import fit
from betafold_mlx.fold.fit_terms import MAX_STEP, lower_energy
from betafold_mlx.fold.fitting import DISULFIDE_CB, STAGES, FitTargets, Stage, _Problem, fit_torsions
from betafold_mlx.fold.gradient import BRIDGE_CA, RING_PAIRS
from betafold_mlx.fold.made_bonds import bond_misfit
from betafold_mlx.fold.minimise import draw_starts
from betafold_mlx.fold.restraints import restraints_from
from betafold_mlx.fold.threads import KNOWN_FREEDOM, TARGET_WIDTH
from betafold_mlx.geometry.checks import count_clashes
from betafold_mlx.model.inputs import collate
from betafold_mlx.peptide.sequence import Peptide

RING = Peptide.of("GRCTKSIPPICFPD", cyclic=True, disulfides=((3, 11),))
PEPTIDES = [RING, Peptide.of("AIGKFLHSAKKF"), Peptide.of("CCGPACKC", disulfides=((1, 6), (2, 8)))]
WIDE = math.radians(40)
ALL_TERMS = Stage(1, clash=30.0, ring=0.05, disulfide=0.2)


def bonds_of(peptides, length=16):
    mx.random.seed(0)
    inputs = collate(peptides, length)
    return restraints_from(toy_model()(inputs), inputs).bonds


def is_roomy(torsions, peptide):
    """Whether a chain has room: what is to be reached must not itself clash."""
    atoms = oracles.build_backbone(torsions, peptide.sequence)
    glycine = np.array([letter == "G" for letter in peptide.sequence])
    clashes, _ = count_clashes(atoms[None], glycine, peptide.cyclic, peptide.disulfides)
    return clashes[0] == 0


@pytest.mark.parametrize("stage", [Stage(1, 0.0, 0.3, 0.6), ALL_TERMS], ids=["no clashes", "all terms"])
def test_the_energy_and_its_gradient_are_those_of_a_plain_one(stage):
    rng = np.random.default_rng(0)
    bonds = bonds_of(PEPTIDES)
    starts = [shape_of(len(peptide), rng) for peptide in PEPTIDES]
    torsions = [start + rng.normal(size=start.shape) * 0.4 for start in starts]
    torsions[1] = torsions[1] + 2 * math.pi  # a whole turn is none
    targets = [rng.normal(size=(len(peptide), 3)) * 6 + 9 for peptide in PEPTIDES]
    weights = [(rng.random(len(peptide)) < 0.7).astype(float) for peptide in PEPTIDES]
    freedom = rng.uniform(0.1, 0.8, (3, 16, 3))
    problem = _Problem(padded(starts), freedom, FitTargets(padded(targets), padded(weights), 0.7), bonds)
    value, gradient, matrix = problem._energy(padded(torsions), stage)
    assert np.linalg.eigvalsh(matrix).min() > 0  # a step of Gauss and Newton goes down
    gradient = gradient.reshape(3, 16, 3)
    for row, peptide in enumerate(PEPTIDES):
        n = len(peptide)

        def plain(angles, row=row, n=n, peptide=peptide):
            return plain_energy(
                angles, starts[row], freedom[row, :n], targets[row], weights[row], 0.7,
                peptide, np.array(bonds.ring)[row], stage,
            )  # fmt: skip

        assert value[row] == pytest.approx(plain(torsions[row]), rel=1e-4)
        want = oracles.central_differences(plain, torsions[row], 1e-5)
        scale = np.abs(want).max()
        np.testing.assert_allclose(gradient[row, :n] / scale, want / scale, atol=2e-4)
        assert np.abs(gradient[row, n:]).max() == 0


def fitted(peptide, start, target, weight, freedom=WIDE, width=0.2, stages=STAGES):
    free = np.full((1, 16, 3), freedom)
    free[..., 2] = math.radians(6)
    targets = FitTargets(padded([target]), padded([weight]), width)
    ends = fit_torsions(padded([start]), free, targets, bonds_of([peptide]), stages)
    return ends[0, : len(peptide)]


def off(peptide, torsions, target, kept=slice(None)):
    return oracles.kabsch(ca_of(torsions, peptide)[kept], target[kept])[2]


def test_targets_are_reached_from_a_disturbed_start_in_their_own_hand():
    peptide = Peptide.of("AIGKFLHSAKKFAKVY")
    rng = np.random.default_rng(1)
    mirrored = []
    shapes = [shape_of(len(peptide), rng) for _ in range(20)]
    for true in [shape for shape in shapes if is_roomy(shape, peptide)][:6]:
        start = true + np.radians(20) * rng.normal(size=true.shape) * [1, 1, 0.2]
        target = ca_of(true, peptide) @ oracles.random_rotation(rng).T + 30
        whole = np.ones(len(peptide))
        before = off(peptide, start, target)
        assert before > 0.6
        assert off(peptide, fitted(peptide, start, target, whole), target) < 0.1
        # A part without targets: the rest is reached all the same, and the part keeps its torsions.
        part = whole.copy()
        part[5:8] = part[-2:] = 0
        far = np.where(part[:, None] > 0, target, 99.0)
        ends = fitted(peptide, start, far, part)
        assert off(peptide, ends, target, part > 0) < 0.1
        np.testing.assert_allclose(ends[-1], start[-1], atol=1e-2)  # turns nothing that has a target
        image = target * [1, 1, -1]
        wrong = fitted(peptide, start, image, whole, KNOWN_FREEDOM, TARGET_WIDTH)  # as threads have it
        mirrored.append(off(peptide, wrong, image))
    assert len(mirrored) == 6 and min(mirrored) > 0.5


def farthest_off(torsions, ring):
    """Angstrom: the largest error of a distance that the stated bonds of `RING` ask for."""
    atoms = oracles.build_backbone(torsions, RING.sequence)
    errors = [
        np.linalg.norm(atoms[-1, a] - atoms[0, b]) - d for (a, b), d in zip(RING_PAIRS, ring, strict=True)
    ]
    for atom, (low, high) in ((4, DISULFIDE_CB), (1, BRIDGE_CA)):
        distance = np.linalg.norm(atoms[2, atom] - atoms[10, atom])
        errors.append(max(distance - high, low - distance, 0.0))
    return np.abs(errors).max()


def test_a_ring_and_a_disulfide_close():
    """From an open shape, and a target that is closed: nearly closed by the fit, and with a nudge by the closing."""
    mx.random.seed(0)
    inputs, rng = collate([RING], 16), np.random.default_rng(2)
    restraints = restraints_from(toy_model()(inputs), inputs)
    bonds, ring = restraints.bonds, np.array(restraints.bonds.ring)[0]

    def closing(torsions):
        made = close_bonds(mx.array(padded([torsions]).astype(np.float32)), bonds)
        return np.array(made)[0, :14].astype(float), bond_misfit(made, bonds)[0]

    rows = np.zeros(16, dtype=int)
    draws, misfit = fit(draw_starts(restraints, rows, np.arange(16), 0), restraints, rows)
    shapes = draws[misfit <= 1, :14].astype(float)
    assert len(shapes) >= 4
    for true in shapes[:4]:
        target = ca_of(true, RING)
        start = true + np.radians(10) * rng.normal(size=true.shape) * [1, 1, 0.2]
        assert farthest_off(start, ring) > 0.3
        # The network knows nothing, and its shapes clash: without that term they can be reached.
        ends = fitted(
            RING, start, target, np.ones(14), stages=[stage._replace(clash=0.0) for stage in STAGES]
        )
        assert farthest_off(ends, ring) < 0.5
        made, misfit = closing(ends)
        assert misfit <= 1 and np.abs(made - ends).max() < 0.3
        assert off(RING, made, target) < 0.5


def test_neither_padding_nor_company_changes_a_result():
    rng = np.random.default_rng(3)
    targets, starts, weights = [], [], []
    for peptide in PEPTIDES:
        true = shape_of(len(peptide), rng)
        targets.append(ca_of(true, peptide))
        starts.append(true + 0.2 * rng.normal(size=true.shape) * [1, 1, 0.2])
        weights.append(np.ones(len(peptide)))
    freedom = np.full((3, 16, 3), 0.4)
    together = fit_torsions(
        padded(starts), freedom, FitTargets(padded(targets), padded(weights), 0.5), bonds_of(PEPTIDES)
    )
    for row, peptide in enumerate(PEPTIDES):
        for length in (16, 24):
            alone = fit_torsions(
                padded(starts[row : row + 1], length),
                np.full((1, length, 3), 0.4),
                FitTargets(
                    padded(targets[row : row + 1], length), padded(weights[row : row + 1], length), 0.5
                ),
                bonds_of([peptide], length),
            )
            n = len(peptide)
            np.testing.assert_allclose(alone[0, :n], together[row, :n], atol=1e-3)


def far_problem():
    """Return a fit to targets that are far from any shape, and its start."""
    rng = np.random.default_rng(4)
    bonds = bonds_of(PEPTIDES)
    start = padded([shape_of(len(peptide), rng) for peptide in PEPTIDES])
    targets = FitTargets(rng.normal(size=(3, 16, 3)) * 20, np.array(bonds.mask).astype(float), 0.5)
    return _Problem(start, np.full(start.shape, 0.5), targets, bonds), start


def test_no_step_turns_a_torsion_by_more_than_the_largest():
    problem, start = far_problem()
    torsions = start.copy()
    lower_energy(functools.partial(problem._energy, stage=STAGES[0]), torsions, 1)
    np.testing.assert_allclose(np.abs(torsions - start).max(axis=(1, 2)), MAX_STEP)


def test_no_step_goes_up():
    """The energy after a stage is never above that before it, however far the targets are."""
    problem, start = far_problem()
    torsions = start.copy()
    for stage in STAGES:
        before = problem._energy(torsions, stage)[0]
        lower_energy(functools.partial(problem._energy, stage=stage), torsions, stage.steps)
        after = problem._energy(torsions, stage)[0]
        assert (after < before).all() and np.isfinite(torsions).all()
