"""Libraries: what is written, and that a run which was stopped anywhere ends in the same bytes."""

import csv
import dataclasses
import errno
import json
import os
from concurrent.futures import Future
from importlib.util import find_spec
from itertools import pairwise

import pytest
from library_helpers import Quick, contents, fasta, fold, toy_predictor

from betafold_mlx.errors import BetafoldError
from betafold_mlx.executors import InlineExecutor, Workers
from betafold_mlx.files import locked
from betafold_mlx.library import folder as folder_module
from betafold_mlx.library import settings
from betafold_mlx.library.folder import STATE_FOLDER
from betafold_mlx.library.settings import automatic_batch_size
from betafold_mlx.peptide.fasta import parse_fasta

NEEDS_PYARROW = pytest.mark.skipif(find_spec("pyarrow") is None, reason="needs pyarrow")
OUTPUTS = ["files", "jsonl", pytest.param("parquet", marks=NEEDS_PYARROW)]
COUNT = 45  # parts of 8: five whole ones and a part


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


def test_a_part_of_four_batches_is_folded_at_once(quick, tmp_path):
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
    """Kill the run at its step number `at`: before or after anything that it renames or removes."""
    count = 0

    def killing(function):
        def wrapper(*arguments, **options):
            nonlocal count
            count += 1
            if count == at:
                raise Killed
            result = function(*arguments, **options)
            count += 1
            if count == at:
                raise Killed
            return result

        return wrapper

    monkeypatch.setattr(folder_module.Path, "replace", killing(folder_module.Path.replace))
    monkeypatch.setattr(folder_module.shutil, "rmtree", killing(folder_module.shutil.rmtree))
    return lambda: count


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_run_that_is_killed_at_any_step_and_resumed_ends_in_the_same_bytes(
    quick, tmp_path, monkeypatch, output
):
    text = fasta(COUNT)
    fold(quick, text, tmp_path / "whole", output=output)
    want = contents(tmp_path / "whole")
    with monkeypatch.context() as patch:
        count = steps(patch, at=0)
        fold(quick, text, tmp_path / "counted", output=output)
        total = count()
    assert total > 20 and len(want) > 2
    stride = max(1, total // 14)
    for at in [*range(1, total, stride), *range(total - 9, total + 1)]:
        folder = tmp_path / str(at)
        with monkeypatch.context() as patch:
            steps(patch, at)
            with pytest.raises(Killed):
                fold(quick, text, folder, output=output)
        fold(quick, text, folder, output=output)
        assert contents(folder) == want, at


def stop_after(parts):
    """Return what is told of written parts and kills the run at one of them."""
    calls = []

    def written(records):
        calls.append(records)
        if len(calls) == parts:
            raise Killed

    return written


@pytest.fixture
def unfinished(quick, tmp_path):
    with pytest.raises(Killed):
        fold(quick, fasta(COUNT), tmp_path / "out", written=stop_after(2))
    return tmp_path / "out"


def test_half_a_state_of_a_part_is_no_part(quick, unfinished, tmp_path):
    """A kill while the state of a part is written."""
    parts = unfinished / STATE_FOLDER / "parts"
    (parts / ".000002.4194304999-0123abcd.json").write_text('{"totals": ')
    fold(quick, fasta(COUNT), unfinished)
    fold(quick, fasta(COUNT), tmp_path / "whole")
    assert contents(unfinished) == contents(tmp_path / "whole")


def test_what_is_done_is_not_done_again(quick, unfinished):
    folded = sum(peptides for peptides, _ in quick.calls)
    said = []
    done = fold(quick, fasta(COUNT), unfinished, resumed=said.append)
    assert said == [16] and (done.records, done.failed) == (COUNT, 6)
    assert sum(peptides for peptides, _ in quick.calls) == COUNT - 6 and folded < COUNT
    assert not (unfinished / STATE_FOLDER).exists()
    quick.calls.clear()
    fold(quick, fasta(COUNT), unfinished)  # a run that is finished is done anew
    assert quick.calls


def test_a_run_that_did_nothing_yet_holds_nobody_up(quick, tmp_path):
    class Broken(type(quick)):
        def fold_many(self, *_, **__):
            raise BetafoldError("damaged")

    with pytest.raises(BetafoldError, match="damaged"):
        fold(Broken(), fasta(COUNT), tmp_path)
    assert fold(quick, fasta(COUNT), tmp_path, seed=1).records == COUNT


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


@pytest.mark.parametrize("name", ["run.json", "parts/000001.json"])
@pytest.mark.parametrize("state", [b"", b"{}", b"[1]", b"\xff"])
def test_a_damaged_state_is_one_line(quick, unfinished, name, state):
    (unfinished / STATE_FOLDER / name).write_bytes(state)
    with pytest.raises(BetafoldError, match=r"unfinished run.*--restart"):
        fold(quick, fasta(COUNT), unfinished)


@pytest.mark.parametrize("damage", ["cut", "gone"])
@pytest.mark.parametrize("output", OUTPUTS[1:])
def test_a_part_of_a_container_that_is_not_as_it_was_left_is_refused(quick, tmp_path, output, damage):
    with pytest.raises(Killed):
        fold(quick, fasta(COUNT), tmp_path, output=output, written=stop_after(2))
    path = tmp_path / STATE_FOLDER / output / f"part-000001.{output}"
    path.unlink() if damage == "gone" else os.truncate(path, 10)
    with pytest.raises(BetafoldError, match="start anew with --restart"):
        fold(quick, fasta(COUNT), tmp_path, output=output)


def test_a_second_writer_is_refused(quick, tmp_path):
    with locked(tmp_path / STATE_FOLDER / "lock", "busy"):
        before = contents(tmp_path)
        with pytest.raises(BetafoldError, match="another fold writes into"):
            fold(quick, fasta(COUNT), tmp_path)
        assert contents(tmp_path) == before
    assert fold(quick, fasta(COUNT), tmp_path).records == COUNT


def test_a_full_disk_stops_the_run_and_it_goes_on(quick, tmp_path, monkeypatch):
    text = fasta(COUNT)
    fold(quick, text, tmp_path / "whole")
    with monkeypatch.context() as patch:
        write, calls = folder_module.atomic_path, []

        def full(path):
            calls.append(path)
            if len(calls) < 40:
                return write(path)
            raise BetafoldError(f"cannot write {path}") from OSError(errno.ENOSPC, "full")

        patch.setattr(folder_module, "atomic_path", full)
        with pytest.raises(BetafoldError, match="cannot write"):
            fold(quick, text, tmp_path / "out")
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


@pytest.mark.parametrize(("ahead", "at_a_time"), [(1, 1), (4, 4)])
def test_a_library_is_read_as_far_ahead_as_its_workers_need(ahead, at_a_time):
    """However long it is: what is in memory is what was read and is not yet done with."""
    read, most = 0, 0

    def parts():
        nonlocal read
        for number in range(20):
            read += 1
            yield [number]

    pending = []

    def submit(_, part):
        future = Future()
        pending.append((part, future))
        if len(pending) == at_a_time:  # they end in another order
            while pending:
                done, ended = pending.pop()
                ended.set_result(done)
        return future

    executor = InlineExecutor()
    executor.submit = submit
    workers = Workers(executor, lambda: ahead)
    for number, result in enumerate(workers.results(list, parts())):
        assert result == [number]
        most = max(most, read - number)
    assert number == 19 and most <= ahead


def test_records_come_in_order(quick, tmp_path):
    seen = []
    fold(quick, fasta(COUNT), tmp_path, samples=3, written=lambda r: seen.extend(x.entry.line for x in r))
    assert all(a < b for a, b in pairwise(seen)) and len(seen) == COUNT


def test_the_automatic_batch_grows_smaller_with_the_samples():
    sizes = [automatic_batch_size(samples) for samples in (1, 8, 16, 1000)]
    assert sizes[0] >= 64 and sizes == sorted(sizes, reverse=True) and sizes[-1] == 1
    assert all(size * samples <= 1000 for size, samples in zip(sizes, (1, 8, 16, 1000), strict=True))
