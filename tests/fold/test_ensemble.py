"""Minimised structures: bonds made, geometry ideal, and each sample its own."""

import mlx.core as mx
import numpy as np
import oracles
import pytest
from refine_energy import energy

from betafold_mlx.fold import closing
from betafold_mlx.fold import ensemble as module
from betafold_mlx.fold.closing import close_bonds
from betafold_mlx.fold.ensemble import fit, refine
from betafold_mlx.fold.gradient import EnergyWeights
from betafold_mlx.fold.made_bonds import bond_misfit
from betafold_mlx.fold.minimise import BONDED_STEPS, GENTLE, USUAL, draw_starts, minimise
from betafold_mlx.fold.restraints import restraints_from, take
from betafold_mlx.geometry.checks import measure_bonds
from betafold_mlx.model.config import ModelConfig
from betafold_mlx.model.folding import FoldingModel
from betafold_mlx.model.inputs import collate
from betafold_mlx.peptide.sequence import Peptide

RINGS = [
    Peptide.of("GRCTKSIPPICFPD", cyclic=True, disulfides=((3, 11),)),
    Peptide.of("PGAVLIKFGT", cyclic=True),
    Peptide.of("GVPGAVGP", cyclic=True),
]
OPEN = [
    Peptide.of("GIGKFLHSAKKFGK"),
    Peptide.of("GCCSDPRCAWRC", disulfides=((2, 8), (3, 12))),
    Peptide.of("ACDEFGHIKC", disulfides=((2, 10),)),
]


@pytest.fixture(scope="module")
def model():
    mx.random.seed(0)
    return FoldingModel(ModelConfig(width=32, layers=1, heads=4, ffn_width=64))


def ensemble(model, peptides, numbers=range(2), seed=0):
    inputs = collate(peptides, 16)
    return refine(model(inputs), inputs, seed, numbers)


def first_starts(restraints, count):
    return draw_starts(restraints, np.arange(count), np.zeros(count, int), 0)


def angle(a, b, c):
    u, v = a - b, c - b
    return np.degrees(np.arccos(u @ v / np.linalg.norm(u) / np.linalg.norm(v)))


@pytest.fixture(scope="module")
def rings(model):
    return ensemble(model, RINGS)


@pytest.fixture(scope="module")
def chains(model):
    return ensemble(model, OPEN)


def test_rings_are_closed_by_a_planar_bond_of_ideal_shape(rings):
    for row, peptide in enumerate(RINGS):
        for x in np.array(rings.coordinates[row, :, : len(peptide)], dtype=np.float64):
            n, ca = x[0, 0], x[0, 1]
            before, c, o = x[-1, 1], x[-1, 2], x[-1, 3]
            assert np.linalg.norm(c - n) == pytest.approx(1.33, abs=0.02)
            assert angle(before, c, n) == pytest.approx(117, abs=5)
            assert angle(c, n, ca) == pytest.approx(121, abs=5)
            assert angle(o, c, n) == pytest.approx(122.7, abs=5)
            omega = oracles.dihedral(before, c, n, ca)
            assert abs(np.degrees(np.angle(np.exp(1j * (omega - np.pi))))) < 10
            assert abs(np.degrees(oracles.dihedral(ca, n, c, o))) < 10  # O and CA cis, in one plane


def test_the_torsions_across_a_ring_are_those_of_its_coordinates(rings):
    for row, peptide in enumerate(RINGS):
        last = len(peptide) - 1
        for x, t in zip(np.array(rings.coordinates[row]), np.array(rings.torsions[row]), strict=True):
            phi = oracles.dihedral(x[last, 2], x[0, 0], x[0, 1], x[0, 2])
            psi = oracles.dihedral(x[last, 0], x[last, 1], x[last, 2], x[0, 0])
            omega = oracles.dihedral(x[last, 1], x[last, 2], x[0, 0], x[0, 1])
            for got, want in ((t[0, 0], phi), (t[last, 1], psi), (t[last, 2], omega)):
                assert abs(np.angle(np.exp(1j * (got - want)))) < 2e-3


@pytest.mark.parametrize("which", ["rings", "chains"])
def test_stated_bonds_are_formed_in_every_sample(which, request):
    made, peptides = request.getfixturevalue(which), RINGS if which == "rings" else OPEN
    for row, peptide in enumerate(peptides):
        for x in np.array(made.coordinates[row, :, : len(peptide)]):
            assert all(bond.formed for bond in measure_bonds(peptide, x))
            for i, j in peptide.disulfides:
                assert 3.8 < np.linalg.norm(x[i - 1, 1] - x[j - 1, 1]) < 7.0


@pytest.mark.parametrize("which", ["rings", "chains"])
def test_bond_lengths_angles_and_hands_stay_ideal(which, request):
    made, peptides = request.getfixturevalue(which), RINGS if which == "rings" else OPEN
    for row, peptide in enumerate(peptides):
        n = len(peptide)
        for x, t in zip(np.array(made.coordinates[row]), np.array(made.torsions[row]), strict=True):
            want = oracles.build_backbone(t[:n].astype(np.float64), peptide.sequence)
            real = np.isfinite(want)
            np.testing.assert_allclose(x[:n][real], want[real], atol=2e-3)
            volume = np.einsum(
                "ij,ij->i", np.cross(x[:n, 0] - x[:n, 1], x[:n, 2] - x[:n, 1]), x[:n, 4] - x[:n, 1]
            )
            assert (volume > 0).all() or (volume < 0).all()


def test_a_sample_depends_on_its_number_and_the_seed_alone(model, monkeypatch):
    for name, number in (("STEPS", 8), ("BONDED_STEPS", 8), ("ATTEMPTS", 2)):
        monkeypatch.setattr(module, name, number)
    monkeypatch.setattr(closing, "ROUNDS", 2)
    peptides = [RINGS[0], OPEN[0]]
    few = ensemble(model, peptides, [0, 2])
    many = ensemble(model, peptides, range(13))  # more than are filled up to a multiple
    assert mx.array_equal(few.coordinates[:, 0], many.coordinates[:, 0]).item()
    assert mx.array_equal(few.coordinates[:, 1], many.coordinates[:, 2]).item()
    alone = ensemble(model, [OPEN[0]], [2])  # the network's last digits differ with its batch
    np.testing.assert_allclose(alone.coordinates[0, 0], many.coordinates[1, 2], atol=1e-2)
    other = ensemble(model, peptides, [0, 2], seed=1)
    assert np.abs(np.array(other.coordinates[1, 1] - few.coordinates[1, 1])).max() > 0.5
    again = ensemble(model, peptides, [0, 2])
    assert mx.array_equal(again.coordinates, few.coordinates).item()


def test_each_number_attempt_and_seed_has_a_draw_of_its_own(model):
    inputs = collate(OPEN[:1], 16)
    restraints = restraints_from(model(inputs), inputs)
    numbers = np.arange(3)
    draws = [
        np.array(draw_starts(restraints, 0 * numbers, numbers, seed, attempt))
        for seed in (0, 1)
        for attempt in (0, 1)
    ]
    # Sample 0 of a first attempt is the network's best, whatever the seed; all others are drawn.
    np.testing.assert_array_equal(draws[0][0], draws[2][0])
    assert len({torsions.tobytes() for draw in draws for torsions in draw}) == 3 * 4 - 1


def test_the_minimisation_lowers_the_energy(model):
    inputs = collate(OPEN, 16)
    rows = np.repeat(range(3), 3)
    restraints = restraints_from(model(inputs), inputs)
    starts = draw_starts(restraints, rows, np.tile(range(3), 3), 0)
    restraints = take(restraints, rows)
    ends = minimise(starts, restraints, steps=60)
    before, after = (np.array(energy(x[:, None], restraints, EnergyWeights(), 5.0)) for x in (starts, ends))
    assert (after < before).all() and after.mean() < 0.7 * before.mean()


def test_candidates_of_any_source_are_fitted_each_by_itself(model):
    """Starts of rings and chains in any order: those of the network beside others."""
    peptides = [RINGS[0], OPEN[0]]
    inputs = collate(peptides, 16)
    restraints = restraints_from(model(inputs), inputs)
    rows = np.array([1, 0, 1, 0, 0])
    starts = mx.random.uniform(-3, 3, (5, 16, 3), key=mx.random.key(2))
    torsions, misfit = fit(starts, restraints, rows)
    for k in range(5):
        alone, alone_misfit = fit(starts[k : k + 1], restraints, rows[k : k + 1])
        np.testing.assert_allclose(torsions[k], alone[0], atol=1e-4)
        assert misfit[k] == pytest.approx(alone_misfit[0], abs=1e-2)
    assert (misfit[rows == 1] == 0).all()


def test_chains_with_stated_bonds_make_room_earlier(model, monkeypatch):
    seen = []

    def look(torsions, restraints, steps, schedule):
        seen.append((bool(restraints.bonds.has_bridges), steps, schedule.sterics_from))
        return torsions

    monkeypatch.setattr(module, "minimise", look)
    inputs = collate([Peptide.of("ACDEFGHIKL"), Peptide.of("ACDEFGHIKC", False, ((2, 10),))])
    restraints = restraints_from(model(inputs), inputs)
    for schedule in (USUAL, GENTLE):
        fit(draw_starts(restraints, np.arange(2), np.zeros(2, int), 0), restraints, np.arange(2), 1, schedule)
    assert seen == [(False, 40, 0.5), (True, 80, 0.25), (False, 40, 0.0), (True, 80, 0.0)]


def test_closing_moves_a_nearly_closed_ring_little(model):
    inputs = collate(RINGS, 16)
    restraints = restraints_from(model(inputs), inputs)
    torsions = minimise(first_starts(restraints, 3), restraints, steps=BONDED_STEPS)
    closed = close_bonds(torsions, restraints.bonds)
    assert (bond_misfit(closed, restraints.bonds) <= 1).all()
    moved = np.abs(np.array(closed - torsions))[np.array(restraints.bonds.mask)]
    assert np.median(moved) < 0.1 and moved.max() < 1.5


def test_nothing_stated_is_left_as_it_is(model):
    inputs = collate(OPEN[:1], 16)
    restraints = restraints_from(model(inputs), inputs)
    torsions = first_starts(restraints, 1)
    assert mx.array_equal(close_bonds(torsions, restraints.bonds), torsions).item()
    assert (bond_misfit(torsions, restraints.bonds) == 0).all()


def test_what_cannot_close_ends_as_near_as_it_came(model, monkeypatch):
    """Two bridges between neighbours, and a ring of four residues around them: no chain can do that."""
    monkeypatch.setattr(module, "ATTEMPTS", 2)
    peptide = Peptide.of("CCCC", cyclic=True, disulfides=((1, 2), (3, 4)))
    made = ensemble(model, [peptide])
    x = np.array(made.coordinates[0, :, :4])
    assert np.isfinite(x).all()
    assert not all(bond.formed for model in x for bond in measure_bonds(peptide, model))
    assert np.linalg.norm(x[:, -1, 2] - x[:, 0, 0], axis=-1).max() < 6
