"""`betafold-mlx dataset fetch` as a user calls it, against a server on this machine."""

import json
import signal
import subprocess
import threading
import time

import cli_helpers
import gemmi
import pytest
from data_helpers import address, archive, entry_file, entry_names, structure_entry, template

ENTRIES = entry_names(6)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")

    def call(*arguments, text=None):
        if text is None:
            return cli_helpers.run("dataset", *arguments, cwd=tmp_path)
        return cli_helpers.run_process("dataset", *arguments, cwd=tmp_path, input=text, timeout=60)

    return call


@pytest.fixture
def server():
    with archive(ENTRIES) as running:
        yield running


@pytest.fixture
def ids(tmp_path):
    (tmp_path / "ids.txt").write_text("# mine\n" + "\n".join(ENTRIES).upper() + f"\n\n{ENTRIES[0]}\n")
    return "ids.txt"


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != ".fetch.lock")


def test_a_list_is_fetched_and_kept(run, server, ids, tmp_path):
    code, out, err = run("fetch", "--ids", ids, "-o", "pdb", "--url", template(server))
    megabytes = sum(len(entry_file(entry)) for entry in ENTRIES) / 1e6
    assert (code, out) == (0, "pdb\n")
    assert err == f"betafold-mlx: 6 entries: 6 fetched ({megabytes:.1f} MB), 0 were there\n"
    assert names(tmp_path / "pdb") == [f"{entry}.cif.gz" for entry in ENTRIES]
    code, out, err = run("fetch", "--ids", ids, "-o", "pdb", "--url", template(server))
    assert (code, out) == (0, "pdb\n") and "0 fetched (0.0 MB), 6 were there" in err
    assert len(server.log) == 6


def test_bad_lines_are_named_and_the_rest_is_done(run, server, tmp_path):
    text = f">{ENTRIES[0]}\n{ENTRIES[1]}, {ENTRIES[2]}  # two\nnonsense\n"
    code, out, err = run("fetch", "--ids", "-", "-o", "pdb", "--url", template(server), text=text)
    assert (code, out) == (1, "pdb\n")
    lines = err.splitlines()
    assert lines[0] == f"betafold-mlx: -: line 1: '>{ENTRIES[0]}' is not a PDB id (as 1abc or pdb_00001abc)"
    assert lines[1].startswith("betafold-mlx: -: line 3: 'nonsense' is not a PDB id") and len(lines) == 3
    assert names(tmp_path / "pdb") == [f"{entry}.cif.gz" for entry in ENTRIES[1:3]]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"# none\n", "ids.txt holds no PDB id"),
        (b"\x00\xff\x01", "ids.txt is not a text file"),
        (None, "No such file"),
    ],
)
def test_a_list_with_nothing_in_it(run, server, tmp_path, content, what):
    if content is not None:
        (tmp_path / "ids.txt").write_bytes(content)
    code, out, err = run("fetch", "--ids", "ids.txt", "-o", "pdb", "--url", template(server))
    assert (code, out) == (1, "") and what in err and err.count("\n") == 1
    assert not (tmp_path / "pdb").exists()


def test_a_list_that_is_something_else_is_not_repeated_in_full(run, server, tmp_path):
    (tmp_path / "ids.txt").write_text("a line of a thesis\n" * 1000)
    code, _, err = run("fetch", "--ids", "ids.txt", "-o", "pdb", "--url", template(server))
    assert code == 1 and len(err.splitlines()) == 22
    assert "... and 4,980 more like this" in err and err.endswith("ids.txt holds no PDB id\n")


def test_missing_and_failed_entries(run, server, tmp_path):
    server.status[address(ENTRIES[0])] = 403
    (tmp_path / "ids.txt").write_text("\n".join(["2aaa", *ENTRIES]))
    arguments = ("fetch", "--ids", "ids.txt", "-o", "pdb", "--url", template(server))
    code, out, err = run(*arguments, "--missing-ok")
    assert (code, out) == (1, "pdb\n")
    assert f"{ENTRIES[0]}: {server.address}{address(ENTRIES[0])}: the server answers 403" in err
    assert "5 fetched" in err and "1 not in the archive (see pdb/missing.txt), 1 failed" in err
    assert (tmp_path / "pdb" / "missing.txt").read_text().splitlines()[-1] == "2aaa"
    del server.status[address(ENTRIES[0])]
    assert run(*arguments, "--missing-ok")[0] == 0
    code, out, _ = run(*arguments, "--json")
    document = json.loads(out)
    assert code == 1 and document["missing"] == ["2aaa"] and document["kept"] == ENTRIES
    assert document["url"] == template(server) and document["failed"] == {} and document["stopped"] is None
    assert server.log.count(address("2aaa")) == 1
    run(*arguments, "--ask-again")
    assert server.log.count(address("2aaa")) == 2


def test_without_a_network_it_is_one_line(run, tmp_path):
    (tmp_path / "ids.txt").write_text("\n".join(entry_names(1000)))
    code, out, err = run(
        "fetch", "--ids", "ids.txt", "-o", "pdb", "--url", "https://nowhere.invalid/{id}.cif.gz"
    )
    assert (code, out) == (1, "pdb\n")
    counts, reason = err.splitlines()
    assert counts.endswith("1,000 entries: 0 fetched (0.0 MB), 0 were there, 1,000 not tried")
    assert reason.startswith("betafold-mlx: cannot reach nowhere.invalid: ")
    assert reason.endswith("; run the same command to resume")


@pytest.mark.parametrize(
    "wrong",
    [["--url", "https://example.org/all.zip"], ["--jobs", "0"], ["--jobs", "100"], ["--retries", "-1"]],
)
def test_wrong_usage(run, ids, tmp_path, wrong):
    code, out, err = run("fetch", "--ids", ids, "-o", "pdb", *wrong)
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert not (tmp_path / "pdb").exists()


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_leaves_whole_files_and_goes_on(run, server, ids, tmp_path, number):
    arguments = ("fetch", "--ids", ids, "-o", "pdb", "--url", template(server), "--jobs", 1)
    sizes = [len(entry_file(entry)) for entry in ENTRIES]
    server.cuts, server.pause = [*sizes[:2], 1000], threading.Event()  # the third hangs half way
    folder = tmp_path / "pdb"
    command = cli_helpers.command("dataset", *arguments)
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    with process:
        wait_for(lambda: list(folder.glob(f".{ENTRIES[2]}*")))
        other = run(*arguments)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert other[0] == 1 and other[2] == "betafold-mlx: another process is fetching into pdb: wait for it\n"
    if number == signal.SIGINT:
        assert (process.returncode, err.strip()) == (130, "betafold-mlx: interrupted")
        assert names(folder) == [f"{entry}.cif.gz" for entry in ENTRIES[:2]]
    server.pause.set()
    server.log = []
    code, _, err = run(*arguments)
    assert code == 0 and "4 fetched" in err and "2 were there" in err and len(server.log) == 4
    assert names(folder) == [f"{entry}.cif.gz" for entry in ENTRIES]


def test_what_was_fetched_can_be_built(run, shared_data, tmp_path):
    """Real structures, as the archive serves them: gzipped mmCIF, to a data set that knows their entries."""
    found = sorted((shared_data / "structures").glob("*.pdb"))[:8]
    files = {path.stem: structure_entry(path.stem, gemmi.read_structure(str(path))) for path in found}
    with archive([]) as server:
        server.files = {f"{entry}.cif.gz": content for entry, content in files.items()}
        text = "\n".join(files)
        assert run("fetch", "--ids", "-", "-o", "pdb", "--url", template(server), text=text)[0] == 0
    (tmp_path / "pdb" / "missing.txt").write_text("# nothing\n")
    code, _, err = run("build", "pdb", "-o", "ds")
    assert code == 0, err
    document = json.loads((tmp_path / "ds" / "dataset.json").read_text())
    assert {record["pdb"] for record in document["records"]} <= set(files)
    assert len(document["sources"]) == len(files)
