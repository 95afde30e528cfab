"""Which structures of a data set are scored, and in which groups."""

import dataclasses

import numpy as np
import pytest
from evaluate_helpers import make_item
from synthetic import make_dataset

from betafold_mlx.data.store import Fragment
from betafold_mlx.evaluate.groups import group_items
from betafold_mlx.evaluate.items import split_items


def test_items_are_the_fragments_then_the_peptides_of_the_split():
    dataset = make_dataset()
    items = split_items(dataset, "validation")
    fragments = [fragment for fragment in dataset.fragments if fragment.split == "validation"]
    assert [item.kind == "fragment" for item in items] == [True] * len(fragments) + [False] * 6
    assert len({item.id for item in items}) == len(items)
    for item, fragment in zip(items, fragments, strict=False):
        record = dataset.records[fragment.record]
        first = record.start + fragment.start
        assert item.id == f"{record.id}_{fragment.start + 1}-{fragment.start + fragment.length}"
        assert item.peptide.sequence == dataset.fragment_sequence(fragment)
        np.testing.assert_array_equal(item.coordinates, dataset.coordinates[first : first + fragment.length])
        assert item.cluster == fragment.cluster and not item.peptide.cyclic
    for item, record in zip(items[len(fragments) :], dataset.peptides("validation"), strict=True):
        assert (item.id, item.kind, item.peptide.cyclic) == (record.id, record.kind, record.cyclic)
        assert item.peptide.sequence == record.sequence and len(item.coordinates) == len(item)


def test_a_fragment_keeps_the_disulfides_inside_it_and_renumbers_them():
    dataset = make_dataset()
    index = next(
        n for n, record in enumerate(dataset.records) if record.split == "test" and record.length >= 40
    )
    records = list(dataset.records)
    #                                                     inside  ends at both edges  reaches out
    records[index] = dataclasses.replace(records[index], disulfides=((12, 15), (11, 30), (10, 20), (25, 31)))
    changed = dataclasses.replace(dataset, records=records, fragments=[Fragment(index, 10, 20, "test", 3)])
    assert split_items(changed, "test")[0].peptide.disulfides == ((1, 20), (2, 5))


def test_limit_takes_some_of_each_kind_evenly():
    dataset = make_dataset(chains=8, peptides=9)
    items = split_items(dataset, "test")
    few = split_items(dataset, "test", limit=2)
    kinds = [item.kind for item in few]
    assert sorted(kinds) == ["bound"] * 2 + ["fragment"] * 2 + ["free"] * 2 + ["mhc_bound"] * 2
    fragments = [item.id for item in items if item.kind == "fragment"]
    assert [item.id for item in few if item.kind == "fragment"] == [fragments[0], fragments[4]]
    assert [item.id for item in split_items(dataset, "test", limit=100)] == [item.id for item in items]


@pytest.fixture
def zoo():
    knot = ((1, 5), (2, 6))
    return {
        "a": make_item(kind="fragment", length=10),
        "b": make_item(kind="fragment", length=15),
        "c": make_item(kind="fragment", length=16),
        "d": make_item(kind="fragment", length=30),
        "e": make_item(kind="free"),
        "f": make_item(kind="free", sequence="CCAACCAAAA", disulfides=knot),
        "g": make_item(kind="free", sequence="CCAACCAAAA", disulfides=knot, cyclic=True),
        "h": make_item(kind="free", sequence="CAAACAAAAA", disulfides=((1, 5),)),
        "i": make_item(kind="oligomer"),
        "j": make_item(kind="bound", cyclic=True),
        "k": make_item(kind="mhc_bound"),
        "l": make_item(kind="segment"),
        "m": make_item(kind="free", sequence="GGAGGAGGAG", cyclic=True),
    }


def test_groups(zoo):
    names = list(zoo)
    found = {
        group: "".join(names[index] for index in members)
        for group, members in group_items(list(zoo.values())).items()
    }
    assert found == {
        "fragments": "abcd",
        "fragments 10-15": "ab",
        "fragments 16-22": "c",
        "fragments 23-30": "d",
        "peptides free+oligomer": "efghim",
        "peptides free": "efghm",
        "peptides free, cyclic": "gm",
        "peptides free, disulfide-rich": "fg",
        "peptides free, linear": "e",
        "peptides oligomer": "i",
        "peptides bound": "j",
        "peptides mhc_bound": "k",
        "segment": "l",
    }


def test_a_group_of_everything_comes_first_on_request(zoo):
    groups = group_items(list(zoo.values()), everything=True)
    assert next(iter(groups)) == "all" and len(groups["all"]) == len(zoo)
    assert group_items([], everything=True) == {}
