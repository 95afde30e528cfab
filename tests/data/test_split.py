from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from betafold_mlx.data.split import (
    CHAIN_SHARES,
    KIND_CLASSES,
    PEPTIDE_SHARES,
    chain_components,
    connected_components,
    split_chains,
    split_peptides,
)
from betafold_mlx.data.store import SPLITS

quick = settings(max_examples=80, derandomize=True, deadline=None)
KINDS = ["free", "oligomer", "bound", "mhc_bound", "unknown"]


def flood(count, pairs):
    """Components by following links from each node."""
    labels = [-1] * count
    for first in range(count):
        if labels[first] == -1:
            group, label = [first], max(labels, default=-1) + 1
            while group:
                node = group.pop()
                labels[node] = label
                group += [b for p in pairs for a, b in (p, p[::-1]) if a == node and labels[b] == -1]
    return labels


@quick
@given(st.integers(1, 12), st.data())
def test_components_are_those_of_following_the_links(count, data):
    node = st.integers(0, count - 1)
    pairs = data.draw(st.lists(st.tuples(node, node), max_size=15))
    found = connected_components(count, np.array(pairs, dtype=np.int64).reshape(-1, 2))
    assert found.tolist() == flood(count, pairs)


def test_chains_are_linked_by_words_and_by_source_clusters():
    word = "ACDEFGHI"
    sequences = [
        "K" * 5 + word + "LLLL", "W" * 9 + word, "M" * 20, "N" * 20, "P" * 20, "GHI" + "R" * 9 + "ACDEF"
    ]  # fmt: skip
    source = [None, None, 7, 7, None, None]
    linear = chain_components(sequences, [False] * 6, source)
    assert linear.tolist() == [0, 0, 1, 1, 2, 3]
    ring = chain_components(sequences, [False] * 5 + [True], source)
    assert ring.tolist() == [0, 0, 1, 1, 2, 0]


def assert_whole(clusters, splits):
    of = defaultdict(set)
    for cluster, split in zip(clusters, splits, strict=True):
        of[cluster].add(split)
    assert all(len(found) == 1 for found in of.values())
    assert set(splits) <= set(SPLITS)


@quick
@given(st.lists(st.tuples(st.integers(0, 15), st.sampled_from(KINDS)), max_size=60), st.integers(0, 5))
def test_a_cluster_of_peptides_lies_in_one_split(peptides, seed):
    labels = np.unique([c for c, _ in peptides], return_inverse=True)[1].astype(np.int64)
    kinds = [kind for _, kind in peptides]
    splits = split_peptides(labels, kinds, np.random.default_rng(seed))
    assert len(splits) == len(peptides)
    assert_whole(labels.tolist(), splits)
    assert splits == split_peptides(labels, kinds, np.random.default_rng(seed))


@quick
@given(st.lists(st.integers(0, 15), max_size=60), st.integers(0, 5))
def test_a_component_of_chains_lies_in_one_split(components, seed):
    labels = np.unique(components, return_inverse=True)[1].astype(np.int64)
    splits = split_chains(labels, np.random.default_rng(seed))
    assert_whole(labels.tolist(), splits)
    assert splits == split_chains(labels, np.random.default_rng(seed))


def test_peptides_are_shared_out_class_by_class():
    """Clusters of one or two peptides: every class comes out within two peptides of its shares."""
    rng = np.random.default_rng(0)
    clusters = np.unique(rng.integers(0, 250, size=300), return_inverse=True)[1].astype(np.int64)
    of_cluster = rng.choice(KINDS, size=clusters.max() + 1)
    kinds = [str(of_cluster[c]) for c in clusters]
    splits = split_peptides(clusters, kinds, np.random.default_rng(1))
    totals = Counter(KIND_CLASSES.get(kind, kind) for kind in kinds)
    assert set(totals) == {"free", "bound", "mhc_bound", "unknown"}
    for kind, total in totals.items():
        for split, share in zip(SPLITS, PEPTIDE_SHARES, strict=True):
            count = sum(
                k == kind
                for k, s in zip((KIND_CLASSES.get(k, k) for k in kinds), splits, strict=True)
                if s == split
            )
            assert abs(count - share * total) <= 2.5


def test_large_clusters_go_to_train():
    clusters = np.array([0] * 30 + [1] * 11 + list(range(2, 61)), dtype=np.int64)
    for seed in range(5):
        splits = split_peptides(clusters, ["free"] * 100, np.random.default_rng(seed))
        assert set(splits[:41]) == {"train"}
        assert Counter(splits)["test"] == 30 and Counter(splits)["validation"] == 15
    components = np.array([0] * 400 + [1] * 3 + list(range(2, 599)), dtype=np.int64)
    for seed in range(5):
        splits = split_chains(components, np.random.default_rng(seed))
        assert set(splits[:403]) == {"train"}
        for split, share in zip(SPLITS, CHAIN_SHARES, strict=True):
            assert Counter(splits)[split] == pytest.approx(share * 1000, abs=2)


def test_the_seed_matters():
    clusters, kinds = np.arange(40), ["free"] * 40
    peptides = {tuple(split_peptides(clusters, kinds, np.random.default_rng(seed))) for seed in range(4)}
    chains = {tuple(split_chains(clusters, np.random.default_rng(seed))) for seed in range(4)}
    assert len(peptides) == len(chains) == 4


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_records(count):
    labels = np.arange(count)
    assert len(split_peptides(labels, ["free"] * count, np.random.default_rng(0))) == count
    assert split_chains(labels, np.random.default_rng(0)) == ["train"] * count
