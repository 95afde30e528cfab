"""Template libraries of synthetic data sets: what becomes an entry, and with which numbers."""

import dataclasses

import numpy as np
import pytest
from synthetic import make_dataset

from betafold_mlx.data.store import Dataset
from betafold_mlx.data.template_library import (
    LEFT_OUT,
    MARGIN,
    MIN_ENTRY_LENGTH,
    build_template_library,
    stretches,
)
from betafold_mlx.errors import BetafoldError
from betafold_mlx.peptide.sequence import ALPHABET
from betafold_mlx.templates.chains import MAX_ENTRY_LENGTH
from betafold_mlx.templates.library import TemplateLibrary

DATASET = make_dataset(chains=30)


def with_records(dataset, change):
    """The data set with each record replaced by what `change` returns for it."""
    return dataclasses.replace(dataset, records=[change(record) for record in dataset.records])


def bonded(record, disulfides):
    """The record with these disulfides, and cysteines where they end."""
    letters = list(record.sequence.replace("C", "S"))
    for pair in disulfides:
        for residue in pair:
            letters[residue - 1] = "C"
    return dataclasses.replace(record, sequence="".join(letters), disulfides=tuple(disulfides))


def check(library, entry, dataset, record, start):
    """Compare an entry with the rows of its record."""
    rows = library.rows(entry)
    length = rows.stop - rows.start
    span = slice(record.start + start, record.start + start + length)
    assert library.sequence(entry) == record.sequence[start : start + length]
    ca = dataset.coordinates[span, 1].astype(float)
    np.testing.assert_allclose(library.ca[rows], ca - ca.mean(axis=0), rtol=2.0**-11, atol=1e-3)
    known = dataset.torsion_mask[span].copy()
    known[0, 0] = known[-1, 1:] = False  # what lies before and after is not in the entry
    np.testing.assert_array_equal(np.isnan(library.torsions[rows]), ~known)
    np.testing.assert_allclose(library.torsions[rows][known], dataset.torsions[span][known], atol=0.002)
    assert library.clusters[entry] == record.cluster


@pytest.mark.parametrize("splits", [("train",), ("validation", "test")])
def test_short_records_are_whole_entries(splits):
    library = build_template_library(DATASET, splits)
    wanted = [
        record
        for record in DATASET.records
        if record.split in splits and record.kind != "mhc_bound" and record.length <= MAX_ENTRY_LENGTH
    ]
    assert {record.kind for record in wanted} == {"free", "bound", "chain"}
    assert library.names == tuple(record.id for record in wanted)
    for entry, record in enumerate(wanted):
        check(library, entry, DATASET, record, 0)
        assert library.cyclic[entry] == record.cyclic
    assert library.cyclic.any() and not library.cyclic.all() and (library.partner == -1).all()


def test_kinds_and_lengths_that_are_left_out():
    assert "mhc_bound" in LEFT_OUT
    for kind in LEFT_OUT:
        with pytest.raises(BetafoldError, match="no peptides"):
            build_template_library(with_records(DATASET, lambda r, k=kind: dataclasses.replace(r, kind=k)))
    for length, count in ((MIN_ENTRY_LENGTH - 1, 0), (MIN_ENTRY_LENGTH, 1), (64, 1), (65, 0)):
        record = dataclasses.replace(DATASET.records[0], sequence="A" * length, length=length)
        assert list(stretches(record)) == [(0, length)] * count
    empty = Dataset([], *(np.zeros((0, *shape)) for shape in ((4, 3), (3,), (3,))), [])
    for dataset, splits in ((DATASET, ()), (empty, ("train",))):
        with pytest.raises(BetafoldError) as raised:
            build_template_library(dataset, splits)
        assert len(str(raised.value).splitlines()) == 1


def spans(length, disulfides):
    record = dataclasses.replace(DATASET.records[0], sequence="C" * length, length=length)
    return list(stretches(dataclasses.replace(record, disulfides=tuple(disulfides))))


def test_stretches_of_long_chains_by_hand():
    assert MARGIN == 4
    assert spans(100, []) == spans(100, [(20, 40)]) == []  # one disulfide makes no fold
    assert spans(100, [(20, 40), (25, 45)]) == [(15, 49)]
    assert spans(100, [(25, 45), (20, 40)]) == [(15, 49)]
    assert spans(100, [(3, 40), (5, 30)]) == [(0, 44)] and spans(100, [(80, 99), (85, 98)]) == [(75, 100)]
    assert spans(100, [(20, 75), (30, 40)]) == [(15, 79)]  # 64 residues
    assert spans(100, [(20, 76), (30, 40)]) == []  # the first is too wide, and the second alone
    assert spans(200, [(10, 30), (20, 40), (100, 120), (110, 130)]) == [(5, 44), (95, 134)]
    assert spans(200, [(10, 30), (50, 60)]) == []  # apart


def test_any_stretch_fits_and_holds_whole_disulfides():
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(300):
        ends = rng.choice(np.arange(1, 121), size=12, replace=False).reshape(6, 2)
        disulfides = [tuple(sorted(pair)) for pair in ends.tolist()]
        for start, stop in spans(120, disulfides):
            found += 1
            assert 0 <= start < stop <= 120 and stop - start <= MAX_ENTRY_LENGTH
            inside = [pair for pair in disulfides if start < pair[0] and pair[1] <= stop]
            assert len(inside) >= 2
    assert found > 100


def test_stretches_become_entries_with_disulfides_of_their_own(tmp_path):
    """The long chains get disulfides: one leaves the stretch, one lies at a cut end."""
    long = [r.id for r in DATASET.records if r.length > MAX_ENTRY_LENGTH and r.split == "train"]
    pairs = ((10, 25), (15, 30), (12, 66))
    dataset = with_records(DATASET, lambda r: bonded(r, pairs) if r.id in long and r.length > 66 else r)
    chosen = [record for record in dataset.records if record.disulfides]
    library = build_template_library(dataset)
    assert chosen
    for record in chosen:
        entry = library.names.index(f"{record.id}:6-34")
        check(library, entry, dataset, record, 5)
        partner = library.partner[library.rows(entry)]
        assert {k: p for k, p in enumerate(partner.tolist()) if p >= 0} == {4: 19, 19: 4, 9: 24, 24: 9}
        assert not library.cyclic[entry]
    unbonded = set(long) - {record.id for record in chosen}
    assert not any(name.split(":")[0] in unbonded for name in library.names)
    library.save(tmp_path / "t.safetensors")
    assert TemplateLibrary.load(tmp_path / "t.safetensors").fingerprint == library.fingerprint


def test_a_whole_record_keeps_its_disulfides():
    dataset = with_records(DATASET, lambda r: bonded(r, [(2, 9)]) if r.kind == "free" else r)
    library = build_template_library(dataset)
    for entry, name in enumerate(library.names):
        (record,) = [record for record in dataset.records if record.id == name]
        rows = library.rows(entry)
        want = {1: 8, 8: 1} if record.kind == "free" else {}
        assert {k: p for k, p in enumerate(library.partner[rows].tolist()) if p >= 0} == want
        assert all(letter in ALPHABET for letter in library.sequence(entry))
