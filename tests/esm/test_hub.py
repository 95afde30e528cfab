"""The hub's way of naming files, and what becomes of a checkpoint that is fetched from it."""

import pytest
from esm_helpers import TINY, TINY_CONFIG, random_tensors, write_checkpoint
from esm_hub_server import COMMIT, checkpoint_files, serve

from betafold_mlx import download as download_module
from betafold_mlx.errors import BetafoldError
from betafold_mlx.esm.checkpoint import read_checkpoint
from betafold_mlx.esm.hub import check_hub_id, fetch_checkpoint

MODEL = "owner/tiny"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download_module, "TIMEOUT", 5)
    monkeypatch.setattr(download_module.time, "sleep", lambda seconds: None)


@pytest.fixture
def hub(monkeypatch):
    with serve(checkpoint_files(MODEL, TINY) | {f"{MODEL}/README.md": b"# card"}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        yield hub


def names(folder):
    return sorted(path.name for path in folder.iterdir())


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
