"""Scores of coordinates: against definitions, other programs, and what must not matter."""

import numpy as np
import pytest
from evaluate_helpers import HELIX_DEGREES, make_item
from oracles import kabsch, lddt, random_rotation

from betafold_mlx.evaluate.baselines import STRAND, build_structures, constant_torsions
from betafold_mlx.evaluate.structure_scores import score_structures
from betafold_mlx.structure.secondary import assign_secondary_structure


def items_of_many_lengths(count=12):
    return [make_item(f"i{n}", seed=n, length=10 + 2 * n) for n in range(count)]


def moved(structure, rng, shift=5.0):
    return structure @ random_rotation(rng).T + shift * rng.normal(size=3)


def test_the_native_structure_is_perfect_wherever_it_lies():
    rng = np.random.default_rng(0)
    items = items_of_many_lengths()
    scores = score_structures(items, [moved(item.coordinates, rng, shift=3000.0) for item in items])
    assert scores.rmsd.max() < 1e-4 and scores.ca_rmsd.max() < 1e-4
    assert scores.ca_distance_error.max() < 1e-4
    assert scores.q3.min() == 1 and scores.gdt_ts.min() == 1
    assert min(values.min() for values in scores.lddt) == 1
    assert max(values.max() for values in scores.deviation) < 2e-4
    assert max(np.nanmax(error) for error in scores.torsion_error) < 0.05  # degrees, of float32 coordinates


def test_scores_agree_with_plain_definitions_in_float64():
    rng = np.random.default_rng(1)
    items = items_of_many_lengths()
    structures = [moved(item.coordinates + rng.normal(size=item.coordinates.shape), rng) for item in items]
    scores = score_structures(items, structures)
    for number, (item, structure) in enumerate(zip(items, structures, strict=True)):
        native, predicted = (x[:, :3].reshape(-1, 3) for x in (item.coordinates, structure))
        rotation, translation, rmsd = kabsch(predicted, native)
        assert scores.rmsd[number] == pytest.approx(rmsd, abs=1e-4)
        squares = ((predicted @ rotation.T + translation - native) ** 2).sum(axis=-1)
        deviation = np.sqrt(squares.reshape(-1, 3).mean(axis=1))
        np.testing.assert_allclose(scores.deviation[number], deviation, atol=1e-3)
        ca, native_ca = structure[:, 1], item.coordinates[:, 1]
        assert scores.ca_rmsd[number] == pytest.approx(kabsch(ca, native_ca)[2], abs=1e-4)
        np.testing.assert_allclose(scores.lddt[number], lddt(ca, native_ca)[0], atol=1e-6)
        assert scores.mean_lddt[number] == pytest.approx(lddt(ca, native_ca)[0].mean(), abs=1e-6)


def test_a_mirror_image_is_not_taken_for_the_structure():
    item = make_item(degrees=HELIX_DEGREES, length=20)
    scores = score_structures([item], [item.coordinates * [1, 1, -1]])
    assert scores.rmsd[0] > 2
    assert scores.ca_distance_error[0] < 1e-3  # which distances cannot see


def test_torsion_errors_are_circular_and_only_where_defined():
    item = make_item(degrees=(-175.0, -42.0, 180.0))
    other = make_item(sequence=item.peptide.sequence, degrees=(175.0, -32.0, -170.0))
    (error,) = score_structures([item], [other.coordinates]).torsion_error
    defined = np.isfinite(error)
    assert not defined[0, 0] and not defined[-1, 1:].any() and defined.sum() == 3 * len(item) - 3
    for angle, expected in enumerate((10, 10, 10)):
        np.testing.assert_allclose(error[defined[:, angle], angle], expected, atol=0.05)
    sums, counts = score_structures([item], [other.coordinates]).torsion_sums
    np.testing.assert_allclose(sums / counts, [[10, 10, 10]], atol=0.05)
    np.testing.assert_array_equal(counts, [[len(item) - 1] * 3])


def test_q3_is_the_share_of_p_sea_states():
    item = make_item(degrees=HELIX_DEGREES, length=20)
    (strand,) = build_structures([item], constant_torsions([item], STRAND))
    scores = score_structures([item, item], [item.coordinates, strand])
    states = [assign_secondary_structure(x[:, 1]) for x in (item.coordinates, strand)]
    assert "H" in states[0] and "E" in states[1] and scores.secondary_structure == states
    agree = np.mean([a == b for a, b in zip(*states, strict=True)])
    np.testing.assert_allclose(scores.q3, [1, agree])


def test_scores_do_not_depend_on_the_company():
    rng = np.random.default_rng(2)
    items = items_of_many_lengths()
    structures = [item.coordinates + rng.normal(size=item.coordinates.shape) for item in items]
    together = score_structures(items, structures)
    for number, (item, structure) in enumerate(zip(items, structures, strict=True)):
        alone = score_structures([item], [structure])
        chosen = together.select(np.array([number]))
        np.testing.assert_allclose(alone.rmsd, chosen.rmsd, atol=1e-4)
        np.testing.assert_allclose(alone.lddt[0], chosen.lddt[0], atol=1e-6)
        np.testing.assert_allclose(alone.gdt_ts, chosen.gdt_ts, atol=1e-6)
        np.testing.assert_allclose(alone.torsion_error[0], chosen.torsion_error[0], atol=0.05)


def test_ca_alone_is_scored_as_such_beside_whole_structures():
    rng = np.random.default_rng(3)
    items = [make_item("x", seed=5), make_item("y", seed=6)]
    structures = [item.coordinates[:, :3] + rng.normal(size=(len(item), 3, 3)) for item in items]
    whole = score_structures(items, structures)
    bare = structures[0].copy()
    bare[:, [0, 2]] = np.nan
    scores = score_structures(items, [bare, structures[1]])
    assert np.isnan(scores.rmsd[0]) and np.isnan(scores.torsion_error[0]).all()
    assert scores.ca_rmsd[0] == pytest.approx(whole.ca_rmsd[0], abs=1e-4)
    np.testing.assert_array_equal(scores.lddt[0], whole.lddt[0])
    assert np.sqrt((scores.deviation[0] ** 2).mean()) == pytest.approx(scores.ca_rmsd[0], abs=1e-4)
    assert scores.rmsd[1] == pytest.approx(whole.rmsd[1], abs=1e-5)


def test_thirds_are_means_over_the_first_middle_and_last_residues():
    item = make_item(length=12)
    rng = np.random.default_rng(4)
    scores = score_structures([item], [item.coordinates + rng.normal(size=item.coordinates.shape)])
    deviation = scores.deviation[0]
    expected = [deviation[:4].mean(), deviation[4:8].mean(), deviation[8:].mean()]
    np.testing.assert_allclose(scores.thirds[0], expected)
