"""Downloads that break off, go on, and are checked; and the hub's way of naming files."""

import hashlib
import socket

import pytest
from esm_helpers import TINY, TINY_CONFIG, random_tensors, write_checkpoint
from esm_hub_server import COMMIT, checkpoint_files, git_sha1, serve

from betafold_mlx.errors import BetafoldError
from betafold_mlx.esm import download as download_module
from betafold_mlx.esm.checkpoint import read_checkpoint
from betafold_mlx.esm.download import RefusedError, UnreachableError, download, open_url
from betafold_mlx.esm.hub import check_hub_id, fetch_checkpoint

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


@pytest.fixture
def hub(monkeypatch):
    with serve(checkpoint_files(MODEL, TINY) | {f"{MODEL}/README.md": b"# card"}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
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


def test_a_checkpoint_from_the_hub(hub, tmp_path):
    assert fetch_checkpoint(MODEL, tmp_path / "hub") == COMMIT
    for name in ("config.json", "model.safetensors", "vocab.txt"):
        assert (tmp_path / "hub" / name).read_bytes() == (TINY / name).read_bytes()
    assert not (tmp_path / "hub" / "README.md").exists()  # only what is needed
    assert read_checkpoint(tmp_path / "hub").config == TINY_CONFIG
    asked = {path.split("/")[4] for path, _ in hub.requests("HEAD") if "config" not in path}
    assert asked == {COMMIT}  # all of one state of the model


def test_what_is_there_is_not_downloaded_again(hub, tmp_path):
    fetch_checkpoint(MODEL, tmp_path / "hub")
    before, hub.log = len(hub.requests()), []
    assert before == 4  # three files, one of them by way of the store
    fetch_checkpoint(MODEL, tmp_path / "hub")
    assert hub.requests() == []


def test_a_download_goes_on_in_the_next_call(hub, tmp_path):
    size = (TINY / "model.safetensors").stat().st_size
    real, hub.stored = hub.stored, ()
    fetch_small = [len(hub.files[f"{MODEL}/{name}"]) for name in ("config.json", "vocab.txt")]
    hub.stored = real
    hub.cuts = [*fetch_small, size // 2, 0, 0, 0, 0, 0]
    with pytest.raises(
        BetafoldError, match=f"{size // 2:,} of {size:,} bytes are kept, and the same command"
    ):
        fetch_checkpoint(MODEL, tmp_path / "hub")
    hub.cuts, hub.log = [], []
    fetch_checkpoint(MODEL, tmp_path / "hub")
    assert (tmp_path / "hub" / "model.safetensors").read_bytes() == (TINY / "model.safetensors").read_bytes()
    assert [part for path, part in hub.requests() if path.startswith("/store/")] == [f"bytes={size // 2}-"]


def test_a_model_that_changed_is_downloaded_anew(hub, tmp_path):
    fetch_checkpoint(MODEL, tmp_path / "hub")
    other = write_checkpoint(tmp_path / "other", TINY_CONFIG, random_tensors(TINY_CONFIG, 9))
    hub.files |= checkpoint_files(MODEL, other)
    (tmp_path / "hub" / "model.safetensors").rename(
        tmp_path / "hub" / "model.safetensors.part"
    )  # half of the old
    fetch_checkpoint(MODEL, tmp_path / "hub")
    assert (tmp_path / "hub" / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


def test_a_sharded_checkpoint(monkeypatch, tmp_path):
    source = write_checkpoint(tmp_path / "source", TINY_CONFIG, random_tensors(TINY_CONFIG, 2), shards=3)
    shards = [f"model-{k:05}-of-00003.safetensors" for k in (1, 2, 3)]
    with serve(checkpoint_files(MODEL, source), stored=shards) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address + "/")
        fetch_checkpoint(MODEL, tmp_path / "hub")
        assert read_checkpoint(tmp_path / "hub").sha256 == read_checkpoint(source).sha256
        del hub.files[f"{MODEL}/{shards[1]}"]
        with pytest.raises(BetafoldError, match=f"lacks {shards[1]}, which its index names"):
            fetch_checkpoint(MODEL, tmp_path / "again")


def test_a_corrupt_download_is_never_shown(hub, tmp_path):
    hub.corrupt = True
    with pytest.raises(BetafoldError, match=r"config\.json came with a wrong checksum"):
        fetch_checkpoint(MODEL, tmp_path / "hub")
    assert names(tmp_path / "hub") == ["config.json.etag"]


def test_another_model_is_refused_before_its_weights_come(hub, tmp_path):
    hub.files[f"{MODEL}/config.json"] = b'{"model_type": "llama"}'
    with pytest.raises(BetafoldError, match="not an ESM-2 checkpoint"):
        fetch_checkpoint(MODEL, tmp_path / "hub")
    assert len(hub.requests()) == 1


def test_a_model_without_weights(hub, tmp_path):
    del hub.files[f"{MODEL}/model.safetensors"]
    with pytest.raises(BetafoldError, match=r"has no model\.safetensors"):
        fetch_checkpoint(MODEL, tmp_path / "hub")


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_model_that_is_not_open(hub, tmp_path, status):
    hub.status["/owner/other/resolve/main/config.json"] = status
    with pytest.raises(BetafoldError, match=r"no open model owner/other.*--from FOLDER"):
        fetch_checkpoint("owner/other", tmp_path / "hub")


def test_without_a_network_it_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_ENDPOINT", "https://nowhere.invalid")
    with pytest.raises(BetafoldError) as error:
        fetch_checkpoint(MODEL, tmp_path / "hub")
    message = str(error.value)
    assert "cannot reach nowhere.invalid" in message and "\n" not in message
    assert "convert-esm owner/tiny --from FOLDER" in message and "model.safetensors" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "hub_id", ["", "esm2", "a/b/c", "../x", "a/..", "a/b?x", "a b/c", "-o/x", "a/b\n", "é/x"]
)
def test_what_is_no_hub_id(hub_id):
    with pytest.raises(BetafoldError, match="write owner/name"):
        check_hub_id(hub_id)
    assert check_hub_id("facebook/esm2_t6_8M_UR50D") == "facebook/esm2_t6_8M_UR50D"
