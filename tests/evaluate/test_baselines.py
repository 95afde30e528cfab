"""What the baselines predict."""

import dataclasses

import mlx.core as mx
import numpy as np
import pytest
from evaluate_helpers import HELIX_DEGREES, make_item
from synthetic import make_dataset

from betafold_mlx.errors import BetafoldError
from betafold_mlx.evaluate.baselines import (
    HELIX,
    STRAND,
    build_structures,
    constant_torsions,
    native_torsions,
    neighbour_torsions,
    predict_baselines,
    type_prior,
)
from betafold_mlx.evaluate.neighbours import Neighbour
from betafold_mlx.evaluate.structure_scores import score_structures
from betafold_mlx.geometry import build_backbone
from betafold_mlx.peptide.sequence import ALPHABET


@pytest.fixture(scope="module")
def dataset():
    return make_dataset()


def test_type_prior_against_a_loop_over_the_train_split(dataset):
    seen = {letter: [[], [], []] for letter in ALPHABET}
    for record in dataset.records:
        if record.split == "train":
            for place, letter in enumerate(record.sequence):
                row = record.start + place
                for angle in range(3):
                    if dataset.torsion_mask[row, angle]:
                        seen[letter][angle].append(np.exp(1j * np.float64(dataset.torsions[row, angle])))
    prior = type_prior(dataset)
    for letter, angles in seen.items():
        for angle, vectors in enumerate(angles):
            expected = np.angle(np.mean(vectors))
            assert np.exp(1j * prior[ALPHABET.index(letter), angle]) == pytest.approx(np.exp(1j * expected))


def test_a_residue_type_that_is_absent_gets_the_mean_of_all(dataset):
    records = [dataclasses.replace(r, sequence=r.sequence.replace("W", "F")) for r in dataset.records]
    prior = type_prior(dataclasses.replace(dataset, records=records))
    train = [r for r in records if r.split == "train"]
    rows = np.concatenate([np.arange(r.start, r.start + r.length) for r in train])
    phi = dataset.torsions[rows, 0][dataset.torsion_mask[rows, 0]].astype(np.float64)
    assert prior[ALPHABET.index("W"), 0] == pytest.approx(np.angle(np.exp(1j * phi).mean()))


def test_no_prior_without_training_records(dataset):
    records = [dataclasses.replace(record, split="test") for record in dataset.records]
    without = dataclasses.replace(dataset, records=records)
    with pytest.raises(BetafoldError, match="no training records"):
        type_prior(without)
    baselines = predict_baselines([make_item()], without)
    names = [method.name for method in baselines.methods]
    assert names == ["constant_helix", "constant_strand", "reconstruction_floor"]
    assert "the train split is empty" in baselines.notes[0]


def test_the_prior_is_looked_up_by_residue_type(dataset):
    prior, item = type_prior(dataset), make_item(sequence="CAWCYYAAAA")
    (expected,) = build_structures([item], [prior[[1, 0, 18, 1, 19, 19, 0, 0, 0, 0]]])
    method = next(one for one in predict_baselines([item], dataset).methods if one.name == "type_prior")
    np.testing.assert_array_equal(method.structures[0], expected)


def test_a_helix_is_predicted_by_the_helix_and_not_by_the_strand():
    items = [make_item(degrees=HELIX_DEGREES, length=length, seed=length) for length in (10, 18, 30)]
    helix, strand = (
        score_structures(items, build_structures(items, constant_torsions(items, degrees)))
        for degrees in (HELIX, STRAND)
    )
    assert helix.rmsd.max() < 1e-3 and strand.rmsd.min() > 4


def test_the_floor_is_zero_on_ideal_geometry_and_below_the_helix_elsewhere():
    ideal = [make_item(seed=seed, length=10 + seed) for seed in range(6)]
    floor = score_structures(ideal, build_structures(ideal, native_torsions(ideal)))
    assert floor.rmsd.max() < 1e-3
    rng = np.random.default_rng(0)
    rough = [
        dataclasses.replace(
            item, coordinates=item.coordinates + 0.05 * rng.normal(size=item.coordinates.shape)
        )
        for item in (make_item(degrees=HELIX_DEGREES, seed=seed, length=24) for seed in range(4))
    ]
    floor = score_structures(rough, build_structures(rough, native_torsions(rough)))
    helix = score_structures(rough, build_structures(rough, constant_torsions(rough, HELIX)))
    strand = score_structures(rough, build_structures(rough, constant_torsions(rough, STRAND)))
    assert (floor.rmsd > 0.02).all() and (floor.rmsd < strand.rmsd).all()
    assert max(np.nanmax(error) for error in floor.torsion_error) < 0.1
    assert (floor.ca_rmsd < 2).all() and (helix.ca_rmsd < 2).all()


def test_undefined_end_torsions_move_no_atom_that_counts():
    item = make_item(seed=9)
    (torsions,) = native_torsions([item])
    rng = np.random.default_rng(0)
    other = torsions.copy()
    other[0, 0], other[-1, 1:] = rng.uniform(-3, 3), rng.uniform(-3, 3, size=2)
    scores = score_structures([item, item], build_structures([item, item], [torsions, other]))
    assert scores.rmsd.max() < 1e-3


def test_neighbour_torsions_are_those_of_the_window(dataset):
    known = [n for n, record in enumerate(dataset.records) if record.split == "train"]
    record = dataset.records[known[3]]
    items = [make_item(length=12), make_item(length=record.length)]
    found = neighbour_torsions(dataset, known, items, [Neighbour(3, 5, 0), Neighbour(3, 0, 0)])
    first = record.start + 5
    np.testing.assert_allclose(found[0][1:-1], dataset.torsions[first + 1 : first + 11])
    inside = dataset.torsion_mask[record.start : record.start + record.length]
    whole = dataset.torsions[record.start : record.start + record.length]
    np.testing.assert_allclose(found[1][inside], whole[inside])
    assert np.isfinite(found[1]).all()


def test_a_training_window_is_its_own_nearest_neighbour(dataset):
    record = next(record for record in dataset.records if record.split == "train" and record.length > 40)
    window = slice(record.start + 7, record.start + 27)
    item = make_item(sequence=record.sequence[7:27])
    item = dataclasses.replace(item, coordinates=dataset.coordinates[window])
    baselines = predict_baselines([item], dataset)
    assert baselines.details[0]["neighbour"]["id"] == record.id
    assert baselines.details[0]["neighbour"]["start"] == 8
    method = next(method for method in baselines.methods if method.name == "nearest_neighbour")
    assert score_structures([item], method.structures).rmsd[0] < 1e-2


def test_no_neighbour_baseline_where_an_item_is_longer_than_all_training_chains(dataset):
    baselines = predict_baselines([make_item(length=90), make_item(length=12)], dataset)
    names = [method.name for method in baselines.methods]
    assert "nearest_neighbour" not in names and "type_prior" in names
    assert "1 items are longer than any training chain" in baselines.notes[0]


def test_structures_are_built_in_batches_as_they_are_alone():
    items = [make_item(seed=seed, length=8 + seed) for seed in range(20)]
    torsions = native_torsions(items)
    for item, angles, built in zip(items, torsions, build_structures(items, torsions), strict=True):
        alone = build_backbone(mx.array(angles[None].astype(np.float32)), mx.array(item.peptide.ids[None]))
        np.testing.assert_allclose(built, np.array(alone)[0], atol=1e-4)
