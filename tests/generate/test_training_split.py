"""The favoured region, random coils and copies of fragments, from a training split."""

import math

import numpy as np
import oracles
import pytest
from synthetic import make_dataset

from betafold_mlx.errors import BetafoldError
from betafold_mlx.generate.trace_states import torsion_states
from betafold_mlx.generate.training_split import (
    favoured_region,
    fragment_copies,
    random_coils,
    training_angles,
)

DATA = make_dataset(chains=8, peptides=4)
NOTHING = make_dataset(chains=0, peptides=0)


def test_a_random_coil_has_the_torsions_of_training_residues_and_ideal_bonds():
    lengths = [12, 30, 12]
    coils = random_coils(DATA, lengths, seed=3)
    assert [len(coil) for coil in coils] == lengths
    known = training_angles(DATA)
    for coil in coils:
        torsions = oracles.backbone_torsions(coil)
        for phi, psi, omega in torsions[1:-1]:
            away = np.abs(np.angle(np.exp(1j * (known - [phi, psi])))).max(axis=1)
            assert away.min() < 2e-3
            assert abs(abs(omega) - np.pi) < 2e-3
        rebuilt = oracles.build_backbone(np.nan_to_num(torsions, nan=np.pi), "A" * len(coil))
        assert oracles.kabsch(rebuilt[:, :3].reshape(-1, 3), coil[:, :3].reshape(-1, 3))[2] < 5e-3


def test_residues_of_a_coil_know_nothing_of_their_neighbours():
    """In the data whole stretches are helical; in a coil one residue says nothing of the next."""

    def helical(backbone):
        torsions = oracles.backbone_torsions(backbone)[1:-1]
        return torsions[:, 1] < 0

    coils = np.concatenate([[*helical(coil)] for coil in random_coils(DATA, [30] * 60, seed=0)])
    copies = [helical(copy) for copy in fragment_copies(DATA, [30] * 60, seed=0)]
    pairs = coils[:-1], coils[1:]
    assert abs(np.corrcoef(*pairs)[0, 1]) < 0.1
    alike = np.mean([np.mean(row[1:] == row[:-1]) for row in copies])
    assert alike > 0.75


def test_copies_are_windows_of_the_training_split_anywhere_in_it():
    copies = fragment_copies(DATA, [10] * 300, seed=1)
    windows = {}
    for record in DATA.records:
        for start in range(record.start, record.start + record.length - 9):
            windows[DATA.coordinates[start : start + 10].tobytes()] = (record.split, record.id)
    found = [windows[copy.tobytes()] for copy in copies]
    assert {split for split, _ in found} == {"train"}
    sizes = {record.id: record.length - 9 for record in DATA.records if record.split == "train"}
    counts = np.array([sum(name == each for _, name in found) for each in sizes])
    expected = 300 * np.array(list(sizes.values())) / sum(sizes.values())
    assert ((counts - expected) ** 2 / expected).sum() < 35  # chi-square of 11 degrees of freedom, 2e-4


def test_both_depend_on_the_seed_alone():
    for make in (random_coils, fragment_copies):
        first, again, other = (make(DATA, [11, 14], seed) for seed in (5, 5, 6))
        assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
        assert not np.array_equal(first[0], other[0])


def test_without_training_data_there_is_a_line():
    with pytest.raises(BetafoldError, match="no training records"):
        random_coils(NOTHING, [10], 0)
    with pytest.raises(BetafoldError, match="no chain of 10 residues"):
        fragment_copies(NOTHING, [10], 0)
    with pytest.raises(BetafoldError, match="no chain of 900 residues"):
        fragment_copies(DATA, [900], 0)


def test_a_favoured_region_holds_its_share_and_is_dense():
    rng = np.random.default_rng(1)
    centre = np.radians([-63.0, -42.0])
    angles = centre + np.radians(12) * rng.normal(size=(20_000, 2))
    angles[:100] = rng.uniform(-math.pi, math.pi, size=(100, 2))
    for share in (0.5, 0.98):
        region = favoured_region(angles, share)
        assert region.holds(angles).mean() == pytest.approx(share, abs=0.03)
    assert region.holds(centre) and region.holds(centre + 2 * math.pi)
    assert not region.holds(np.radians([60.0, -120.0])) and not region.holds(-centre)
    assert region.density.sum() == pytest.approx(1.0)
    turned = favoured_region(angles + np.array([math.pi, 0.0]))  # across the edge of the plot
    assert np.array_equal(turned.density >= turned.level, np.roll(region.density >= region.level, 36, axis=0))
    with pytest.raises(BetafoldError, match="no residues"):
        favoured_region(np.zeros((0, 2)))


def test_training_angles_are_those_of_the_residues_that_have_both():
    expected = []
    for record in DATA.records:
        if record.split == "train":
            for place in range(1, record.length - 1):
                expected.append(DATA.torsions[record.start + place, :2])
    assert np.array_equal(training_angles(DATA), np.array(expected, np.float64))


@pytest.mark.parametrize("residue", ["ALA", "GLY"])
def test_the_states_of_a_residue_cover_what_there_is(residue):
    states = torsion_states(residue)
    assert 0.98 < np.exp(states.log_share).sum() <= 1.001
    most = np.degrees(states.centres[states.log_share.argmax()])
    assert np.abs(most - [-63, -42]).max() < 25 or residue == "GLY"
    left = np.exp(states.log_share)[states.centres[:, 0] > 0].sum()
    assert (left > 0.4) == (residue == "GLY")
    assert (np.abs(states.centres) < math.pi).all()
