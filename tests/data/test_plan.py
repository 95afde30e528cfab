"""The plan of what is embedded: all that training and scoring ask for, and drawn as the sampler draws."""

import dataclasses
from collections import Counter

import mlx.core as mx
import numpy as np
import pytest
from synthetic import make_dataset

from betafold_mlx.data.plan import chain_weights, plan_windows, planned_sequences
from betafold_mlx.data.sampling import MIN_WINDOWS, SamplerConfig
from betafold_mlx.data.windows import WindowSampler
from betafold_mlx.errors import BetafoldError
from betafold_mlx.model.inputs import PADDED_LENGTHS
from betafold_mlx.peptide.sequence import TRAINED_LENGTHS
from betafold_mlx.train.validate import validation_batches

SHORTEST, LONGEST = TRAINED_LENGTHS


@pytest.fixture(scope="module")
def dataset():
    return make_dataset()


@pytest.fixture(scope="module")
def long_chains(dataset):
    """The data set without chains that have no room for the longest window."""
    records = [r for r in dataset.records if r.is_peptide or r.length >= LONGEST]
    return dataclasses.replace(dataset, records=records, fragments=[])


def test_training_and_validation_ask_for_nothing_else(dataset):
    sequences = planned_sequences(dataset, 300, 5)
    planned = set(sequences)
    assert len(planned) == len(sequences)
    sampler = WindowSampler(dataset, PADDED_LENGTHS, 3, SamplerConfig(windows=300, windows_seed=5))
    asked = {w.peptide.sequence for step in range(200) for w in sampler.batch(step)[0]}
    assert asked <= planned
    turned = {r.sequence[1:] + r.sequence[:1] for r in dataset.peptides("train") if r.cyclic}
    assert turned & asked and len(asked) > 250  # rings were turned, and the windows are in use

    def featurizer(sequences, padded):
        asked.update(sequences)
        return mx.zeros((len(sequences), padded, 1))

    validation_batches(dataset, featurizer)
    fragments = {dataset.fragment_sequence(f) for f in dataset.fragments}
    peptides = {r.sequence for r in dataset.records if r.is_peptide}
    assert asked | fragments | peptides <= planned


def test_it_follows_from_the_data_and_two_numbers(dataset):
    plan = planned_sequences(dataset, 100, 1)
    assert planned_sequences(make_dataset(), 100, 1) == plan
    for data, windows, seed in ((dataset, 100, 2), (dataset, 101, 1), (make_dataset(seed=1), 100, 1)):
        assert planned_sequences(data, windows, seed) != plan


def test_windows_lie_in_their_chains_and_have_all_lengths(long_chains):
    chains = long_chains.chains("train")
    windows = plan_windows(chains, 10 * MIN_WINDOWS)
    assert Counter(windows[:, 2].tolist()) == dict.fromkeys(range(SHORTEST, LONGEST + 1), 10)
    lengths = np.array([len(chains[chain].sequence) for chain in windows[:, 0]])
    assert (windows[:, 1] >= 0).all() and (windows[:, 1] + windows[:, 2] <= lengths).all()
    long = plan_windows(chains, 20_000)
    ends = {(int(c), int(s)) for c, s, length in long if s + length == len(chains[c].sequence)}
    assert {c for c, _ in ends} == set(range(len(chains)))  # the last residues are reached
    assert (long[:, 1] == 0).any()


def test_chains_are_drawn_by_length_and_less_in_large_clusters(dataset):
    chains = [
        dataclasses.replace(record, source_cluster=0 if number < 9 else number)
        for number, record in enumerate(dataset.chains("train"))
    ]
    # 9 of a cluster
    expected = np.array([len(c.sequence) / (3 if n < 9 else 1) for n, c in enumerate(chains)])
    np.testing.assert_allclose(chain_weights(chains), expected)
    count = 40_000
    share = np.bincount(plan_windows(chains, count)[:, 0], minlength=len(chains)) / count
    expected /= expected.sum()
    assert (np.abs(share - expected) < 5 * np.sqrt(expected / count)).all()


def test_fixed_windows_are_drawn_evenly_and_by_seed_and_step_alone(long_chains):
    config = SamplerConfig(windows=MIN_WINDOWS, peptide_share=0.0)
    sampler = WindowSampler(long_chains, PADDED_LENGTHS, 1, config)
    sampler.batch(3)
    first, again = sampler.batch(7), WindowSampler(long_chains, PADDED_LENGTHS, 1, config).batch(7)
    assert [w.peptide for w in first[0]] == [w.peptide for w in again[0]] and first[1] == again[1]
    seen = Counter()
    for step in range(600):
        windows, padded = sampler.batch(step)
        assert all(len(w.peptide) <= padded for w in windows)
        seen.update(len(w.peptide) for w in windows)
    assert set(seen) == set(range(SHORTEST, LONGEST + 1))
    # One window each, all of the first bucket.
    short = [seen[length] for length in range(SHORTEST, PADDED_LENGTHS[0] + 1)]
    assert max(short) < 1.1 * min(short)


def test_coordinates_are_those_of_the_fixed_window(dataset):
    sampler = WindowSampler(dataset, PADDED_LENGTHS, config=SamplerConfig(windows=50, peptide_share=0.0))
    rows = {r.tobytes() for r in dataset.coordinates}
    for window in sampler.batch(0)[0]:
        (chain,) = {n for n, r in enumerate(dataset.chains("train")) if window.peptide.sequence in r.sequence}
        record = dataset.chains("train")[chain]
        start = record.start + record.sequence.index(window.peptide.sequence)
        np.testing.assert_array_equal(
            window.coordinates, dataset.coordinates[start : start + len(window.peptide)]
        )
        assert window.coordinates[0].tobytes() in rows


def test_short_chains_are_taken_whole():
    full = make_dataset(chains=0, peptides=8)
    records = [dataclasses.replace(r, kind="segment", cyclic=False) for r in full.records]
    dataset = dataclasses.replace(full, records=records)
    chains = dataset.chains("train")
    for number, (chain, start, length) in enumerate(plan_windows(chains, 200).tolist()):
        assert start + length <= len(chains[chain].sequence)
        assert length == min(SHORTEST + number % MIN_WINDOWS, len(chains[chain].sequence))
    short = dataclasses.replace(dataset, records=[r for r in records if r.split != "train" or r.length <= 16])
    assert short.chains("train")
    sampler = WindowSampler(short, PADDED_LENGTHS, config=SamplerConfig(windows=MIN_WINDOWS))
    for step in range(20):  # the buckets beyond the chains have windows all the same
        windows, padded = sampler.batch(step)
        assert windows and all(len(w.peptide) <= padded for w in windows)


@pytest.mark.parametrize("count", [0, MIN_WINDOWS - 1, 10**9])
def test_too_few_and_too_many_windows(dataset, count):
    lengths = LONGEST - SHORTEST + 1
    with pytest.raises(BetafoldError, match=f"{count} training windows: take at least {lengths},"):
        planned_sequences(dataset, count)
    with pytest.raises(BetafoldError, match="windows"):
        WindowSampler(dataset, PADDED_LENGTHS, config=SamplerConfig(windows=count))


def test_nothing_to_embed():
    with pytest.raises(BetafoldError, match="nothing to embed"):
        planned_sequences(make_dataset(chains=0, peptides=0))
