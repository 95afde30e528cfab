import dataclasses
import json

import numpy as np
import pytest
from synthetic import make_dataset

from betafold_mlx.data.store import (
    ARRAYS_FILE,
    DATASET_FILE,
    Dataset,
    Fragment,
    dataset_sha256,
    is_dataset,
    is_peptide,
)
from betafold_mlx.errors import BetafoldError


@pytest.fixture(scope="module")
def dataset():
    return make_dataset(seed=3, chains=3, peptides=4)


@pytest.fixture
def saved(dataset, tmp_path):
    dataset.save(tmp_path / "ds", "a report\n")
    return tmp_path / "ds"


def test_a_saved_data_set_comes_back_bit_for_bit(dataset, saved):
    loaded = Dataset.load(saved)
    assert loaded.records == dataset.records and loaded.fragments == dataset.fragments
    for name in ("coordinates", "torsions", "torsion_mask"):
        one, other = getattr(loaded, name), getattr(dataset, name)
        assert one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    assert (saved / "report.txt").read_text() == "a report\n"
    assert is_dataset(saved) and sorted(p.name for p in saved.iterdir()) == [
        ARRAYS_FILE, DATASET_FILE, "report.txt"
    ]  # fmt: skip


def test_the_same_data_give_the_same_bytes_and_name(dataset, saved, tmp_path):
    dataset.save(tmp_path / "again", "a report\n")
    for name in (ARRAYS_FILE, DATASET_FILE, "report.txt"):
        assert (saved / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert dataset_sha256(saved) == dataset_sha256(tmp_path / "again")
    other = dataclasses.replace(dataset, fragments=dataset.fragments[1:])
    other.save(tmp_path / "again")
    assert dataset_sha256(saved) != dataset_sha256(tmp_path / "again")


def test_splits_and_roles(dataset):
    for split in ("train", "validation", "test"):
        peptides, chains = dataset.peptides(split), dataset.chains(split)
        assert len(peptides) == 4 and len(chains) == 3
        assert {record.split for record in peptides + chains} == {split}
    fragment = dataset.fragments[0]
    start = fragment.start
    sequence = dataset.records[fragment.record].sequence
    assert dataset.fragment_sequence(fragment) == sequence[start : start + fragment.length]


@pytest.mark.parametrize(
    ("kind", "length", "expected"),
    [("free", 8, True), ("oligomer", 50, True), ("unknown", 20, True), ("mhc_bound", 8, True),
     ("bound", 51, False), ("free", 7, False), ("segment", 20, False), ("chain", 31, False)],
)  # fmt: skip
def test_what_a_peptide_is(kind, length, expected):
    assert is_peptide(kind, length) is expected


def damaged(saved, change):
    document = json.loads((saved / DATASET_FILE).read_text())
    change(document)
    (saved / DATASET_FILE).write_text(json.dumps(document))


DAMAGES = {
    "another format": lambda d: d.update(format="other"),
    "a later schema": lambda d: d.update(schema_version=99),
    "no records": lambda d: d.pop("records"),
    "a record less": lambda d: d["records"].pop(),
    "a letter more": lambda d: d["records"][2].update(sequence=d["records"][2]["sequence"] + "A"),
    "an unknown residue": lambda d: d["records"][2].update(sequence="B" + d["records"][2]["sequence"][1:]),
    "another start": lambda d: d["records"][1].update(start=1),
    "an unknown split": lambda d: d["records"][1].update(split="extra"),
    "an unknown field": lambda d: d["records"][0].update(colour="red"),
    "a field less": lambda d: d["records"][0].pop("kind"),
    "a disulfide outside": lambda d: d["records"][0].update(disulfides=[[1, 500]]),
    "a disulfide of three": lambda d: d["records"][0].update(disulfides=[[1, 2, 3]]),
    "a number for a sequence": lambda d: d["records"][0].update(sequence=5),
    "records that are text": lambda d: d.update(records="text"),
    "a fragment outside": lambda d: d["fragments"][0].update(start=400),
    "a fragment of no record": lambda d: d["fragments"][0].update(record=-1),
    "a fragment of train": lambda d: d["fragments"][0].update(record=0),
    "a fragment with text": lambda d: d["fragments"][0].update(start="x"),
    "no report": lambda d: d.update(report=None),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_document_is_one_clear_line(saved, name):
    damaged(saved, DAMAGES[name])
    with pytest.raises(BetafoldError) as error:
        Dataset.load(saved)
    assert "\n" not in str(error.value) and str(saved) in str(error.value)


def replaced(dataset, name, index, value):
    array = getattr(dataset, name).copy()
    array[index] = value
    return dataclasses.replace(dataset, **{name: array})


@pytest.mark.parametrize(
    ("name", "index", "value", "message"),
    [
        ("coordinates", (5, 1, 2), np.nan, "NaN"),
        ("torsions", (5, 1), np.inf, "NaN or infinite"),
        ("torsion_mask", (0, 0), True, "not masked"),
        ("torsion_mask", (-1, 1), True, "not masked"),
        ("torsion_mask", (-1, 2), True, "not masked"),
    ],
)
def test_impossible_arrays_are_refused(dataset, tmp_path, name, index, value, message):
    replaced(dataset, name, index, value).save(tmp_path / "ds")
    with pytest.raises(BetafoldError, match=message):
        Dataset.load(tmp_path / "ds")


def test_an_unmasked_end_between_two_records_is_refused(dataset, tmp_path):
    first, second = dataset.records[:2]
    for row, torsion in ((second.start, 0), (first.length - 1, 1), (first.length - 1, 2)):
        replaced(dataset, "torsion_mask", (row, torsion), True).save(tmp_path / "ds")
        with pytest.raises(BetafoldError, match="not masked"):
            Dataset.load(tmp_path / "ds")


@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.999])
@pytest.mark.parametrize("name", [ARRAYS_FILE, DATASET_FILE])
def test_a_truncated_file_is_refused(saved, name, share):
    content = (saved / name).read_bytes()
    (saved / name).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(BetafoldError, match=r"not whole|damaged|does not describe"):
        Dataset.load(saved)


def test_missing_and_foreign_folders(saved, tmp_path):
    with pytest.raises(BetafoldError, match="no data set at"):
        Dataset.load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BetafoldError, match="no data set at"):
        Dataset.load(tmp_path / "empty")
    assert not is_dataset(tmp_path / "empty") and not is_dataset(tmp_path / "nowhere")
    with pytest.raises(BetafoldError, match="cannot read"):
        dataset_sha256(tmp_path / "empty")
    (saved / ARRAYS_FILE).unlink()
    with pytest.raises(BetafoldError, match="cannot read"):
        Dataset.load(saved)
    for content in (b"\xff\xfe\x00binary", b"[]", b"[" * 100_000, b"3"):
        (saved / DATASET_FILE).write_bytes(content)
        with pytest.raises(BetafoldError, match=r"not whole JSON|does not describe"):
            Dataset.load(saved)
        assert not is_dataset(saved)


def test_a_truncated_data_set_is_still_known_as_one(saved):
    document = saved / DATASET_FILE
    document.write_bytes(document.read_bytes()[:200])
    assert is_dataset(saved)


def test_save_replaces_whole_and_leaves_nothing_behind(dataset, saved, tmp_path):
    bad = dataclasses.replace(dataset, report={"figure": float("nan")})
    with pytest.raises(ValueError, match="JSON"):
        bad.save(saved)
    assert Dataset.load(saved).records == dataset.records
    assert [path.name for path in tmp_path.iterdir()] == ["ds"]


def test_a_fragment_is_checked_against_its_chain(dataset, tmp_path):
    chain = next(n for n, r in enumerate(dataset.records) if r.split == "test" and not r.is_peptide)
    record = dataset.records[chain]
    last = Fragment(chain, record.length - 10, 10, "test", record.cluster)
    dataclasses.replace(dataset, fragments=[last]).save(tmp_path / "ds")
    assert Dataset.load(tmp_path / "ds").fragments == [last]
    for wrong in ({"start": last.start + 1}, {"cluster": -1}, {"split": "validation"}, {"length": 0}):
        dataclasses.replace(dataset, fragments=[dataclasses.replace(last, **wrong)]).save(tmp_path / "ds")
        with pytest.raises(BetafoldError, match="fragment"):
            Dataset.load(tmp_path / "ds")


def test_records_that_overlap_are_refused(saved):
    """Two records of one length with one range of rows: nothing else would notice."""
    damaged(saved, lambda d: d["records"][1].update(start=0))
    with pytest.raises(BetafoldError, match=r"record train1 does not fit its rows"):
        Dataset.load(saved)
