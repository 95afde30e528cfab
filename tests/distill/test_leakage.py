import dataclasses

import numpy as np
import pytest
from data_helpers import backbone, mutated, random_letters, spread

from betafold_mlx.data.identity import rotations
from betafold_mlx.data.store import MAX_PEPTIDE, MIN_PEPTIDE, Dataset
from betafold_mlx.data.verify import verify_split
from betafold_mlx.distill.collection import Collection
from betafold_mlx.distill.leakage import LeakageCheck
from betafold_mlx.errors import BetafoldError


def together(dataset, sequences, cyclic):
    """The data set with sequences added to its train split."""
    found = Collection(LeakageCheck(dataset, "a" * 64))
    found.backbones = [
        backbone(f"d{n}", sequence, "unknown" if len(sequence) <= MAX_PEPTIDE else "chain", ring)
        for n, (sequence, ring) in enumerate(zip(sequences, cyclic, strict=True))
    ]
    more = found.dataset(0, "", {})
    rows = len(dataset.coordinates)
    clusters = max(record.cluster for record in dataset.records) + 1
    records = [
        dataclasses.replace(record, start=record.start + rows, cluster=clusters + n)
        for n, record in enumerate(more.records)
    ]
    arrays = (
        np.concatenate([getattr(one, name) for one in (dataset, more)])
        for name in ("coordinates", "torsions", "torsion_mask")
    )
    return Dataset(dataset.records + records, *arrays, dataset.fragments)


def near(dataset, rng):
    """Sequences that are too near to evaluation data, and what they are."""
    peptides = [r for split in ("validation", "test") for r in dataset.peptides(split)]
    straight = next(r for r in peptides if not r.cyclic and r.length >= 20)
    ring = next(r for r in peptides if r.cyclic)
    fragment = max(dataset.fragments, key=lambda f: f.length)
    window = dataset.fragment_sequence(fragment)
    chain = dataset.records[fragment.record].sequence
    return {
        "itself": (straight.sequence, False),
        "a mutant": (mutated(straight.sequence, rng, 3), False),
        "spread over its length": (spread(straight.sequence, straight.length * 3 // 5), False),
        "a turned ring": (rotations(ring.sequence)[4], True),
        "a ring across its seam": (rotations(ring.sequence)[ring.length // 2], False),
        "in a long chain": (random_letters(rng, 40) + straight.sequence + random_letters(rng, 40), False),
        "a fragment": (window, False),
        "a mutated fragment": (spread(window, len(window) * 2 // 3), False),
        "part of a fragment": (window[:10], False),
        "part of a mutated fragment": (spread(window[4:16], 9), False),
        "8 residues of a test chain": (random_letters(rng, 8) + chain[-8:] + random_letters(rng, 8), False),
    }


@pytest.mark.parametrize(
    "what",
    [
        *("itself", "a mutant", "spread over its length", "a turned ring", "a ring across its seam"),
        *("in a long chain", "a fragment", "a mutated fragment", "part of a fragment"),
        "part of a mutated fragment",
        "8 residues of a test chain",
    ],
)
def test_what_is_near_to_evaluation_data_is_found(dataset, guard, what):
    sequence, cyclic = near(dataset, np.random.default_rng(1))[what]
    (leak,) = guard.leaks([sequence], [cyclic])
    assert leak is not None and ("(test)" in leak or "(validation)" in leak)
    if what != "8 residues of a test chain":  # a short piece of which only chains are kept apart
        with pytest.raises(BetafoldError, match="split leak"):
            verify_split(together(dataset, [sequence], [cyclic]))


def test_what_is_let_through_can_be_trained_on(dataset, guard):
    """The check of finished data sets, made by other code, finds nothing in what the guard lets through."""
    rng = np.random.default_rng(2)
    train = [r for r in dataset.records if r.split == "train"]
    later = [r for r in dataset.records if r.split != "train"]
    sequences, cyclic = [], []
    for n in range(150):
        record = (later if n % 3 == 0 else train)[rng.integers(len(later if n % 3 == 0 else train))]
        length = min(record.length, int(rng.integers(MIN_PEPTIDE, MAX_PEPTIDE + 1 if n % 5 else 80)))
        start = int(rng.integers(0, record.length - length + 1))
        sequence = record.sequence[start : start + length]
        sequences.append(mutated(sequence, rng, int(rng.integers(0, length))))
        cyclic.append(n % 7 == 0 and length <= MAX_PEPTIDE)
    leaks = guard.leaks(sequences, cyclic)
    through = [n for n, leak in enumerate(leaks) if leak is None]
    assert 30 < len(through) < 140  # of both there are enough to mean something
    verify_split(together(dataset, [sequences[n] for n in through], [cyclic[n] for n in through]))
    # In company or alone: the same.
    for n in range(0, 150, 37):
        assert (guard.leaks([sequences[n]], [cyclic[n]])[0] is None) == (leaks[n] is None)


def test_a_sequence_with_an_experimental_structure_is_known(dataset, guard):
    chain = dataset.chains("train")[0].sequence
    ring = next(record for record in dataset.peptides("train") if record.cyclic).sequence
    assert guard.is_known(chain[5:25], False) and guard.is_known(rotations(ring)[3], True)
    assert guard.is_known(rotations(ring)[3], False)  # of an open piece of a ring there is one, too
    assert not guard.is_known(mutated(chain[5:25], np.random.default_rng(0), 1), False)
    assert not guard.is_known(
        dataset.chains("train")[0].sequence[-6:] + dataset.chains("train")[1].sequence[:6], False
    )
    assert not guard.is_known(dataset.chains("test")[0].sequence[:20], False)


def test_nothing_to_check(guard):
    assert guard.leaks([], []) == []


def test_a_guard_is_of_experimental_data(dataset):
    with pytest.raises(BetafoldError, match="names a distilled data set"):
        LeakageCheck(dataclasses.replace(dataset, origin="distilled"), "a" * 64)
