import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structure_helpers import ideal, ring

from betafold_mlx.errors import BetafoldError
from betafold_mlx.structure.backbone import Backbone
from betafold_mlx.structure.jsonl import read_backbones, write_backbones

SEQUENCE = "GCAACAAC"
ATOMS = ideal(SEQUENCE)[:, :4]
RECORD = {"id": "1abc_A", "seq": SEQUENCE, "backbone": ATOMS.ravel().tolist()}


def same(first, second):
    fields = set(vars(first)) - {"coordinates"}
    return (
        all(getattr(first, field) == getattr(second, field) for field in fields)
        and first.coordinates.tobytes() == second.coordinates.tobytes()
    )


def write_lines(path, *records):
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in records) + "\n")
    return path


def backbones():
    yield Backbone("1abc_A", SEQUENCE, ATOMS)
    yield Backbone("è_B", SEQUENCE, -ATOMS, "free", False, ((2, 5),), "1abc", "B", "SOLUTION NMR", 1.5, 0)
    yield Backbone("ring", "GAKLFGAKLF", ring(10)[:, :4].astype(np.float32), cyclic=True)


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz"])
def test_round_trip_is_exact_and_its_bytes_are_always_the_same(tmp_path, name):
    write_backbones(tmp_path / name, backbones())
    assert all(same(a, b) for a, b in zip(backbones(), read_backbones(tmp_path / name), strict=True))
    (tmp_path / "again").mkdir()
    write_backbones(tmp_path / "again" / name, backbones())
    assert (tmp_path / "again" / name).read_bytes() == (tmp_path / name).read_bytes()
    head = (tmp_path / name).read_bytes()[:8]
    assert name.endswith(".gz") == (head[:2] == b"\x1f\x8b")
    assert not name.endswith(".gz") or head[4:] == bytes(4)  # the time stamp


@settings(derandomize=True, deadline=None, max_examples=60)
@given(scale=st.floats(0.9, 1.2), shift=st.floats(-9990, 9990))
def test_every_float32_comes_back(tmp_path_factory, scale, shift):
    atoms = (ATOMS * np.float32(scale) + np.float32(shift)).astype(np.float32)
    path = tmp_path_factory.mktemp("float") / "x.jsonl"
    try:
        write_backbones(path, [Backbone("x", SEQUENCE, atoms)])
    except BetafoldError as error:
        assert "10000 A" in str(error)
    else:
        (back,) = read_backbones(path)
        np.testing.assert_array_equal(back.coordinates, atoms)


def test_defaults_and_measured_ring(tmp_path):
    closed = {"id": "ring", "seq": "GAKLFGAKLF", "backbone": ring(10)[:, :4].ravel().tolist()}
    path = write_lines(tmp_path / "x.jsonl", RECORD, "", closed, {**closed, "cyclic": False})
    first, second, third = read_backbones(path)
    assert (first.kind, first.cyclic, first.disulfides, first.method) == ("unknown", False, (), None)
    assert (second.cyclic, third.cyclic) == (True, False)


def changed(**fields):
    return {**RECORD, **fields}


def coordinate(value):
    return changed(backbone=[value, *RECORD["backbone"][1:]])


BAD_RECORDS = {
    "broken JSON": ('{"id": "x", ', "broken JSON"),
    "deep JSON": ("[" * 200_000, "broken JSON"),
    "huge integer": ('{"id": "x", "seq": "A", "backbone": [' + "9" * 5000 + "]}", "broken JSON"),
    "no object": ("[1, 2]", "not a JSON object"),
    "no id": ({k: v for k, v in RECORD.items() if k != "id"}, "'id' must be"),
    "line break in id": (changed(id="a\nb"), "'id' must be"),
    "no sequence": (changed(seq=None), "'seq' must be text"),
    "empty sequence": (changed(seq="", backbone=[]), "sequence is empty"),
    "unknown letter": (changed(seq="GCAACAAX"), "'X' at position 8"),
    "one residue more": (changed(seq=SEQUENCE + "A"), "96 coordinates for 9 residues"),
    "no backbone": (changed(backbone=None), "'backbone' must be a list"),
    "nested backbone": (changed(backbone=ATOMS.tolist()), "flat list"),
    "ragged backbone": (changed(backbone=[[1.0], [1.0, 2.0]]), "flat list"),
    "text in backbone": (coordinate("1.0"), "flat list"),
    "null in backbone": (coordinate(None), "flat list"),
    "long integer in backbone": (coordinate(10**30), "flat list"),
    "NaN": (coordinate(float("nan")), "not finite"),
    "disulfides of another form": (changed(disulfides=[[1, 2, 3]]), "'disulfides' must be"),
    "disulfide of no cysteine": (changed(disulfides=[[1, 2]]), "not between two cysteines"),
    "cyclic of another form": (changed(cyclic="yes"), "'cyclic' must be"),
    "resolution of another form": (changed(resolution="1.5"), "'resolution' must be"),
    "cluster of another form": (changed(cluster=1.5), "'cluster' must be"),
    "kind of another form": (changed(kind=1), "'kind' must be"),
}


@pytest.mark.parametrize("case", BAD_RECORDS)
def test_bad_record_is_reported_and_the_rest_is_read(tmp_path, case):
    bad, reason = BAD_RECORDS[case]
    path = write_lines(tmp_path / "x.jsonl", RECORD, bad, changed(id="last"))
    problems = []
    read = list(read_backbones(path, lambda name, text: problems.append((name, text))))
    assert [backbone.id for backbone in read] == ["1abc_A", "last"]
    ((name, text),) = problems
    assert reason in text
    assert "\n" not in text
    assert name in ("1abc_A", "line 2", "a\nb")
    with pytest.raises(BetafoldError, match=r"x\.jsonl, line 2: "):
        list(read_backbones(path))


def test_every_cut_of_a_gzip_file_is_one_clear_error(tmp_path):
    write_backbones(tmp_path / "x.jsonl.gz", backbones())
    content = (tmp_path / "x.jsonl.gz").read_bytes()
    path = tmp_path / "cut.jsonl.gz"
    for length in [2, 5, 10, 11, len(content) // 2, len(content) - 9, len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(BetafoldError, match=r"cut\.jsonl\.gz is a truncated or damaged gzip file"):
            list(read_backbones(path))


def test_damaged_gzip_file(tmp_path):
    write_backbones(tmp_path / "x.jsonl.gz", backbones())
    content = bytearray((tmp_path / "x.jsonl.gz").read_bytes())
    for position in range(10, len(content), 7):
        damaged = content.copy()
        damaged[position] ^= 0xFF
        (tmp_path / "x.jsonl.gz").write_bytes(damaged)
        with pytest.raises(BetafoldError, match=r"truncated or damaged gzip file|is not a text file"):
            list(read_backbones(tmp_path / "x.jsonl.gz", lambda *_: None))


@pytest.mark.parametrize("content", [b"\x93NUMPY\x01\x00v\x00", bytes(range(256)), b'{"id": "\xff"}\n'])
def test_binary_file(tmp_path, content):
    (tmp_path / "x.jsonl").write_bytes(content)
    with pytest.raises(BetafoldError, match=r"x\.jsonl is not a text file \(line 1\)"):
        list(read_backbones(tmp_path / "x.jsonl", lambda *_: None))


@pytest.mark.parametrize("name", ["missing.jsonl", "."])
def test_unreadable_path(tmp_path, name):
    with pytest.raises(BetafoldError, match=r"^cannot read "):
        list(read_backbones(tmp_path / name))


def test_errors_of_the_caller_are_left_alone(tmp_path):
    path = write_lines(tmp_path / "x.jsonl", "{}")

    def stop(name, text):
        raise OSError("the caller's")

    with pytest.raises(OSError, match="the caller's"):
        list(read_backbones(path, stop))


def test_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text("old")
    broken = Backbone("broken", "GA", ATOMS)
    with pytest.raises(BetafoldError, match=r"record 'broken': 96 coordinates for 2 residues"):
        write_backbones(path, [Backbone("good", SEQUENCE, ATOMS), broken])
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(BetafoldError, match="'id' must be printable"):
        write_backbones(path, [Backbone("a\nb", SEQUENCE, ATOMS)])


def test_shared_peptides_round_trip(shared_data, tmp_path):
    records = list(read_backbones(shared_data / "peptides.jsonl.gz"))
    assert len(records) == 405
    write_backbones(tmp_path / "x.jsonl.gz", records)
    assert all(same(a, b) for a, b in zip(records, read_backbones(tmp_path / "x.jsonl.gz"), strict=True))
