"""Libraries on several ranks: what one process writes, whatever becomes of the ranks on the way."""

import json
import random
import signal
import time
from pathlib import Path

import click
import mlx.core as mx
import pytest
from library_helpers import Quick, contents, fasta, fold
from rank_helpers import ended, run_ranks, start_ranks
from toy_models import toy_model

from betafold_mlx.cli.ranks import check_library
from betafold_mlx.distributed.ranks import ALONE
from betafold_mlx.fold.output import OUTPUT_FORMATS
from betafold_mlx.library.journal import STATE_FILE
from betafold_mlx.model.directory import save_model

SCRIPT = Path(__file__).parents[1].joinpath("rank_fold.py")
COUNT = 203  # windows of 8: 25 whole ones and a part
GO_ON = "the same command goes on, with any number of processes"


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("in.fasta").write_text(fasta(COUNT))
    return tmp_path


def command(*options, source="in.fasta"):
    return [SCRIPT, "fold", source, "-o", "out", "--batch-size", "2", *options]


def alone(**settings):
    """Fold the library in this process; return what that leaves."""
    fold(Quick(), fasta(COUNT), Path("alone"), **settings)
    return contents("alone")


def windows(rank):
    path = Path(f"folded.{rank}")
    return path.stat().st_size if path.exists() else 0


def records_done():
    state = Path("out") / STATE_FILE
    return json.loads(state.read_text())["done"]["records"] if state.exists() else 0


def until(condition, processes, seconds=120):
    end = time.monotonic() + seconds
    while not condition() and all(process.poll() is None for process in processes):
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.mark.parametrize("output", OUTPUT_FORMATS)
def test_two_ranks_write_what_one_process_writes(place, output):
    if output == "parquet":
        pytest.importorskip("pyarrow")
    (code, out, err), other = run_ranks(place, *(command("--output-format", output),) * 2)
    assert code == 1 and "rank" not in err  # some records cannot be folded
    assert other == (0, "", "")  # it has done its part, and keeps silent
    want = alone(output=output)
    assert contents("out") == want and "errors.csv" in want
    assert windows(0) + windows(1) == 26 and min(windows(0), windows(1)) >= 5
    assert len(out.splitlines()) == COUNT - 29 and err.count("'X' at position") == 29


def test_a_real_model_and_all_chemistry_on_two_ranks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mx.random.seed(0)
    save_model(Path("toy"), toy_model(), "card", {})
    records = ["a\nGIGKFLHSAKKF", "a all-d c-cap=NH2\nKLAKLAKKLAK", "A cyclic\nGRCTKSIPPICFPD", "\nCCACGCAAC"]
    Path("in.fasta").write_text("".join(f">{record}\n" for record in [*records, records[0]]))
    options = ["--samples", "2", "--disulfide", "auto", "--format", "both", "--batch-size", "1", "--json"]
    fold_it = ["-m", "betafold_mlx", "fold", "in.fasta", "-o", "out", "--model", "toy", *options]
    (one,) = run_ranks(tmp_path, fold_it)  # mlx.launch -n 1
    Path("out").rename("alone")
    two, other = run_ranks(tmp_path, fold_it, fold_it)
    assert len(json.loads(one[1])["results"]) == 5
    assert two == one and other == (0, "", "")
    assert contents("out") == contents("alone") and len(contents("out")) == 16


# What stops it


@pytest.mark.parametrize("output", ["files", "jsonl"])
def test_a_lost_rank_ends_it_and_one_process_goes_on(place, output):
    processes = start_ranks(place, *(command("--output-format", output),) * 2)
    until(lambda: records_done() >= 48, processes)
    processes[1].kill()
    (code, _, err), (killed, _, _) = ended(processes)
    done = records_done()
    assert (code, killed) == (1, -signal.SIGKILL) and 48 <= done < COUNT
    assert err.splitlines()[-1] == (
        f"betafold-mlx: rank 1 was lost: its process ended ({done:,} records are done: {GO_ON})"
    )
    fold(Quick(), fasta(COUNT), Path("out"), output=output)
    assert contents("out") == alone(output=output)


def test_ranks_that_are_killed_again_and_again_end_in_the_same_bytes(place):
    """Whichever of them, at any moment, and with another number of them each time."""
    rng = random.Random(0)
    done = [0]
    for size, victim in ((2, 0), (3, 2)):
        processes = start_ranks(place, *(command(),) * size, timeout=20)
        until(lambda: records_done() > done[-1], processes)
        time.sleep(rng.uniform(0, 0.1))
        processes[victim].kill()
        results = ended(processes)
        assert results.pop(victim)[0] == -signal.SIGKILL
        for code, _, err in results:
            lost = f"rank {victim} was lost: its process ended"
            assert code == 1 and lost in err.splitlines()[-1] and GO_ON in err.splitlines()[-1]
        done.append(records_done())
    assert 0 < done[1] < done[2] < COUNT  # else the library is too short to be killed in
    first, *others = run_ranks(place, *(command(),) * 2)
    assert first[0] == 1 and f"going on after {done[-1]:,} records that are done" in first[2]
    assert others == [(0, "", "")]
    assert contents("out") == alone()


def test_a_rank_that_breaks_stops_all_with_its_reason(place, monkeypatch):
    monkeypatch.setenv("BREAKS", "1")
    (code, _, err), other = run_ranks(place, *(command(),) * 2)
    reason = "model toy gives no finite numbers: its weights are damaged"
    assert (code, other) == (1, (1, "", f"betafold-mlx: rank 1: {reason}"))
    assert err.splitlines()[-1] == (
        f"betafold-mlx: rank 1 stopped: {reason} ({records_done():,} records are done: {GO_ON})"
    )


def test_what_the_main_rank_cannot_write_stops_all(place):
    Path("out").mkdir()
    Path("out/summary.csv").mkdir()
    results = run_ranks(place, *(command(),) * 2)
    assert [code for code, _, _ in results] == [1, 1]
    for speaker, (_, out, err) in zip(("", "rank 1: rank 0 stopped: "), results, strict=True):
        assert out == "" and err.startswith(f"betafold-mlx: {speaker}cannot write out/summary.csv: ")
        assert len(err.splitlines()) == 1 and GO_ON not in err  # nothing is done
    assert windows(0) == windows(1) == 0


def test_an_interrupt_of_the_main_rank_ends_all(place):
    processes = start_ranks(place, *(command(),) * 2)
    until(lambda: records_done() >= 16, processes)
    processes[0].send_signal(signal.SIGINT)
    (code, _, err), (other_code, _, other_err) = ended(processes)
    assert code == 130 and err.splitlines()[-1] == "betafold-mlx: interrupted"
    assert other_code == 1 and other_err == f"betafold-mlx: rank 1: rank 0 stopped: interrupted ({GO_ON})"
    fold(Quick(), fasta(COUNT), Path("out"))
    assert contents("out") == alone()


# What is refused


def test_ranks_that_would_fold_differently_are_refused_and_leave_nothing(place):
    results = run_ranks(place, command(), command("--seed", "3"))
    message = "rank 1 has the setting seed 3, rank 0 0: all must have the same"
    assert results == [
        (1, "", f"betafold-mlx: {message}"),
        (1, "", f"betafold-mlx: rank 1: {message}"),
    ]
    assert not Path("out").exists()


def test_one_peptide_is_wrong_usage_on_all_ranks(place):
    results = run_ranks(place, *(command(source="GIGKFLHSAKKF"),) * 2)
    assert [(code, out) for code, out, _ in results] == [(2, "")] * 2
    for _, _, err in results:
        assert len(err.splitlines()) == 1 and "one peptide is folded by one process" in err
    assert not Path("out").exists()


class Second(type(ALONE)):
    """A rank without the library, that hears what the first one found."""

    rank, size = 1, 2

    def gather(self, value):
        assert value is None
        return [self.found, None]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("-", "several ranks read no standard input"),
        ("GIGKFLHSAKKF", "one peptide is folded by one process"),
        ("nowhere.fasta", "there is no FASTA file nowhere.fasta"),
        ("folder", "folder is a folder"),
        ("in.fasta", None),
    ],
)
def test_the_main_rank_says_for_all_what_cannot_be_folded(place, monkeypatch, source, message):
    Path("folder").mkdir()
    other, found = Second(), []
    monkeypatch.setattr(type(ALONE), "gather", lambda self, value: found.append(value) or [value])
    for ranks in (ALONE, other):
        if message is None:
            check_library(ranks, source)
        else:
            with pytest.raises(click.UsageError, match=message):
                check_library(ranks, source)
        other.found = found[0]


def test_an_empty_library_is_one_line_a_rank(place):
    Path("empty.fasta").write_text("")
    results = run_ranks(place, *(command(source="empty.fasta"),) * 2)
    assert results == [
        (1, "", "betafold-mlx: empty.fasta holds no FASTA records"),
        (1, "", "betafold-mlx: rank 1: rank 0 stopped: empty.fasta holds no FASTA records"),
    ]
    assert not Path("out").exists()
