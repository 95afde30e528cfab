"""Libraries: what is written, and that a run which was stopped anywhere ends in the same bytes."""

import csv
import dataclasses
import errno
import fcntl
import json
import os
import threading
from importlib.util import find_spec
from itertools import pairwise

import pytest
from library_helpers import Quick, contents, fasta, fold, toy_predictor

from betafold_mlx.errors import BetafoldError
from betafold_mlx.library import journal, run, settings, sinks
from betafold_mlx.library.appended import AppendedFile
from betafold_mlx.library.journal import STATE_FILE
from betafold_mlx.library.settings import Settings, automatic_batch_size
from betafold_mlx.library.writer import Observer
from betafold_mlx.peptide.fasta import parse_fasta

NEEDS_PYARROW = pytest.mark.skipif(find_spec("pyarrow") is None, reason="needs pyarrow")
OUTPUTS = ["files", "jsonl", pytest.param("parquet", marks=NEEDS_PYARROW)]
COUNT = 45  # windows of 8: five whole ones and a part


@pytest.fixture(scope="module")
def toy():
    return toy_predictor()


@pytest.fixture(scope="module")
def made_once():
    return Quick()


@pytest.fixture
def quick(made_once):
    return made_once.again()


class Killed(BaseException):
    """The end of a process, as far as its files can tell."""


def rows(directory, name="summary.csv"):
    with (directory / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_library_is_folded_in_its_order_and_its_bad_records_are_listed(quick, tmp_path):
    text = fasta(COUNT)
    done = fold(quick, text, tmp_path)
    records = list(parse_fasta(text.splitlines()))
    bad = [record for number, record in enumerate(records) if number % 7 == 3]
    assert (done.records, done.failed, done.unmet) == (COUNT, len(bad), 0)
    summary = rows(tmp_path)
    assert [row["sequence"] for row in summary] == [record.text for record in records]
    assert [row["status"] == "failed" for row in summary] == [number % 7 == 3 for number in range(COUNT)]
    errors = rows(tmp_path, "errors.csv")
    assert [int(row["line"]) for row in errors] == [record.line for record in bad]
    assert all("'X' at position" in row["error"] for row in errors)
    files = [name for row in summary for name in row["files"].split()]
    assert len(files) == len(set(map(str.casefold, files))) == 2 * (COUNT - len(bad))
    assert set(contents(tmp_path)) == {*files, "summary.csv", "errors.csv"}
    for row in summary:
        if row["files"]:
            document = json.loads((tmp_path / row["files"].split()[1]).read_text())
            assert (document["id"], document["sequence"]) == (row["id"], row["sequence"])


def test_a_window_of_four_batches_is_folded_at_once(quick, tmp_path):
    fold(quick, fasta(100), tmp_path, batch_size=5)
    peptides, sizes = zip(*quick.calls, strict=True)
    assert set(sizes) == {5}
    assert max(peptides) <= 20 and len(peptides) == 5 and sum(peptides) > 80  # some cannot be folded


def test_a_real_model_gives_what_it_gives_alone(toy, tmp_path):
    text = ">a\nGIGKFLHSAKKFGKAF\n>b all-d n-cap=ACE\nKLAKLAKKLAKLAK\n"
    fold(toy, text, tmp_path, format="both", samples=2, seed=3, batch_size=1)
    for record in parse_fasta(text.splitlines()):
        alone = toy.fold(record.peptide(), id=record.id, samples=2, seed=3)
        for suffix in (".cif", ".pdb", ".json"):
            path = alone.save(tmp_path / f"alone{suffix}")
            assert path.read_bytes() == (tmp_path / f"{record.id}{suffix}").read_bytes()


def steps(monkeypatch, at):
    """Kill the run at its step number `at`: before or after anything that it does to the disk."""
    count = 0

    def killing(function, half=None):
        def wrapper(*arguments, **options):
            nonlocal count
            count += 1
            if count == at:
                if half:
                    half(*arguments)
                raise Killed
            result = function(*arguments, **options)
            count += 1
            if count == at:
                raise Killed
            return result

        return wrapper

    def torn(file, text):
        append(file, text[: len(text) // 2])

    append = AppendedFile.append
    monkeypatch.setattr(AppendedFile, "append", killing(append, torn))
    monkeypatch.setattr(sinks, "write_text", killing(sinks.write_text))
    monkeypatch.setattr(journal.Journal, "write", killing(journal.Journal.write))
    monkeypatch.setattr(journal.Journal, "remove", killing(journal.Journal.remove))
    for sink in (sinks.FilesSink, sinks.JsonLinesSink, parquet_sink()):
        if sink:
            for name in ("commit", "finish"):
                monkeypatch.setattr(sink, name, killing(getattr(sink, name)))
    return lambda: count


def parquet_sink():
    try:
        from betafold_mlx.library.parquet import ParquetSink
    except BetafoldError:
        return None
    return ParquetSink


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_run_that_is_killed_at_any_step_and_resumed_ends_in_the_same_bytes(
    quick, tmp_path, monkeypatch, output
):
    if output == "parquet":
        monkeypatch.setattr(parquet_sink(), "windows", 2)
    text = fasta(COUNT)
    with monkeypatch.context() as patch:
        count = steps(patch, at=0)
        fold(quick, text, tmp_path / "whole", output=output)
        total = count()
    want = contents(tmp_path / "whole")
    assert total > 20 and len(want) > 2
    stride = max(1, total // 14)
    for at in [*range(1, total, stride), *range(total - 4, total + 1)]:
        folder = tmp_path / str(at)
        with monkeypatch.context() as patch:
            steps(patch, at)
            with pytest.raises(Killed):
                fold(quick, text, folder, output=output)
        fold(quick, text, folder, output=output)
        assert contents(folder) == want, at


def test_what_is_done_is_not_done_again(quick, tmp_path, monkeypatch):
    class Watch(Observer):
        said = None

        def resumed(self, records):
            self.said = records

    text = fasta(COUNT)
    with monkeypatch.context() as patch:
        patch.setattr(journal.Journal, "remove", lambda self: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            fold(quick, text, tmp_path)
    state = json.loads((tmp_path / STATE_FILE).read_text())
    assert state["done"]["records"] == COUNT
    quick.calls.clear()
    watch = Watch()
    done = fold(quick, text, tmp_path, observer=watch)
    assert quick.calls == [] and watch.said == COUNT == done.records and done.failed == 6
    assert not (tmp_path / STATE_FILE).exists()
    fold(quick, text, tmp_path)  # a run that is finished is done anew
    assert quick.calls


@pytest.fixture
def unfinished(quick, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        calls = []
        write = journal.Journal.write

        def second(self, done):
            write(self, done)
            calls.append(done)
            if len(calls) == 2:
                raise Killed

        patch.setattr(journal.Journal, "write", second)
        with pytest.raises(Killed):
            fold(quick, fasta(COUNT), tmp_path / "out")
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, r"another --seed \(0, now 1\)"),
        ({"samples": 2}, r"another --samples \(1, now 2\)"),
        ({"auto_disulfides": True}, r"another --disulfide \(stated, now auto\)"),
        ({"format": "both"}, r"another --format \(cif, now both\)"),
        ({"output": "jsonl"}, r"another --output-format \(files, now jsonl\)"),
        ({"batch_size": 3}, r"another --batch-size \(2, now 3\)"),
    ],
)
def test_a_run_goes_on_with_its_own_options_only(quick, unfinished, changes, message):
    before = contents(unfinished)
    with pytest.raises(BetafoldError, match=f"holds an unfinished run with {message}.*--restart"):
        fold(quick, fasta(COUNT), unfinished, **changes)
    assert contents(unfinished) == before


def test_a_run_goes_on_with_its_own_model_and_library_only(quick, unfinished, monkeypatch):
    before = contents(unfinished)
    lines = fasta(COUNT).splitlines()
    for other in (
        fasta(COUNT, seed=1),
        "\n".join(lines[:20]),
        "\n".join([*lines[:30], "", *lines[30:][:1]]).replace(lines[1], lines[1][::-1], 1),
    ):
        with pytest.raises(BetafoldError, match="an unfinished run of another library"):
            fold(quick, other, unfinished)
    with monkeypatch.context() as patch:
        patch.setattr(settings, "versions", lambda: {"mlx": "99"})
        with pytest.raises(BetafoldError, match="other versions"):
            fold(quick, fasta(COUNT), unfinished)
    quick.loaded = dataclasses.replace(quick.loaded, sha256="1" * 64)
    with pytest.raises(BetafoldError, match="other weights of the model"):
        fold(quick, fasta(COUNT), unfinished)
    assert contents(unfinished) == before


def test_restart_drops_an_unfinished_run(quick, unfinished, tmp_path):
    fold(quick, fasta(COUNT), unfinished, seed=1, restart=True)
    fold(quick, fasta(COUNT), tmp_path / "new", seed=1)
    assert contents(unfinished) == contents(tmp_path / "new")


@pytest.mark.parametrize(
    "state", [b"", b"{}", b"[1]", b"\xff", b'{"schema_version": 1, "run": {}, "done": {"x": 1}}']
)
def test_a_damaged_state_is_one_line(quick, unfinished, state):
    (unfinished / STATE_FILE).write_bytes(state)
    with pytest.raises(BetafoldError, match=r"cannot read .*start anew with --restart"):
        fold(quick, fasta(COUNT), unfinished)


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_summary_that_is_not_as_it_was_left_is_refused(quick, unfinished, damage):
    path = unfinished / "summary.csv"
    path.unlink() if damage == "gone" else os.truncate(path, 10)
    with pytest.raises(BetafoldError, match=r"summary\.csv"):
        fold(quick, fasta(COUNT), unfinished)


def test_a_second_writer_is_refused(quick, tmp_path):
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(BetafoldError, match="another fold writes into"):
            fold(quick, fasta(COUNT), tmp_path)
        assert contents(tmp_path) == {}
    finally:
        os.close(descriptor)
    assert fold(quick, fasta(COUNT), tmp_path).records == COUNT


def test_a_full_disk_stops_the_run_and_it_goes_on(quick, tmp_path, monkeypatch):
    text = fasta(COUNT)
    fold(quick, text, tmp_path / "whole")
    with monkeypatch.context() as patch:
        write, calls = sinks.write_text, []

        def full(path, text):
            calls.append(path)
            if len(calls) < 40:
                return write(path, text)
            raise BetafoldError(f"cannot write {path}") from OSError(errno.ENOSPC, "full")

        patch.setattr(sinks, "write_text", full)
        with pytest.raises(BetafoldError, match="cannot write"):
            fold(quick, text, tmp_path / "out")
    assert not any(row["error"].startswith("cannot write") for row in rows(tmp_path / "out", "errors.csv"))
    fold(quick, text, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_file_that_cannot_be_written_costs_its_record_only(quick, tmp_path):
    (tmp_path / "b.cif").mkdir()
    done = fold(quick, "".join(f">{name}\nGIGKFLHSAKKF\n" for name in "abc"), tmp_path)
    assert (done.records, done.failed) == (3, 1)
    assert [row["status"] for row in rows(tmp_path)] == ["ok", "failed", "ok"]
    (error,) = rows(tmp_path, "errors.csv")
    assert (error["id"], error["line"]) == ("b", "3") and "cannot write" in error["error"]


def test_an_empty_library_leaves_nothing(quick, tmp_path):
    assert fold(quick, "", tmp_path / "out").records == 0
    assert not (tmp_path / "out").exists()


def test_a_file_that_breaks_is_folded_up_to_there(quick, tmp_path):
    done = fold(quick, fasta(9) + ">x\nA\0A\n", tmp_path)
    assert (done.records, done.failed) == (10, 2)
    assert rows(tmp_path, "errors.csv")[-1] == {
        "id": "input",
        "line": "",
        "error": "this is a binary file, not FASTA text",
    }


def test_a_library_is_read_a_window_ahead_and_not_more(quick, tmp_path):
    """However long it is: what is in memory is what was read and is not yet written."""
    written, most, read = 0, 0, 0

    class Watch(Observer):
        def outcomes(self, outcomes):
            nonlocal written
            written += len(outcomes)

    def lines():
        nonlocal read, most
        for number in range(80):
            read += 1
            most = max(most, read - written)
            yield f">p{number}"
            yield "GIGKFLHSAKKF"

    run.fold_library(quick, parse_fasta(lines()), tmp_path, Settings(batch_size=2), Watch())
    assert written == 80 and most <= 3 * 8 + 1


def test_outcomes_come_in_order_from_the_writing_thread(quick, tmp_path):
    seen = []

    class Watch(Observer):
        def outcomes(self, outcomes):
            assert threading.current_thread() is not threading.main_thread()
            seen.extend(outcome.entry.line for outcome in outcomes)

    fold(quick, fasta(COUNT), tmp_path, observer=Watch(), samples=3)
    assert all(a < b for a, b in pairwise(seen)) and len(seen) == COUNT


def test_the_automatic_batch_grows_smaller_with_the_samples():
    sizes = [automatic_batch_size(samples) for samples in (1, 8, 16, 1000)]
    assert sizes[0] >= 64 and sizes == sorted(sizes, reverse=True) and sizes[-1] == 1
    assert all(size * samples <= 1000 for size, samples in zip(sizes, (1, 8, 16, 1000), strict=True))


def test_everything_that_decides_the_output_has_words_for_its_change(quick):
    assert set(settings.identity(quick, Settings())) == set(journal._OTHER)
