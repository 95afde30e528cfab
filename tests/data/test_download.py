"""Downloads of PDB entries: whole, checked, and what a server and a network can do to them."""

import time

import pytest
from data_helpers import address, archive, entry_file, entry_names, template

from betafold_mlx.data import download as fetch_module
from betafold_mlx.data.download import MAX_FAILURES, MAX_MISSING, MISSING_FILE, check_url
from betafold_mlx.errors import BetafoldError

ENTRIES = entry_names(6)
FIRST = ENTRIES[0]


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(fetch_module, "TIMEOUT", 5)
    monkeypatch.setattr(fetch_module, "FIRST_WAIT", 0.01)


@pytest.fixture
def server():
    with archive(ENTRIES) as running:
        yield running


def fetch(entries, folder, server, jobs=4, retries=4, **options):
    url = server if isinstance(server, str) else template(server)
    return fetch_module.fetch_entries(entries, folder, url, jobs, retries, **options)


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != ".fetch.lock")


def files(entries):
    return [f"{entry}.cif.gz" for entry in entries]


def test_the_files_come_as_they_are(server, tmp_path):
    seen, folder = [], tmp_path / "new" / "folder"
    report = fetch(ENTRIES, folder, server, progress=lambda: seen.append(1))
    assert sorted(report.fetched) == ENTRIES and names(folder) == files(ENTRIES)
    for entry in ENTRIES:
        assert (folder / f"{entry}.cif.gz").read_bytes() == entry_file(entry)
    assert report.size == sum(len(entry_file(entry)) for entry in ENTRIES)
    assert len(seen) == 6 and len(server.log) == len(ENTRIES)
    assert not (report.kept or report.missing or report.failed or report.stopped)


def test_what_is_there_and_whole_is_kept(server, tmp_path):
    fetch(ENTRIES[:4], tmp_path, server)
    (tmp_path / f"{FIRST}.cif.gz").write_bytes(entry_file(FIRST)[:-1])
    (tmp_path / f"{ENTRIES[1]}.cif.gz").write_bytes(entry_file(ENTRIES[2]))
    server.log = []
    report = fetch(ENTRIES, tmp_path, server)
    assert sorted(report.kept) == ENTRIES[2:4]
    assert sorted(server.log) == [address(e) for e in ENTRIES[:2] + ENTRIES[4:]]
    for entry in ENTRIES:
        assert (tmp_path / f"{entry}.cif.gz").read_bytes() == entry_file(entry)


def test_a_damaged_file_stays_until_a_whole_one_comes(server, tmp_path):
    damaged = entry_file(FIRST)[:-1]
    (tmp_path / f"{FIRST}.cif.gz").write_bytes(damaged)
    server.status[address(FIRST)] = 403
    assert "403" in fetch([FIRST], tmp_path, server).failed[FIRST]
    assert (tmp_path / f"{FIRST}.cif.gz").read_bytes() == damaged


def listed(folder):
    path = folder / MISSING_FILE
    return [line for line in path.read_text().splitlines() if line[0] != "#"] if path.exists() else None


def test_missing_entries_are_asked_for_once(server, tmp_path):
    gone = ["2aaa", "2aab"]
    server.status["/store/2aab.cif.gz"] = 410
    report = fetch([*gone, *ENTRIES], tmp_path, server)
    assert sorted(report.missing) == gone and sorted(report.fetched) == ENTRIES and not report.failed
    assert listed(tmp_path) == gone
    server.log = []
    report = fetch([*gone, *ENTRIES], tmp_path, server)
    assert sorted(report.missing) == gone and sorted(report.kept) == ENTRIES and server.log == []
    server.files["2aaa.cif.gz"] = entry_file("2aaa")
    report = fetch([*gone, *ENTRIES], tmp_path, server, ask_again=True)
    assert (report.fetched, report.missing) == (["2aaa"], ["2aab"])
    assert set(server.log) == {address(entry) for entry in gone} and listed(tmp_path) == ["2aab"]
    (tmp_path / "2aab.cif.gz").write_bytes(entry_file("2aab"))  # brought by somebody
    assert fetch(gone, tmp_path, server).kept == gone and listed(tmp_path) is None


def test_what_one_server_lacks_is_asked_of_another(server, tmp_path):
    (tmp_path / MISSING_FILE).write_text(f"# at https://example.org/{{id}}\n{FIRST}\n")
    assert sorted(fetch(ENTRIES, tmp_path, server).fetched) == ENTRIES and listed(tmp_path) is None


@pytest.mark.parametrize("statuses", [[503], [429, 500], [408, 502, 504]])
def test_a_busy_server_is_asked_again(server, tmp_path, statuses):
    server.status[address(FIRST)] = list(statuses)
    assert sorted(fetch(ENTRIES, tmp_path, server).fetched) == ENTRIES
    assert server.log.count(address(FIRST)) == len(statuses) + 1


def test_a_connection_that_breaks_is_tried_again(server, tmp_path):
    server.cuts = [0, 10, 12_000]
    assert fetch([FIRST], tmp_path, server).fetched == [FIRST]
    assert len(server.log) == 4 and names(tmp_path) == files([FIRST])


def test_one_that_breaks_every_time_fails_alone(server, tmp_path):
    server.cuts = [100] * 3
    report = fetch(ENTRIES, tmp_path, server, jobs=1, retries=2)
    assert report.failed.keys() == {FIRST} and "cannot reach 127.0.0.1" in report.failed[FIRST]
    assert sorted(report.fetched) == ENTRIES[1:] and names(tmp_path) == files(ENTRIES[1:])


def test_waits_double_and_last_as_long_as_the_server_asks(server, tmp_path, monkeypatch):
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    monkeypatch.setattr(fetch_module.asyncio, "sleep", sleep)
    monkeypatch.setattr(fetch_module, "FIRST_WAIT", 1.0)
    server.status[address(FIRST)] = 500
    fetch([FIRST], tmp_path, server, retries=3)
    assert len(waits) == 3 and all(0.5 <= wait / 2**n <= 1.5 for n, wait in enumerate(waits))
    server.status[address(FIRST)], server.retry_after = [429], "40"
    assert fetch([FIRST], tmp_path, server).fetched == [FIRST] and waits[3:] == [40]
    server.status[address(ENTRIES[1])], server.retry_after, server.log = 503, "3600", []
    report = fetch(ENTRIES[1:], tmp_path, server, jobs=1)
    assert "asks to wait 3600 s" in report.stopped and len(server.log) == 1


def test_no_more_connections_than_asked_for(server, tmp_path):
    server.files |= {f"{entry}.cif.gz": entry_file(entry) for entry in entry_names(20)}
    server.slow = 0.05
    fetch(entry_names(20), tmp_path, server, jobs=3)
    assert server.busiest == 3


def test_without_a_network_it_ends_at_once(tmp_path):
    started = time.monotonic()
    report = fetch(entry_names(2000), tmp_path, "https://nowhere.invalid/{id}")
    assert report.stopped.startswith("cannot reach nowhere.invalid: ") and not report.failed
    assert names(tmp_path) == [] and time.monotonic() - started < 10


@pytest.mark.parametrize(("status", "retries"), [(500, 0), (403, 4)])
def test_a_server_that_fails_everything_is_left_alone(tmp_path, status, retries):
    entries = entry_names(100)
    with archive([]) as server:
        server.status = {address(entry): status for entry in entries}
        report = fetch(entries, tmp_path, server, jobs=2, retries=retries)
        assert report.stopped == f"{MAX_FAILURES} entries failed one after another"
        assert len(server.log) < MAX_FAILURES + 4


def test_failures_here_and_there_end_nothing(server, tmp_path):
    entries = entry_names(40)
    server.files |= {f"{entry}.cif.gz": entry_file(entry) for entry in entries}
    server.status = {address(entry): 403 for entry in entries[::2]}
    report = fetch(entries, tmp_path, server, jobs=1)
    assert sorted(report.failed) == entries[::2] and report.stopped is None


def test_a_wrong_address_makes_nothing_missing(server, tmp_path):
    report = fetch(entry_names(60), tmp_path, server.address + "/elsewhere/{id}.cif.gz")
    assert "is its address right?" in report.stopped and listed(tmp_path) is None
    assert MAX_MISSING <= len(server.log) < MAX_MISSING + 4
    gone = [f"2{entry[1:]}" for entry in entry_names(30)]  # but a server that has something may lack many
    report = fetch([*ENTRIES, *gone], tmp_path, server)
    assert sorted(report.missing) == listed(tmp_path) == gone and report.stopped is None


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"<!DOCTYPE html><title>Log in to the hotel's network</title>", "a web page"),
        (entry_file("9xyz"), "the file of another entry, 9xyz"),
        (b"", "an empty file"),
    ],
)
def test_what_comes_is_checked(server, tmp_path, content, what):
    server.files[f"{FIRST}.cif.gz"] = content
    report = fetch(ENTRIES, tmp_path, server, retries=2)
    assert report.failed == {FIRST: f"{server.address}{address(FIRST)}: what came is {what}"}
    assert names(tmp_path) == files(ENTRIES[1:])


def test_a_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").write_text("words")
    for folder in (tmp_path / "file", tmp_path / "file" / "folder"):
        with pytest.raises(BetafoldError, match=r"cannot write .*file"):
            fetch(ENTRIES, folder, server)
    assert server.log == []


@pytest.mark.parametrize(
    "url", ["", "x.org/{id}", "ftp://x/{id}", "https://x/y", "https:///{id}", "http://x:y/{id}"]
)
def test_what_is_no_address(url):
    with pytest.raises(BetafoldError, match="is not an address of files: write one like https://"):
        check_url(url)
