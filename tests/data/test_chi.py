"""Side-chain angles in data sets."""

import dataclasses
import json

import numpy as np
import pytest
from data_helpers import backbone, mutated, random_backbones, write
from synthetic import make_dataset

from betafold_mlx.data.build import build_dataset
from betafold_mlx.data.store import Dataset
from betafold_mlx.data.summary import format_report
from betafold_mlx.data.windows import cut_window, turned, whole_window
from betafold_mlx.errors import BetafoldError
from betafold_mlx.structure.jsonl import read_backbones, read_chi


def chi_of(sequence, seed=0):
    """Random tenths of a degree, some of them unknown."""
    rng = np.random.default_rng([seed, len(sequence)])
    known = rng.random(4 * len(sequence)) < 0.6
    return [int(rng.integers(-1800, 1801)) if there else None for there in known]


def radians(tenths):
    return np.radians([np.nan if each is None else each / 10 for each in tenths]).reshape(-1, 4)


def chi_file(path, entries):
    lines = [json.dumps({"id": name, "seq": sequence, "chi": chi_of(sequence)}) for name, sequence in entries]
    path.write_text("\n".join(lines) + "\n")
    return path


def same_angles(one, other):
    off = one - other
    return np.array_equal(np.isnan(one), np.isnan(other)) and np.nanmax(np.abs(np.sin(off / 2))) < 1e-5


@pytest.fixture(scope="module")
def records():
    return random_backbones(peptides=12, chains=12)


def test_angles_come_from_the_record_and_from_a_file_apart(tmp_path, records):
    angles = radians(chi_of(records[1].sequence)).astype(np.float32)
    records = [records[0], dataclasses.replace(records[1], chi=angles), *records[2:]]
    source = write(tmp_path / "records.jsonl", records)
    assert same_angles(list(read_backbones(source))[1].chi, angles)
    other = mutated(records[3].sequence, np.random.default_rng(0), 2)
    entries = [(records[0].id, records[0].sequence), (records[3].id, other), ("nowhere", "ACDE")]
    built, failed = build_dataset([source], chi=chi_file(tmp_path / "chi.jsonl", entries))
    assert failed == []
    for number, record in enumerate(built.records):
        found = built.chi[record.start : record.start + record.length]
        if number < 2:
            assert same_angles(found, radians(chi_of(record.sequence)))
        else:
            assert np.isnan(found).all()
    known = int(np.isfinite(built.chi[:, 0]).sum())
    assert f"side chains: chi1 of {known} residues\n" in format_report(built.report)
    assert built.report["dropped"] == {"side chains of another sequence": 1}
    assert built.report["dropped_records"][0][0] == f"chi.jsonl: {records[3].id}"


def test_a_data_set_keeps_its_angles_and_may_have_none(tmp_path):
    dataset = make_dataset(chains=2, peptides=2)
    dataset.save(tmp_path / "none")
    assert Dataset.load(tmp_path / "none").chi is None
    angles = np.random.default_rng(0).uniform(-3, 3, (len(dataset.coordinates), 4)).astype(np.float32)
    angles[::3] = np.nan
    dataclasses.replace(dataset, chi=angles).save(tmp_path / "some")
    assert Dataset.load(tmp_path / "some").chi.tobytes() == angles.tobytes()
    for bad in (angles[1:], angles.astype(np.float64), np.where(np.isnan(angles), np.inf, angles)):
        dataclasses.replace(dataset, chi=bad).save(tmp_path / "bad")
        with pytest.raises(BetafoldError, match="chi does not fit"):
            Dataset.load(tmp_path / "bad")


def test_windows_have_the_angles_of_their_residues():
    dataset = make_dataset(chains=2, peptides=2)
    rows = np.arange(len(dataset.coordinates), dtype=np.float32)
    dataset = dataclasses.replace(dataset, chi=np.repeat(rows[:, None], 4, axis=1))
    chain, peptide = dataset.chains("train")[0], dataset.peptides("train")[0]
    assert cut_window(dataset, chain, 5, 9).chi[:, 0].tolist() == [chain.start + 5 + n for n in range(9)]
    ring = turned(whole_window(dataset, peptide), 3).chi[:, 2]
    assert ring.tolist() == [peptide.start + (n + 3) % peptide.length for n in range(peptide.length)]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"id": "x", "seq": "AC", "chi": [1] * 7}, "'chi' must be 8 tenths"),
        ({"id": "x", "seq": "AC", "chi": ["1"] * 8}, "'chi' must be 8 tenths"),
        ({"id": "x", "seq": "AC", "chi": [36000] * 8}, "'chi' must be 8 tenths"),
        ({"id": "x", "seq": "AC"}, "'chi' must be 8 tenths"),
        ({"seq": "AC", "chi": [1] * 8}, "'id' must be"),
        ([], "not a JSON object"),
    ],
)
def test_a_bad_file_of_angles_is_refused(tmp_path, record, reason):
    path = tmp_path / "chi.jsonl"
    path.write_text(json.dumps(record) + "\n")
    with pytest.raises(BetafoldError, match=f"line 1: {reason}"):
        read_chi(path)


def test_what_resembles_other_peptides_is_left_out(tmp_path, records):
    rng = np.random.default_rng(5)
    ring = next(record for record in records if record.cyclic)
    chain = next(record for record in records if record.kind == "chain")
    turned_ring = ring.sequence[4:] + ring.sequence[:4]
    apart = [
        backbone("ring", turned_ring, cyclic=True),
        backbone("inside", mutated(chain.sequence[20:45], rng, 3)),
    ]
    built, _ = build_dataset(
        [write(tmp_path / "records.jsonl", records)], apart_from=[write(tmp_path / "apart.jsonl", apart)]
    )
    left_out = {name: (reason, other) for name, reason, other in built.report["dropped_records"]}
    assert left_out == {
        ring.id: ("like what is left out", "ring"),
        chain.id: ("like what is left out", "inside"),
    }
    with pytest.raises(BetafoldError, match="peptides of up to 50"):
        build_dataset([tmp_path / "records.jsonl"], apart_from=[write(tmp_path / "long.jsonl", [chain])])
    with pytest.raises(BetafoldError, match="nothing"):
        build_dataset([tmp_path / "records.jsonl"], apart_from=[tmp_path / "nothing.jsonl"])
