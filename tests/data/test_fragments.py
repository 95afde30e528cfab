from collections import Counter

import numpy as np
import pytest
from data_helpers import random_letters, spread

from betafold_mlx.data import fragments as module
from betafold_mlx.data.fragments import as_target, as_windows, cut_fragments, matching
from betafold_mlx.data.identity import rotations
from betafold_mlx.data.scan import min_matches
from betafold_mlx.data.store import Record
from betafold_mlx.peptide.sequence import TRAINED_LENGTHS


@pytest.fixture
def rng():
    return np.random.default_rng(21)


def record(sequence, split="train", kind="chain", cyclic=False, cluster=0):
    return Record(
        sequence[:8], sequence, kind, cyclic, (), False, None, None, None, None, None, cluster, split, 0, len(sequence)
    )  # fmt: skip


def test_rings_are_sought_in_all_rotations_and_in_past_their_seam():
    ring = record("ACDEFGHIKL", kind="free", cyclic=True)
    windows, owners = as_windows([record("WWWWYYYYVVVV", kind="free"), ring])
    assert windows == ["WWWWYYYYVVVV", *rotations("ACDEFGHIKL")] and owners.tolist() == [0] + [1] * 10
    assert all(turned in as_target(ring) for turned in rotations("ACDEFGHIKL"))
    assert as_target(record("ACDEFGHIKL")) == "ACDEFGHIKL"


def test_a_fragment_matches_by_what_it_holds_and_by_what_holds_it(rng):
    fragment = random_letters(rng, 30)
    # ten residues of it, eight of which stay: too few to notice from the fragment's side
    inside = fragment[9:19]
    assert min_matches(10) == 8 < min_matches(30)
    near = spread(inside, 8)
    around = random_letters(rng, 40) + spread(fragment, min_matches(30)) + random_letters(rng, 40)
    turned = inside[5:] + inside[:5]
    assert matching([fragment], [record(near, kind="free")]).tolist() == [True]
    assert matching([fragment], [record(turned, kind="free", cyclic=True)]).tolist() == [True]
    assert matching([fragment], [record(turned, kind="free")]).tolist() == [False]
    assert matching([fragment, random_letters(rng, 30)], [record(around)]).tolist() == [True, False]
    assert matching([fragment], []).tolist() == [False] and matching([], [record(near)]).tolist() == []


@pytest.mark.parametrize(
    ("known_in", "reason", "left"),
    [("train", "like training", set()), ("validation", "like validation", {"validation"}), ("test", None, {"test"})],
)  # fmt: skip
def test_windows_known_to_an_earlier_split_are_dropped(known_in, reason, left, rng):
    """Two chains are nearly the same; the first is in `known_in`, the second in test."""
    chain = random_letters(rng, 150)
    records = [record(chain, known_in, cluster=1), record(chain[:70] + "WW" + chain[72:], "test", cluster=2)]
    found, dropped = cut_fragments(records, np.random.default_rng(0))
    assert {fragment.split for fragment in found} == left
    assert dropped == {r: 0 if r != reason else dropped[r] for r in ("like training", "like validation")}
    assert reason is None or dropped[reason] >= 3


def test_windows_are_spread_over_chains_and_clusters(monkeypatch, rng):
    records = [record(random_letters(rng, 1000), "test", cluster=1) for _ in range(8)]
    records += [record(random_letters(rng, 1000), "test", cluster=2 + n) for n in range(6)]
    records.append(record(random_letters(rng, 12), "test", cluster=50))  # room for one short window
    records.append(record(random_letters(rng, 20), "test", kind="free", cluster=60))  # a peptide is not cut
    found, _ = cut_fragments(records, np.random.default_rng(0))
    clusters = Counter(fragment.cluster for fragment in found)
    assert max(Counter(fragment.record for fragment in found).values()) == module.MAX_PER_CHAIN
    assert clusters[1] == module.MAX_PER_CLUSTER and all(
        clusters[2 + n] == module.MAX_PER_CHAIN for n in range(6)
    )
    assert clusters[60] == 0
    monkeypatch.setattr(module, "GOALS", {"test": 7})
    few, _ = cut_fragments(records, np.random.default_rng(0))
    assert Counter(fragment.cluster for fragment in few) == dict.fromkeys(range(1, 8), 1)


def test_lengths_and_places_are_spread(rng):
    records = [record(random_letters(rng, 100), "validation", cluster=n) for n in range(300)]
    found, _ = cut_fragments(records, np.random.default_rng(0))
    shortest, longest = TRAINED_LENGTHS
    assert set(range(shortest, longest + 1)) == {fragment.length for fragment in found}
    starts = [fragment.start / (100 - fragment.length) for fragment in found]
    assert min(starts) == 0 and max(starts) == 1 and 0.45 < np.mean(starts) < 0.55
    assert found == sorted(found, key=lambda fragment: (fragment.record, fragment.start))
