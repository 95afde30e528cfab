"""Downloads that break off, go on, and are checked."""

import hashlib
import socket
import time
from email.utils import formatdate

import pytest
from esm_hub_server import git_sha1, serve

from betafold_mlx import download as download_module
from betafold_mlx.download import RefusedError, UnreachableError, download, open_url
from betafold_mlx.errors import BetafoldError

MODEL = "owner/tiny"
CONTENT = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PATH = "/store/owner/tiny/model.safetensors"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download_module, "TIMEOUT", 5)
    waits = []
    monkeypatch.setattr(download_module.time, "sleep", waits.append)
    return waits


@pytest.fixture
def server():
    with serve({f"{MODEL}/model.safetensors": CONTENT}) as hub:
        yield hub


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file(server, tmp_path):
    seen = []
    path = tmp_path / "deep" / "file"
    download(server.address + PATH, path, len(CONTENT), SHA256, lambda have, size: seen.append((have, size)))
    assert path.read_bytes() == CONTENT and names(path.parent) == ["file"]
    assert seen[-1] == (len(CONTENT), len(CONTENT)) and seen == sorted(seen)


def test_a_git_checksum(server, tmp_path):
    download(server.address + PATH, tmp_path / "file", len(CONTENT), git_sha1(CONTENT))
    with pytest.raises(BetafoldError, match="wrong checksum"):
        download(server.address + PATH, tmp_path / "other", len(CONTENT), git_sha1(CONTENT + b"x"))
    assert names(tmp_path) == ["file"]


def test_a_connection_that_breaks_goes_on_where_it_was(server, tmp_path, no_waiting):
    server.cuts = [1000, 20000, 30000]
    download(server.address + PATH, tmp_path / "file", len(CONTENT), SHA256)
    assert (tmp_path / "file").read_bytes() == CONTENT
    parts = [part for _, part in server.requests()]
    assert parts == [None, "bytes=1000-", "bytes=21000-", "bytes=51000-"]
    assert no_waiting == [1, 1, 1]  # it got on each time


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(server, tmp_path, no_waiting):
    server.cuts = [5000] + [0] * 10
    with pytest.raises(UnreachableError, match="broke off; 5,000 of 256,000 bytes are kept"):
        download(server.address + PATH, tmp_path / "file", len(CONTENT), SHA256)
    assert no_waiting == [1, 1, 2, 4, 8] and names(tmp_path) == ["file.part"]
    server.cuts, server.log = [], []
    download(server.address + PATH, tmp_path / "file", len(CONTENT), SHA256)
    assert server.requests() == [(PATH, "bytes=5000-")]
    assert (tmp_path / "file").read_bytes() == CONTENT and names(tmp_path) == ["file"]


def test_a_server_that_sends_no_parts(server, tmp_path):
    server.cuts, server.ranges = [1000], False
    download(server.address + PATH, tmp_path / "file", len(CONTENT), SHA256)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_part_that_is_too_long_is_thrown_away(server, tmp_path):
    (tmp_path / "file.part").write_bytes(bytes(len(CONTENT) + 1))
    download(server.address + PATH, tmp_path / "file", len(CONTENT), SHA256)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_part_of_another_file_is_found_out(server, tmp_path):
    (tmp_path / "file.part").write_bytes(b"x" * 1000)
    with pytest.raises(BetafoldError, match="wrong checksum and was thrown away: try again"):
        download(server.address + PATH, tmp_path / "file", len(CONTENT), SHA256)
    assert names(tmp_path) == []
    download(server.address + PATH, tmp_path / "file", len(CONTENT), SHA256)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_not_tried_again(server, tmp_path, status):
    server.status[PATH] = status
    with pytest.raises(RefusedError, match=f"answers {status}"):
        download(server.address + PATH, tmp_path / "file", len(CONTENT), SHA256)
    assert len(server.log) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_in_trouble_is_asked_again(server, tmp_path, no_waiting, status):
    server.status[PATH] = status
    with pytest.raises(UnreachableError, match=f"answers {status}"):
        download(server.address + PATH, tmp_path / "file", len(CONTENT), SHA256)
    assert len(server.log) == download_module.ATTEMPTS and no_waiting == [1, 2, 4, 8]


def test_two_processes_do_not_write_one_file(server, tmp_path):
    import fcntl

    with (tmp_path / "file.part").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(BetafoldError, match="another process is downloading"):
            download(server.address + PATH, tmp_path / "file", len(CONTENT), SHA256)
    assert server.log == []


def test_nobody_there(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(UnreachableError, match=r"cannot reach 127\.0\.0\.1:\d+: .*refused"):
        open_url(address + "/x")
    with pytest.raises(UnreachableError, match=r"cannot reach nowhere\.invalid"):
        open_url("https://nowhere.invalid/x")
    for address in ("file:///etc/passwd", "ftp://x/y", "x"):
        with pytest.raises(BetafoldError, match="not a web address"):
            open_url(address)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (None, None),
        ("7", 7),
        ("0", 0),
        (60, 60),
        (-60, 0),
        ("soon", None),
        ("-3", None),
        ("99999999999 Jan", None),
    ],
)
def test_how_long_a_server_asks_to_wait(server, said, seconds):
    """A number of seconds or a date, by RFC 9110; anything else is as if nothing were said."""
    if isinstance(said, int):
        said = formatdate(time.time() + said, usegmt=True)
    server.status[PATH], server.retry_after = 503, said
    with pytest.raises(RefusedError) as error:
        open_url(server.address + PATH)
    assert error.value.status == 503 and error.value.is_passing
    if seconds is None:
        assert error.value.retry_after is None
    else:
        assert error.value.retry_after == pytest.approx(seconds, abs=2)
