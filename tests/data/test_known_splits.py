"""Splits that are kept from another data set: nothing of its train split comes into a later one."""

import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest
from data_helpers import backbone, entry_names, mutated, random_letters, write

from betafold_mlx.data.build import build_dataset
from betafold_mlx.data.known_splits import KnownSplits, entry_list
from betafold_mlx.data.store import SPLITS
from betafold_mlx.errors import BetafoldError
from betafold_mlx.structure.entry import read_entry_list

MINI = Path(__file__).resolve().parents[2] / "weights" / "betafold-mini"
SOURCES = ("peptides", "peptides-more", "chains", "chains-culled-1", "chains-culled-2", "chains-extra")
"""Files that the data set of the bundled model is built of."""
FAMILIES = 60
SHA256 = "5" * 64


def relatives(rng, seed_sequences, entries, tag):
    """Records f0 to f59 of families that begin with the given sequences; half are peptides, half chains."""
    records = []
    for family, (sequence, entry) in enumerate(zip(seed_sequences, entries, strict=True)):
        kind = "free" if len(sequence) < 33 else "chain"
        records.append(backbone(f"f{family}_{tag}", mutated(sequence, rng, 1), kind, pdb=entry))
    return records


def family(record):
    return int(re.fullmatch(r"f(\d+)_\w+", record.id)[1])


def families(dataset, *splits):
    return {family(record) for record in dataset.records if record.split in splits}


@pytest.fixture(scope="module")
def sequences():
    rng = np.random.default_rng(5)
    return [
        random_letters(rng, int(rng.integers(20, 33) if n % 2 else rng.integers(60, 90)))
        for n in range(FAMILIES)
    ]


@pytest.fixture(scope="module")
def old(sequences, tmp_path_factory):
    records = relatives(np.random.default_rng(1), sequences, entry_names(FAMILIES), "old")
    return build(tmp_path_factory.mktemp("old"), records, seed=1)


def build(folder, records, seed, known=None):
    dataset, failed = build_dataset([write(folder / "records.jsonl", records)], seed, known=known)
    assert not failed
    return dataset


@pytest.fixture(scope="module")
def newer(sequences):
    """The same entries with slightly other sequences, relatives of them in new entries or in none, and strangers."""
    rng = np.random.default_rng(2)
    names = entry_names(FAMILIES)
    records = relatives(rng, sequences, [f"PDB_0000{name.upper()}" for name in names], "new")
    records += relatives(rng, sequences, [f"2{name[1:]}" for name in names], "relative")
    records += relatives(rng, sequences, [None, "AF-P69905-F1"] * (FAMILIES // 2), "model")
    strangers = [random_letters(rng, 80) for _ in range(10)]
    records += [
        backbone(f"f{1000 + n}_stranger", letters, "chain", pdb=f"3aa{n}")
        for n, letters in enumerate(strangers)
    ]
    return [records[n] for n in rng.permutation(len(records))]


def test_nothing_of_the_old_train_split_is_in_a_later_one(old, newer, tmp_path):
    new = build(tmp_path, newer, seed=9, known=KnownSplits.of(old, SHA256))
    for split in SPLITS:
        assert {n for n in families(new, split) if n < 1000} == families(old, split)
        assert len(families(old, split)) > 1
    assert {n for n in families(new, *SPLITS) if n >= 1000} <= families(new, "train")
    assert new.report["splits_of"] == SHA256

    free = build(tmp_path, newer, seed=9)  # what would have happened
    assert families(free, "test") & families(old, "train") and "splits_of" not in free.report


def test_a_family_goes_where_its_earliest_member_was(old, newer, tmp_path):
    """A family of the old test split gets a member in an entry whose chains were trained on: train it is."""
    trained = next(r for r in old.records if r.split == "train" and not r.is_peptide)
    tested = next(r for r in old.records if r.split == "test" and not r.is_peptide)
    more = backbone(f"f{family(tested)}_more", tested.sequence + "W", "chain", pdb=trained.pdb)
    new = build(tmp_path, [*newer, more], seed=9, known=KnownSplits.of(old, SHA256))
    assert family(tested) in families(new, "train") and family(tested) not in families(new, "test")


def test_peptides_and_chains_of_an_entry_are_told_apart(tmp_path):
    rng = np.random.default_rng(8)
    letters = [random_letters(rng, 20) for _ in range(2)] + [random_letters(rng, 70) for _ in range(2)]
    records = [
        backbone("f0_x", letters[0], pdb="1aaa"), backbone("f1_x", letters[1], pdb="1bbb"),
        backbone("f2_x", letters[2], "chain", pdb="1aaa"), backbone("f3_x", letters[3], "chain", pdb="1bbb"),
    ]  # fmt: skip
    splits = {
        ("1aaa", True): "test",
        ("1aaa", False): "train",
        ("1bbb", True): "train",
        ("1bbb", False): "validation",
    }
    new = build(tmp_path, records, 0, KnownSplits(SHA256, splits))
    assert [record.split for record in new.records] == ["test", "train", "train", "validation"]


def test_splits_of_other_entries_are_refused(newer, tmp_path):
    with pytest.raises(BetafoldError, match="have none of the PDB entries"):
        build(tmp_path, newer, 0, KnownSplits(SHA256, {("9xyz", True): "test"}))


def test_a_list_comes_back_as_it_was(old, tmp_path):
    known = KnownSplits.of(old, SHA256)
    assert known.entries == sorted(entry_names(FAMILIES)) and len(known.splits) == FAMILIES
    path = tmp_path / "splits.txt"
    path.write_text(known.text())
    assert KnownSplits.read(path) == known
    assert read_entry_list(entry_list(old, SHA256).splitlines()) == (known.entries, [])


def test_an_entry_in_several_splits_is_listed_with_the_earliest(tmp_path):
    rng = np.random.default_rng(3)
    records = [backbone(f"f{n}_x", random_letters(rng, 70), "chain", pdb="1aaa") for n in range(40)]
    built = build(tmp_path, records, 0)
    assert {record.split for record in built.records} == set(SPLITS)
    for order in (built.records, built.records[::-1]):
        built.records[:] = order
        assert KnownSplits.of(built, SHA256).splits == {("1aaa", False): "train"}


TITLE = f"# betafold splits 1, of the data set {SHA256}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a list of splits"),
        ("1aaa - train\n", "is not a list of splits"),
        ("# betafold splits 2, of the data set " + SHA256, "is not a list of splits"),
        (TITLE + "\n1aaa - train\n1aab train\n", "line 4 is not an entry and two splits"),
        (TITLE + "1aaa - training\n", "line 2 is not an entry and two splits"),
        (TITLE + "xaaa - train\n", "'xaaa' is not a PDB id"),
    ],
)
def test_what_is_no_list_of_splits(tmp_path, text, message):
    path = tmp_path / "splits.txt"
    path.write_text(text)
    with pytest.raises(BetafoldError, match=message):
        KnownSplits.read(path)
    with pytest.raises(BetafoldError, match="cannot read"):
        KnownSplits.read(tmp_path / "nothing")


def test_the_lists_of_the_bundled_model_are_of_its_data_set():
    known = KnownSplits.read(MINI / "splits.txt")
    text = (MINI / "pdb_ids.txt").read_text()
    entries, problems = read_entry_list(text.splitlines())
    trained_on = json.loads((MINI / "config.json").read_text())["training"]["dataset_sha256"]
    assert not problems and entries == sorted(set(entries)) == known.entries
    assert known.dataset == trained_on and trained_on in text
    assert f"The {len(entries):,} PDB entries" in text


@pytest.mark.slow
def test_the_lists_of_the_bundled_model_name_its_sources(shared_data):
    """All but 285, whose records were left out: duplicates, chains with an evaluation peptide, bad records."""
    found = set()
    for name in SOURCES:
        with gzip.open(shared_data / f"{name}.jsonl.gz", "rb") as lines:
            found |= {re.search(rb'"pdb": ?"(\w+)"', line)[1].decode().lower() for line in lines}
    entries = set(KnownSplits.read(MINI / "splits.txt").entries)
    assert entries < found and len(found - entries) == 285
