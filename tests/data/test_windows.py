import dataclasses
from collections import Counter

import numpy as np
import pytest
from biotite.sequence.align import SubstitutionMatrix
from synthetic import make_dataset

from betafold_mlx.data.sampling import SamplerConfig
from betafold_mlx.data.windows import AS_OBSERVED, KIND_WEIGHTS, WindowSampler
from betafold_mlx.errors import BetafoldError
from betafold_mlx.model.inputs import PADDED_LENGTHS
from betafold_mlx.peptide.sequence import ALPHABET, TRAINED_LENGTHS, residue_ids
from betafold_mlx.peptide.substitution import substitution_probabilities

OBSERVED = SamplerConfig(substitutions=0.0)
SHORTEST, LONGEST = TRAINED_LENGTHS


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
            assert SHORTEST <= len(window.peptide) <= min(LONGEST, padded)
            assert window.coordinates.shape == (len(window.peptide), 4, 3)
            lengths[len(window.peptide)] += 1
    assert set(range(SHORTEST, LONGEST + 1)) == set(lengths)


def test_only_the_train_split_is_seen(dataset):
    train = [record.sequence for record in dataset.records if record.split == "train"]
    rings = [s + s for s in train]
    for window in all_windows(WindowSampler(dataset, PADDED_LENGTHS, config=OBSERVED), 20):
        assert any(window.peptide.sequence in ring for ring in rings)


def test_coordinates_belong_to_the_letters(dataset):
    """Where a letter stands its own coordinates stand, in windows and in turned rings."""
    owner = {}
    for record in dataset.records:
        for k, letter in enumerate(record.sequence):
            owner[dataset.coordinates[record.start + k].tobytes()] = letter
    for window in all_windows(WindowSampler(dataset, PADDED_LENGTHS, config=OBSERVED), 20):
        assert "".join(owner[row.tobytes()] for row in window.coordinates) == window.peptide.sequence


def with_pairs(dataset, *, cyclic):
    """Give each record a disulfide between its first and last cysteine; keep only chains, or only rings."""
    records = []
    for record in dataset.records:
        places = [k + 1 for k, letter in enumerate(record.sequence) if letter == "C"]
        pairs = ((places[0], places[-1]),) if len(places) > 1 else ()
        records.append(dataclasses.replace(record, disulfides=pairs, cyclic=cyclic and record.is_peptide))
    return dataclasses.replace(dataset, records=records)


def test_disulfides_follow_the_window_and_are_sometimes_unstated(dataset):
    rings = with_pairs(make_dataset(seed=4, chains=0, peptides=30), cyclic=True)
    config = SamplerConfig(unstated_disulfides=0.5, substitutions=0.0)
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
    config = SamplerConfig(unstated_ring=0.0, substitutions=0.0)
    windows = all_windows(WindowSampler(rings, PADDED_LENGTHS, config=config), 30)
    starts = {window.peptide.sequence for window in windows}
    assert len(starts) > 5 * len(rings.peptides("train"))
    assert all(window.peptide.cyclic for window in windows)


def test_mhc_bound_peptides_are_rare():
    peptides = with_pairs(make_dataset(chains=0, peptides=60), cyclic=False)
    kinds = {record.sequence: record.kind for record in peptides.records}
    sampler = WindowSampler(peptides, PADDED_LENGTHS, config=OBSERVED)
    count = Counter(kinds[w.peptide.sequence] for w in all_windows(sampler, 20))
    assert count["mhc_bound"] < 0.35 * count["free"]


def test_works_with_chains_alone_and_peptides_alone():
    for chains, peptides in ((3, 0), (0, 3)):
        sampler = WindowSampler(make_dataset(chains=chains, peptides=peptides), PADDED_LENGTHS)
        for step in range(20):  # also where the peptides have none of the lengths of a bucket
            windows, padded = sampler.batch(step)
            assert len(windows) == sampler.batch_size(padded)


def test_short_chains_count_as_peptides_and_more_than_segments():
    full = make_dataset(chains=0, peptides=60)
    kinds = ("free", "chain", "segment")
    records = [
        dataclasses.replace(record, kind=kinds[number % 3], cyclic=False)
        for number, record in enumerate(full.records)
    ]
    short = dataclasses.replace(full, records=records)
    assert {record.kind for record in short.chains("train")} == {"chain", "segment"}
    config = SamplerConfig(peptide_share=1.0, substitutions=0.0)
    kind_of = {record.sequence: record.kind for record in short.records if record.split == "train"}
    sampler = WindowSampler(short, (16, 24, 32), config=config)
    drawn = Counter(kind_of[window.peptide.sequence] for window in all_windows(sampler, 40))  # all are whole
    total = sum(KIND_WEIGHTS[kind] for kind in kinds)
    for kind in kinds:
        assert drawn[kind] / drawn.total() == pytest.approx(KIND_WEIGHTS[kind] / total, abs=0.08)


def test_an_empty_train_split_is_refused():
    with pytest.raises(BetafoldError, match="no training records"):
        WindowSampler(make_dataset(chains=0, peptides=0), PADDED_LENGTHS)


# Substitutions


def observed_and_drawn(dataset, config, steps):
    """(observed, drawn) residue ids and the window of each example; a residue's own letter is known by its atoms."""
    owner = {}
    for record in dataset.records:
        for k, letter in enumerate(record.sequence):
            owner[dataset.coordinates[record.start + k].tobytes()] = letter
    for window in all_windows(WindowSampler(dataset, PADDED_LENGTHS, config=config), steps):
        own = "".join(owner[row.tobytes()] for row in window.coordinates)  # so the structures are unchanged
        yield residue_ids(own), residue_ids(window.peptide.sequence), window


def blosum62_exchanges():
    """Return scores, p with sum_j p_j 2^(s_ij / 2) = 1, and P(j | i, exchanged), from biotite's own matrix."""
    matrix = SubstitutionMatrix.std_protein_matrix()
    score = np.array([[matrix.get_score(a, b) for b in ALPHABET] for a in ALPHABET], dtype=float)
    odds = 2 ** (score / 2)
    p = np.linalg.lstsq(odds, np.ones(20), rcond=None)[0]
    joint = p[:, None] * odds * p  # q_ij: what the log odds are of
    np.fill_diagonal(joint, 0)
    return score, p, joint / joint.sum(axis=1, keepdims=True)


def test_exchange_probabilities_are_those_of_the_log_odds():
    score, p, expected = blosum62_exchanges()
    assert (p > 0).all() and p.sum() == pytest.approx(1, abs=0.05)  # BLOSUM62 is rounded to half bits
    found = substitution_probabilities()
    assert np.allclose(found, expected, atol=1e-12) and (np.diag(found) == 0).all()
    i, j, k, m = (ALPHABET.index(letter) for letter in "IVDE")  # odds ratios know nothing of the frequencies
    ratio = found[i, j] * found[k, m] / (found[i, m] * found[k, j])
    assert 2 * np.log2(ratio) == pytest.approx(score[i, j] + score[k, m] - score[i, m] - score[k, j])


def test_residues_are_exchanged_as_often_as_stated_for_what_evolution_puts_there(dataset):
    config = SamplerConfig(tokens=3072, substitutions=1.0)
    counts, shares = np.zeros((20, 20)), []
    for observed, drawn, _ in observed_and_drawn(dataset, config, 60):
        np.add.at(counts, (observed, drawn), 1)
        shares.append((observed != drawn).mean())
    changed = np.array(shares)
    kept = (changed == 0).mean()  # also where the share that was drawn is next to nothing
    assert AS_OBSERVED < kept < AS_OBSERVED + 0.08
    assert changed.mean() == pytest.approx((1 - AS_OBSERVED) * 0.5, abs=0.015)
    assert (changed > 0.7).mean() == pytest.approx((1 - AS_OBSERVED) * 0.3, abs=0.03)  # an even draw, 0 to 1
    np.fill_diagonal(counts, 0)
    number, expected = counts.sum(axis=1), blosum62_exchanges()[2]
    assert number.min() > 300
    error = np.sqrt(expected * (1 - expected) / number[:, None])
    deviation = ((counts / number[:, None] - expected) / np.where(error > 0, error, 1))[
        ~np.eye(20, dtype=bool)
    ]
    assert np.abs(deviation).max() < 5 and np.sqrt((deviation**2).mean()) < 1.15  # of 380 cells


def test_the_ends_of_a_stated_disulfide_stay():
    rings = with_pairs(make_dataset(seed=4, chains=0, peptides=30), cyclic=True)
    config = SamplerConfig(substitutions=1.0, unstated_disulfides=0.0)
    elsewhere = ends = 0
    for observed, drawn, window in observed_and_drawn(rings, config, 20):
        held = {place - 1 for pair in window.peptide.disulfides for place in pair}
        ends += len(held)
        for place in range(len(drawn)):
            cysteine = ALPHABET[observed[place]] == "C"
            assert place not in held or (cysteine and drawn[place] == observed[place])
            elsewhere += cysteine and place not in held and drawn[place] != observed[place]
    assert ends > 100 and elsewhere > 20  # other cysteines are exchanged


def test_without_substitutions_the_sequences_are_those_observed(dataset):
    assert all((observed == drawn).all() for observed, drawn, _ in observed_and_drawn(dataset, OBSERVED, 10))


@pytest.mark.parametrize("options", [{"substitutions": 0.1}, {"disulfide_share": 0.1}])
def test_fixed_windows_are_neither_changed_nor_chosen(options):
    with pytest.raises(BetafoldError, match="fixed windows"):
        SamplerConfig(windows=200, **options)


def test_windows_around_disulfides_hold_them_whole(dataset):
    chains = [record for record in dataset.chains("train") if record.length > 34]
    records = [
        dataclasses.replace(record, disulfides=((20, 26),)) if record in chains else record
        for record in dataset.records
    ]
    config = SamplerConfig(peptide_share=0.0, disulfide_share=1.0, unstated_disulfides=0.0)
    sampler = WindowSampler(dataclasses.replace(dataset, records=records), (16, 24, 32), config=config)
    for step in range(5):
        for window in sampler.batch(step)[0]:
            ((i, j),) = window.peptide.disulfides
            assert j - i == 6 and 1 <= i < j <= len(window.peptide)
