"""`betafold-mlx fold` of a library: options, messages and exit codes; what is written is in test_library_run.py."""

import io
import json
import re
import sys

import pytest
from library_helpers import Quick, contents, fasta

from betafold_mlx import Predictor
from betafold_mlx.cli import fold as fold_command
from betafold_mlx.cli.main import main
from betafold_mlx.library.folder import STATE_FOLDER, RunFolder


@pytest.fixture(scope="module")
def made_once():
    return Quick()


@pytest.fixture
def quick(made_once, monkeypatch):
    stands_in = made_once.again()
    monkeypatch.setattr(fold_command, "_load", lambda *_: stands_in)
    return stands_in


@pytest.fixture
def run(quick, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.fasta").write_text(fasta(30))

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["fold", "in.fasta", "-o", "out", "--batch-size", "2", "--processes", "1", *arguments])
        return ended.value.code, *capsys.readouterr()

    return call


@pytest.fixture
def interrupted(run, monkeypatch):
    """Interrupt a run after its second window."""
    calls = []
    write = RunFolder.write

    def second(self, *arguments):
        found = write(self, *arguments)
        calls.append(found)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return found

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "write", second)
        code, out, err = run()
    assert code == 130 and err.endswith("interrupted\n")
    return out


def test_the_same_command_goes_on(run, interrupted, tmp_path):
    assert (tmp_path / "out" / STATE_FOLDER).exists()
    code, out, err = run()
    assert code == 1 and err.startswith("betafold-mlx: resuming after 16 finished records\n")
    (tmp_path / "out").rename(tmp_path / "resumed")
    code, all_lines, _ = run()
    assert contents(tmp_path / "resumed") == contents(tmp_path / "out")

    def sequences(text):
        return [line.split("pLDDT")[0].split()[0] for line in text.splitlines()]

    # What was done is not told again, and the window that was done when the interrupt came was not told.
    assert sequences(all_lines)[-len(out.splitlines()) :] == sequences(out)
    assert sequences(all_lines)[: len(interrupted.splitlines())] == sequences(interrupted)


def test_json_of_a_run_that_goes_on_says_so(run, interrupted):
    code, out, _ = run("--json")
    document = json.loads(out)
    assert code == 1 and document["resumed_after"] == 16
    assert len(document["results"]) + len(document["errors"]) == 30 - 16


def test_another_run_is_refused_in_one_line_unless_it_starts_anew(run, interrupted, tmp_path):
    before = contents(tmp_path / "out")
    code, out, err = run("--seed", "1")
    assert (code, out) == (1, "") and len(err.splitlines()) == 1
    assert "out holds an unfinished run with another --seed (0, now 1)" in err and "--restart" in err
    assert contents(tmp_path / "out") == before
    code, out, err = run("--seed", "1", "--restart")
    assert code == 1 and "going on" not in err and not (tmp_path / "out" / STATE_FOLDER).exists()


def test_the_batch_size_is_the_devices_unless_it_is_given(run, quick):
    run()
    assert {size for _, size in quick.calls} == {2}
    quick.calls.clear()
    run("--batch-size", "AUTO")
    assert min(size for _, size in quick.calls) > 2


def test_a_container_is_named_in_lines_and_summary(run, tmp_path):
    code, out, _ = run("--output-format", "jsonl")
    assert code == 1 and all(line.endswith("  out/predictions.jsonl") for line in out.splitlines())
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "errors.csv",
        "predictions.jsonl",
        "summary.csv",
    ]
    assert ",predictions.jsonl,toy\n" in (tmp_path / "out" / "summary.csv").read_text()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_progress_bar_is_for_terminals(run, monkeypatch):
    assert " of 30 peptides" not in run()[2]
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert run()[0] == 1
    text = terminal.getvalue()
    assert "/30 peptides, " in re.sub("\x1b\\[[0-9;?]*[a-zA-Z]", "", text)


def test_the_stand_in_is_called_as_a_predictor_is():
    """Else these tests would prove nothing of `Predictor`."""
    import inspect

    real = inspect.signature(Predictor.fold_many).parameters
    assert set(inspect.signature(Quick.fold_many).parameters) <= set(real)


def test_a_file_of_records_of_one_residue(run, tmp_path):
    letters = "ACDEFGHIKLMNPQRSTVWY"
    (tmp_path / "in.fasta").write_text("".join(f">r{n}\n{letters[n % 20]}\n" for n in range(5000)))
    code, out, err = run("--batch-size", "512")
    assert (code, out) == (1, "") and len(err.splitlines()) < 1100
    errors = (tmp_path / "out" / "errors.csv").read_text().splitlines()
    assert len(errors) == 5001 and errors[-1] == "r4999,9999,1 residue: a peptide has 4 to 50 residues here"
