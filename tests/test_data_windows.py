from collections import Counter

import numpy as np
import pytest
from synthetic import make_dataset

from betafold_mlx.data.windows import SamplerConfig, WindowSampler
from betafold_mlx.errors import BetafoldError
from betafold_mlx.model.inputs import PADDED_LENGTHS


@pytest.fixture(scope="module")
def dataset():
    return make_dataset()


def all_windows(sampler, steps):
    return [window for step in range(steps) for window in sampler.batch(step)[0]]


def test_a_batch_depends_on_seed_and_step_alone(dataset):
    first = WindowSampler(dataset, PADDED_LENGTHS, seed=1)
    first.batch(0)
    again = WindowSampler(dataset, PADDED_LENGTHS, seed=1)
    for step in (7, 3):
        (a, padded_a), (b, padded_b) = first.batch(step), again.batch(step)
        assert padded_a == padded_b and [w.peptide for w in a] == [w.peptide for w in b]
        assert all(np.array_equal(x.coordinates, y.coordinates) for x, y in zip(a, b, strict=True))
    other = WindowSampler(dataset, PADDED_LENGTHS, seed=2)
    assert [w.peptide for w in other.batch(7)[0]] != [w.peptide for w in first.batch(7)[0]]


def test_windows_have_trained_lengths_and_fit_their_padding(dataset):
    sampler = WindowSampler(dataset, PADDED_LENGTHS, config=SamplerConfig(tokens=960))
    lengths = Counter()
    for step in range(60):
        windows, padded = sampler.batch(step)
        assert padded in PADDED_LENGTHS and len(windows) == 960 // padded
        for window in windows:
            assert 10 <= len(window.peptide) <= 30 and len(window.peptide) <= padded
            assert window.coordinates.shape == (len(window.peptide), 4, 3)
            lengths[len(window.peptide)] += 1
    assert set(range(10, 31)) == set(lengths)


def test_only_the_train_split_is_seen(dataset):
    train = [record.sequence for record in dataset.records if record.split == "train"]
    rings = [s + s for s in train]
    for window in all_windows(WindowSampler(dataset, PADDED_LENGTHS), 20):
        assert any(window.peptide.sequence in ring for ring in rings)


def test_coordinates_belong_to_the_letters(dataset):
    """Where a letter stands its own coordinates stand, in windows and in turned rings."""
    owner = {}
    for record in dataset.records:
        for k, letter in enumerate(record.sequence):
            owner[dataset.coordinates[record.start + k].tobytes()] = letter
    for window in all_windows(WindowSampler(dataset, PADDED_LENGTHS), 20):
        assert "".join(owner[row.tobytes()] for row in window.coordinates) == window.peptide.sequence


def with_pairs(dataset, *, cyclic):
    """Give each record a disulfide between its first and last cysteine; keep only chains, or only rings."""
    import dataclasses

    records = []
    for record in dataset.records:
        places = [k + 1 for k, letter in enumerate(record.sequence) if letter == "C"]
        pairs = ((places[0], places[-1]),) if len(places) > 1 else ()
        records.append(dataclasses.replace(record, disulfides=pairs, cyclic=cyclic and record.is_peptide))
    return dataclasses.replace(dataset, records=records)


def test_disulfides_follow_the_window_and_are_sometimes_unstated(dataset):
    rings = with_pairs(make_dataset(seed=4, chains=0, peptides=30), cyclic=True)
    config = SamplerConfig(unstated_disulfides=0.5)
    stated = 0
    bonded = {frozenset(r.sequence[k - 1 :][0] for k in p) for r in rings.records for p in r.disulfides}
    assert bonded == {frozenset("C")}
    windows = all_windows(WindowSampler(rings, PADDED_LENGTHS, config=config), 10)
    for window in windows:
        for i, j in window.peptide.disulfides:
            stated += 1
            assert i < j and window.peptide.sequence[i - 1] == window.peptide.sequence[j - 1] == "C"
    possible = sum(window.peptide.sequence.count("C") > 1 for window in windows)
    assert 0.35 < stated / possible < 0.65


def test_rings_start_anywhere():
    rings = with_pairs(make_dataset(chains=0, peptides=12), cyclic=True)
    config = SamplerConfig(unstated_ring=0.0)
    windows = all_windows(WindowSampler(rings, PADDED_LENGTHS, config=config), 30)
    starts = {window.peptide.sequence for window in windows}
    assert len(starts) > 5 * len(rings.peptides("train"))
    assert all(window.peptide.cyclic for window in windows)


def test_mhc_bound_peptides_are_rare():
    peptides = with_pairs(make_dataset(chains=0, peptides=60), cyclic=False)
    kinds = {record.sequence: record.kind for record in peptides.records}
    count = Counter(
        kinds[w.peptide.sequence] for w in all_windows(WindowSampler(peptides, PADDED_LENGTHS), 20)
    )
    assert count["mhc_bound"] < 0.35 * count["free"]


def test_works_with_chains_alone_and_peptides_alone():
    for chains, peptides in ((3, 0), (0, 3)):
        windows, _ = WindowSampler(make_dataset(chains=chains, peptides=peptides), PADDED_LENGTHS).batch(0)
        assert windows


def test_an_empty_train_split_is_refused():
    with pytest.raises(BetafoldError, match="no training records"):
        WindowSampler(make_dataset(chains=0, peptides=0), PADDED_LENGTHS)
