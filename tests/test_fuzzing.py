"""What fuzzing found (`fuzzing.py`), and that it finds."""

import random
import subprocess
import sys

import cli_helpers
import fuzzing
import pytest
from cli_helpers import run
from data_helpers import backbone, write
from fuzzing import Case, mutate, run_case
from structure_helpers import cif, ideal, pdb, rows

from betafold_mlx.errors import BetafoldError
from betafold_mlx.structure.reader import read_structure

SEQUENCE = "ACDEFGHIKL"


@pytest.mark.parametrize("form", [pdb, cif])
def test_a_letter_beyond_ascii_anywhere_in_a_line(tmp_path, form):
    """gemmi cuts PDB columns in bytes: half a letter is no text, in an atom's name or a chain's."""
    text = form(rows(SEQUENCE, ideal(SEQUENCE)))
    lines = text.encode().split(b"\n")
    path = tmp_path / "x.pdb"
    number = len(lines) // 2
    read = 0
    for column in range(len(lines[number])):
        for letter in (b"\xc3\xa9", b"\xbd", b"\xe2\x80\xa8"):
            changed = lines[number][:column] + letter + lines[number][column + 1 :]
            path.write_bytes(b"\n".join([*lines[:number], changed, *lines[number + 1 :]]))
            try:
                read += all(b.sequence in SEQUENCE for b in read_structure(path).backbones)
            except BetafoldError as error:
                assert "\n" not in str(error)
    assert read > len(lines[number])  # a letter spoils no more than its own field


def test_a_source_that_is_to_be_kept_apart_from_itself(tmp_path):
    write(tmp_path / "x.jsonl", [backbone("a", "ACDEFGHIKLMN")])
    code, _, said = run("dataset", "build", "x.jsonl", "--apart-from", "x.jsonl", "-o", "out", cwd=tmp_path)
    assert (code, (tmp_path / "out").exists()) == (1, False)
    assert "nothing is left" in said.splitlines()[-1]


# The driver


@pytest.fixture
def case(tmp_path):
    (tmp_path / "x").write_bytes(b"whole")
    return Case(tmp_path / "x", b"whole", ("dataset", "info", "x"))


def result(monkeypatch, case, tmp_path, does):
    monkeypatch.setattr(cli_helpers, "run", lambda *arguments, cwd: does(cwd))
    problem = run_case(case, b"damaged", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"x"} and case.path.read_bytes() == b"whole"
    return problem


def test_it_finds_what_it_looks_for(monkeypatch, case, tmp_path):
    def leave(name, text=""):
        def does(cwd):
            (cwd / "out").mkdir()
            (cwd / "out" / name).write_text(text)
            return 1, "", "betafold-mlx: no\n"

        return does

    def fail(cwd):
        raise ValueError("half a letter")

    monkeypatch.setattr(fuzzing, "SECONDS", 0.05)
    assert result(monkeypatch, case, tmp_path, lambda cwd: (1, "", "betafold-mlx: damaged\n")) is None
    assert "half a letter" in result(monkeypatch, case, tmp_path, fail)
    assert "no line" in result(monkeypatch, case, tmp_path, lambda cwd: (1, "", ""))
    assert "exit code 3" in result(monkeypatch, case, tmp_path, lambda cwd: (3, "", "x"))
    assert "Traceback" in result(monkeypatch, case, tmp_path, lambda cwd: (1, "", "Traceback: x"))
    assert "is left" in result(monkeypatch, case, tmp_path, leave(".x.123-0123abcd.cif"))
    assert "no whole JSON" in result(monkeypatch, case, tmp_path, leave("a.json", "{"))
    busy = result(monkeypatch, case, tmp_path, lambda cwd: (sum(range(10**7)) * 0, "", ""))
    assert "seconds" in busy
    monkeypatch.setattr(fuzzing, "MEMORY", 1 << 20)
    assert "2 GB" in result(monkeypatch, case, tmp_path, lambda cwd: (0, "", ""))


def test_an_input_is_the_same_every_time():
    content, others = b"ATOM   1.000 2.000\nATOM   3.000 4.000\n", [b"other text\n" * 5]
    made = [[mutate(content, random.Random(n), others) for n in range(300)] for _ in range(2)]
    assert made[0] == made[1] and len(set(made[0])) > 200


@pytest.mark.slow
def test_a_target_runs_and_prints_its_table(tmp_path):
    done = subprocess.run(
        [sys.executable, fuzzing.__file__, "helm", "--runs", "3"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].split()[:3] == ["helm", "3", "0"]
