"""PDB ids in their forms, and what is and what is not the file of an entry."""

import gzip
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from betafold_mlx.errors import BetafoldError
from betafold_mlx.structure import entry as entry_module
from betafold_mlx.structure.entry import EntryFileError, check_entry_file, entry_id, read_entry_list

CLASSIC = st.from_regex(r"[1-9][a-z0-9]{3}", fullmatch=True)
EXTENDED = st.from_regex(r"pdb_[1-9][a-z0-9]{7}", fullmatch=True)
IDS = st.one_of(CLASSIC, EXTENDED)


@settings(deadline=None)
@given(CLASSIC)
def test_all_forms_of_an_id_are_one(name):
    forms = [name, name.upper(), f" {name}\n", f"pdb_0000{name}", f"PDB_0000{name.upper()}"]
    assert {entry_id(form) for form in forms} == {name}


@settings(deadline=None)
@given(EXTENDED)
def test_an_id_without_a_short_form_keeps_the_long_one(name):
    assert entry_id(name) == entry_id(name.upper()) == name


SHORT = ["", "1le", "1le00", "0abc", "abcd", "1l-0", "../1", "1lé0", "１abc", "1abc.cif"]
LONG = ["pdb_1abc", "pdb00001abc", "pdb_000001abc"]


@pytest.mark.parametrize("text", [*SHORT, *LONG])
def test_what_is_no_id(text):
    with pytest.raises(BetafoldError, match="is not a PDB id"):
        entry_id(text)


@settings(deadline=None)
@given(st.lists(st.tuples(IDS, st.sampled_from(["\n", ", ", " ", "\r\n", " # 9xyz\n", "\n\n# 9xyz\n"]))))
def test_a_list_in_any_layout(written):
    text = "".join(f"{name.upper() if n % 2 else name}{end}" for n, (name, end) in enumerate(written))
    found = read_entry_list(text.splitlines(keepends=True))
    assert found.entries == list(dict.fromkeys(name for name, _ in written)) and not found.problems


def test_what_is_no_id_is_told_with_its_line():
    found = read_entry_list(["# ids", "1abc", "", ">1abc_A", "2xyz, nonsense , 3xyz #bad", "1ABC"])
    assert found.entries == ["1abc", "2xyz", "3xyz"]
    assert [problem.partition(" is no")[0] for problem in found.problems] == [
        "line 4: '>1abc_A'",
        "line 5: 'nonsense'",
    ]


HEAD = b"# a comment\ndata_1ABC\n#\n_entry.id   1ABC\n#\n"
TEXT = HEAD + b"_atom_site.id\n" + os.urandom(3000).hex().encode() * 20


def written(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    return path


def problem(tmp_path, content, entry="1abc"):
    with pytest.raises(BetafoldError) as error:
        check_entry_file(written(tmp_path, content), entry)
    return error.value


@pytest.mark.parametrize(
    ("head", "entry"),
    [
        (HEAD, "1abc"),
        (b"data_1abc\n_audit.x 1\n", "1abc"),
        (b"data_pdb_00001abc\n_entry.id pdb_00001abc\n", "1abc"),
        (b"data_x\n_entry.id '1ABC'\n", "1abc"),
        (b"data_PDB_10001ABC\n_entry.id pdb_10001abc\n", "pdb_10001abc"),
    ],
)
def test_the_file_of_an_entry(tmp_path, head, entry):
    check_entry_file(written(tmp_path, gzip.compress(head)), entry)
    # two members: still gzip
    check_entry_file(written(tmp_path, gzip.compress(head) + gzip.compress(TEXT)), entry)
    assert "another entry" in str(problem(tmp_path, gzip.compress(head), "2abc"))


def test_every_way_to_be_cut_off_or_damaged(tmp_path):
    """Wherever it is cut, and whichever of its bytes is changed, it is found out."""
    whole = gzip.compress(TEXT, mtime=0)
    check_entry_file(written(tmp_path, whole), "1abc")
    for end in [*range(2, 40), *range(40, len(whole), 5003), *range(len(whole) - 12, len(whole))]:
        assert isinstance(problem(tmp_path, whole[:end]), EntryFileError)
    for place in [
        *range(10, len(whole) - 8, 997),
        *range(len(whole) - 8, len(whole)),
    ]:  # the data, CRC and length
        damaged = bytearray(whole)
        damaged[place] ^= 0x55
        assert isinstance(problem(tmp_path, bytes(damaged)), EntryFileError)
    assert isinstance(problem(tmp_path, whole + b"more"), EntryFileError)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html><html>Not found</html>", "a web page"),
        (b"\n<HTML>", "a web page"),
        (TEXT, "not a gzip file"),
    ],
)
def test_what_is_no_gzip_file(tmp_path, content, what):
    error = problem(tmp_path, content)
    assert isinstance(error, EntryFileError) and str(error) == what


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"<html>Not found</html>", "not an mmCIF file"),
        (b"HEADER    PEPTIDE   1ABC\n", "not an mmCIF file"),
        (b"", "not an mmCIF file"),
        (b"data_6XYU\n_entry.id 6XYU\n", "the file of another entry, 6xyu"),
        (b"data_1abc\n_entry.id 6XYU\n", "the file of another entry, 6xyu"),
        (b"data_HEM\n", "the file of another entry, 'HEM'"),
    ],
)
def test_what_is_whole_and_something_else(tmp_path, content, what):
    error = problem(tmp_path, gzip.compress(content))
    assert isinstance(error, EntryFileError) and what in str(error)


def test_a_file_without_end_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(entry_module, "MAX_BYTES", 10**7)
    assert "larger than any" in str(problem(tmp_path, gzip.compress(HEAD + bytes(10**8))))
