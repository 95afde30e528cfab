"""Fetching many files: whole, checked, politely; and everything that a server and a network can do to it."""

import errno
import fcntl
import itertools
import socket
import time

import pytest
from archive_helpers import address, archive, entry_file, entry_names, template

from betafold_mlx import download as download_module
from betafold_mlx.data import fetch as fetch_module
from betafold_mlx.data.archive import MISSING_FILE, check_url, entry_url, read_missing, write_missing
from betafold_mlx.data.fetch import GIVE_UP_AFTER, NOTHING_FOUND, fetch_entries
from betafold_mlx.download import UnreachableError
from betafold_mlx.errors import BetafoldError

ENTRIES = entry_names(6)
FIRST = ENTRIES[0]


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download_module, "TIMEOUT", 5)
    monkeypatch.setattr(fetch_module, "FIRST_WAIT", 0.01)


@pytest.fixture
def server():
    with archive(ENTRIES) as running:
        yield running


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != ".fetch.lock")


def files(entries):
    return [f"{entry}.cif.gz" for entry in entries]


def test_the_files_come_as_they_are(server, tmp_path):
    seen = []
    folder = tmp_path / "new" / "folder"
    report = fetch_entries(
        ENTRIES, folder, template(server), progress=lambda now: seen.append(len(now.fetched))
    )
    assert sorted(report.fetched) == ENTRIES and names(folder) == files(ENTRIES)
    for entry in ENTRIES:
        assert (folder / f"{entry}.cif.gz").read_bytes() == entry_file(entry)
    assert report.size == sum(len(entry_file(entry)) for entry in ENTRIES)
    assert seen == [1, 2, 3, 4, 5, 6] and len(server.log) == len(ENTRIES)
    assert not (report.kept or report.missing or report.failed or report.left or report.stopped)


def test_what_is_there_and_whole_is_kept(server, tmp_path):
    fetch_entries(ENTRIES[:4], tmp_path, template(server))
    (tmp_path / f"{FIRST}.cif.gz").write_bytes(entry_file(FIRST)[:-1])
    (tmp_path / f"{ENTRIES[1]}.cif.gz").write_bytes(entry_file(ENTRIES[2]))
    server.log = []
    report = fetch_entries(ENTRIES, tmp_path, template(server))
    assert sorted(report.kept) == ENTRIES[2:4] and report.replaced == {
        FIRST: "a truncated or damaged gzip file",
        ENTRIES[1]: f"the file of another entry, {ENTRIES[2]}",
    }
    assert sorted(path for path, _ in server.requests()) == [address(e) for e in ENTRIES[:2] + ENTRIES[4:]]
    for entry in ENTRIES:
        assert (tmp_path / f"{entry}.cif.gz").read_bytes() == entry_file(entry)


def test_a_damaged_file_stays_until_a_whole_one_comes(server, tmp_path):
    damaged = entry_file(FIRST)[:-1]
    (tmp_path / f"{FIRST}.cif.gz").write_bytes(damaged)
    server.status[address(FIRST)] = 403
    assert "403" in fetch_entries([FIRST], tmp_path, template(server)).failed[FIRST]
    assert (tmp_path / f"{FIRST}.cif.gz").read_bytes() == damaged


def test_entries_that_are_not_there_are_asked_for_once(server, tmp_path):
    gone = ["2aaa", "2aab"]
    report = fetch_entries([*gone, *ENTRIES], tmp_path, template(server))
    assert sorted(report.missing) == gone and sorted(report.fetched) == ENTRIES and not report.failed
    assert read_missing(tmp_path, template(server)) == set(gone)
    server.log = []
    report = fetch_entries([*gone, *ENTRIES], tmp_path, template(server))
    assert sorted(report.missing) == gone and sorted(report.kept) == ENTRIES and server.log == []
    server.files["2aaa.cif.gz"] = entry_file("2aaa")
    report = fetch_entries([*gone, *ENTRIES], tmp_path, template(server), ask_again=True)
    assert (report.fetched, report.missing) == (["2aaa"], ["2aab"])
    assert {path for path, _ in server.requests()} == {address(entry) for entry in gone}
    assert read_missing(tmp_path, template(server)) == {"2aab"}


def test_410_is_missing_too(server, tmp_path):
    server.status[address(FIRST)] = 410
    assert fetch_entries(ENTRIES, tmp_path, template(server)).missing == [FIRST]


def test_what_is_missing_at_one_address_is_asked_of_another(server, tmp_path):
    write_missing(tmp_path, "https://example.org/{id}.cif.gz", ENTRIES)
    assert read_missing(tmp_path, "https://example.org/{id}.cif.gz") == set(ENTRIES)
    report = fetch_entries(ENTRIES, tmp_path, template(server))
    assert sorted(report.fetched) == ENTRIES and not (tmp_path / MISSING_FILE).exists()


def test_a_file_that_somebody_brings_is_not_missing(server, tmp_path):
    write_missing(tmp_path, template(server), ["2aaa", "2aab"])
    (tmp_path / "2aaa.cif.gz").write_bytes(entry_file("2aaa"))
    report = fetch_entries(["2aaa"], tmp_path, template(server))
    assert (report.kept, report.missing) == (["2aaa"], [])
    assert read_missing(tmp_path, template(server)) == {"2aab"}  # which is still known


@pytest.mark.parametrize("statuses", [[503], [429, 500], [408, 502, 504]])
def test_a_server_in_trouble_is_asked_again(server, tmp_path, statuses):
    server.status[address(FIRST)] = list(statuses)
    report = fetch_entries(ENTRIES, tmp_path, template(server))
    assert sorted(report.fetched) == ENTRIES
    assert server.requests().count((address(FIRST), None)) == len(statuses) + 1


def test_a_connection_that_breaks_is_tried_again(server, tmp_path):
    server.cuts = [0, 10, 12_000]
    report = fetch_entries([FIRST], tmp_path, template(server))
    assert report.fetched == [FIRST] and len(server.log) == 4 and names(tmp_path) == files([FIRST])


def test_one_that_breaks_every_time_fails_alone(server, tmp_path):
    server.cuts = [100] * 3
    report = fetch_entries(ENTRIES, tmp_path, template(server), jobs=1, retries=2)
    assert report.failed.keys() == {FIRST} and "what came is a truncated" in report.failed[FIRST]
    assert sorted(report.fetched) == ENTRIES[1:] and names(tmp_path) == files(ENTRIES[1:])


def test_attempts_are_doubled_apart_with_some_chance(server, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(fetch_module.random, "uniform", lambda low, high: asked.append((low, high)) or high)
    monkeypatch.setattr(fetch_module, "FIRST_WAIT", 0.04)
    server.status[address(FIRST)] = 500
    fetch_entries([FIRST], tmp_path, template(server), retries=3)
    assert asked == [(0.5, 1.5)] * 3
    gaps = [after - before for before, after in itertools.pairwise(server.times)]
    for gap, least in zip(gaps, (0.06, 0.12, 0.24), strict=True):
        assert gap >= least - 0.005


def test_no_wait_is_longer_than_the_longest(server, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch_module, "FIRST_WAIT", 30.0)
    monkeypatch.setattr(fetch_module, "LONGEST_WAIT", 0.01)
    server.status[address(FIRST)] = [500] * 3
    started = time.monotonic()
    assert fetch_entries([FIRST], tmp_path, template(server)).fetched == [FIRST]
    assert time.monotonic() - started < 10


def test_when_the_server_asks_to_wait_everybody_waits(server, tmp_path):
    entries = entry_names(30)
    server.files |= {f"{entry}.cif.gz": entry_file(entry) for entry in entries}
    server.slow, server.retry_after = 0.05, "1"
    server.status[address(entries[4])] = [429]
    report = fetch_entries(entries, tmp_path, template(server))
    assert sorted(report.fetched) == entries
    told = server.times[[path for path, _ in server.requests()].index(address(entries[4]))] + server.slow
    meanwhile = [at for at in server.times if told + 0.3 < at < told + 0.95]
    later = [at for at in server.times if at >= told + 0.95]
    assert not meanwhile and len(later) > 15


@pytest.mark.parametrize("said", ["3600", "Fri, 01 Jan 2100 00:00:00 GMT"])
def test_a_server_that_wants_to_be_left_alone_is(server, tmp_path, said):
    server.status[address(FIRST)], server.retry_after = 503, said
    report = fetch_entries(ENTRIES, tmp_path, template(server), jobs=1)
    assert report.stopped is not None and "asks to be left alone for" in report.stopped
    assert report.left == ENTRIES and len(server.log) == 1


def test_no_more_connections_than_asked_for(server, tmp_path):
    server.files |= {f"{entry}.cif.gz": entry_file(entry) for entry in entry_names(20)}
    server.slow = 0.05
    fetch_entries(entry_names(20), tmp_path, template(server), jobs=3)
    assert server.busiest == 3


def test_without_a_network_it_ends_at_once(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{unused.getsockname()[1]}/{{id}}.cif.gz"
    started, entries = time.monotonic(), entry_names(2000)
    report = fetch_entries(entries, tmp_path, nobody)
    assert report.stopped is not None and "cannot reach 127.0.0.1" in report.stopped
    assert report.left == entries and not report.failed and names(tmp_path) == []
    assert time.monotonic() - started < 10


def test_a_network_that_goes_away_ends_the_run_after_some_attempts(server, tmp_path, monkeypatch):
    real, calls = download_module.open_url, []

    def open_url(url, headers):
        calls.append(url)
        if len(calls) > 2:
            raise UnreachableError("cannot reach example.org: it rains")
        return real(url, headers)

    monkeypatch.setattr(fetch_module, "open_url", open_url)
    report = fetch_entries(ENTRIES, tmp_path, template(server), jobs=1, retries=3)
    assert report.fetched == ENTRIES[:2] and report.left == ENTRIES[2:]
    assert report.stopped == "cannot reach example.org: it rains"
    assert calls[2:] == [server.address + address(ENTRIES[2])] * 4


def test_a_network_that_comes_back_is_no_trouble(server, tmp_path, monkeypatch):
    real, calls = download_module.open_url, []

    def open_url(url, headers):
        calls.append(url)
        if len(calls) in (2, 3):
            raise UnreachableError("cannot reach example.org: it rains")
        return real(url, headers)

    monkeypatch.setattr(fetch_module, "open_url", open_url)
    report = fetch_entries(ENTRIES, tmp_path, template(server), jobs=1)
    assert report.fetched == ENTRIES and report.stopped is None


@pytest.mark.parametrize(("status", "retries"), [(500, 0), (403, 4)])
def test_a_server_that_fails_everything_is_left_alone(tmp_path, status, retries):
    entries = entry_names(100)
    with archive([]) as server:
        server.status = {address(entry): status for entry in entries}

        def slowly(report):  # as on a busy machine: the connections wait to be heard
            time.sleep(0.05)

        report = fetch_entries(entries, tmp_path, template(server), jobs=2, retries=retries, progress=slowly)
        assert report.stopped == f"{GIVE_UP_AFTER} entries failed one after another"
        assert len(report.failed) == GIVE_UP_AFTER and len(report.left) == 100 - GIVE_UP_AFTER
        assert len(server.log) < GIVE_UP_AFTER + 10


def test_failures_here_and_there_end_nothing(server, tmp_path):
    entries = entry_names(40)
    server.files |= {f"{entry}.cif.gz": entry_file(entry) for entry in entries}
    server.status = {address(entry): 403 for entry in entries[::2]}
    report = fetch_entries(entries, tmp_path, template(server), jobs=1)
    assert sorted(report.failed) == entries[::2] and report.stopped is None


def test_a_wrong_address_makes_nothing_missing(server, tmp_path):
    entries = entry_names(60)
    report = fetch_entries(entries, tmp_path, server.address + "/elsewhere/{id}.cif.gz")
    assert report.stopped is not None and "is its address right?" in report.stopped
    assert len(report.missing) == NOTHING_FOUND and not (tmp_path / MISSING_FILE).exists()
    assert len(server.log) < NOTHING_FOUND + 10
    server.log = []
    assert sorted(fetch_entries(ENTRIES, tmp_path, template(server)).fetched) == ENTRIES


def test_asking_again_for_many_is_no_wrong_address(server, tmp_path):
    gone = [f"2{entry[1:]}" for entry in entry_names(30)]
    report = fetch_entries([*ENTRIES, *gone], tmp_path, template(server), jobs=1)
    assert sorted(report.missing) == gone and report.stopped is None
    report = fetch_entries([*ENTRIES, *gone], tmp_path, template(server), jobs=1, ask_again=True)
    assert sorted(report.missing) == gone and report.stopped is None


@pytest.mark.parametrize(
    ("content", "what", "requests"),
    [
        (b"<!DOCTYPE html><title>Log in to the hotel's network</title>", "what came is a web page", 3),
        (entry_file("9xyz"), "what came is the file of another entry, 9xyz", 1),
        (b"", "what came is an empty file", 3),
    ],
)
def test_what_comes_is_checked(server, tmp_path, content, what, requests):
    server.files[f"{FIRST}.cif.gz"] = content
    report = fetch_entries(ENTRIES, tmp_path, template(server), retries=2)
    assert report.failed == {FIRST: f"{server.address}{address(FIRST)}: {what}"}
    assert names(tmp_path) == files(ENTRIES[1:])
    assert server.requests().count((address(FIRST), None)) == requests


def test_one_process_at_a_time(server, tmp_path):
    with (tmp_path / ".fetch.lock").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        part = tmp_path / f".{FIRST}.cif.gz.part"
        part.write_bytes(b"the other's")
        with pytest.raises(BetafoldError, match=r"another process is fetching into .*: wait for it"):
            fetch_entries(ENTRIES, tmp_path, template(server))
        assert part.exists() and server.log == []
    fetch_entries(ENTRIES, tmp_path, template(server))
    assert names(tmp_path) == files(ENTRIES)  # what a killed process left is cleaned away


def test_a_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").write_text("words")
    for folder in (tmp_path / "file", tmp_path / "file" / "folder"):
        with pytest.raises(BetafoldError, match=r"cannot write .*file"):
            fetch_entries(ENTRIES, folder, template(server))
    assert server.log == []


def test_a_full_disk_ends_the_run_with_one_line(server, tmp_path, monkeypatch):
    real = fetch_module.check_entry_file

    def full(path, entry):
        if entry == ENTRIES[2]:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(path, entry)

    monkeypatch.setattr(fetch_module, "check_entry_file", full)
    with pytest.raises(BetafoldError, match=r"cannot write .*: No space left on device"):
        fetch_entries(ENTRIES, tmp_path, template(server), jobs=1)
    assert names(tmp_path) == files(ENTRIES[:2])


NO_ADDRESSES = """
files.rcsb.org/{id}
ftp://x/{id}
file:///etc/{id}
https://x/y
https://x/{ID}
https://x/{id} y
https://x/é{id}
https:///{idd}
"""


@pytest.mark.parametrize("url", NO_ADDRESSES.split("\n"))
def test_what_is_no_address(url):
    with pytest.raises(BetafoldError, match="is no address of files: write one like https://"):
        check_url(url)


def test_the_layout_of_the_archive():
    layout = check_url("https://files.wwpdb.org/pub/pdb/data/structures/divided/mmCIF/{middle}/{id}.cif.gz")
    assert entry_url(layout, "1le0").endswith("/divided/mmCIF/le/1le0.cif.gz")
