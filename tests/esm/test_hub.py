"""Checkpoints from a hub on this machine, through huggingface_hub."""

import subprocess
import sys

import pytest
from esm_helpers import TINY, TINY_CONFIG, random_tensors, write_checkpoint
from file_server import COMMIT, checkpoint_files, serve

MODEL = "owner/tiny"
FETCH = (
    "import sys\nfrom betafold_mlx.errors import BetafoldError\nfrom betafold_mlx.esm.hub import fetch_checkpoint\n"
    "try: print(fetch_checkpoint(sys.argv[1]))\nexcept BetafoldError as error: sys.exit(str(error))"
)


@pytest.fixture
def fetch(tmp_path, monkeypatch):
    """Fetch in a process of its own: huggingface_hub reads its environment when it is imported."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    monkeypatch.setenv("no_proxy", "*")

    def call(model=MODEL, endpoint="http://nowhere.invalid", offline="0"):
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        monkeypatch.setenv("HF_HUB_OFFLINE", offline)
        done = subprocess.run([sys.executable, "-c", FETCH, model], capture_output=True, text=True)
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout.strip() or done.stderr.strip()

    return call


def test_what_is_needed_comes_once_and_is_there_offline(fetch):
    from pathlib import Path

    files = checkpoint_files(MODEL, TINY)
    with serve(files | {f"{MODEL}/README.md": b"# card", f"{MODEL}/pytorch_model.bin": b"pickle"}) as hub:
        folder = Path(fetch(endpoint=hub.address))
        assert folder.name == COMMIT
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
            name.rpartition("/")[2]: content
            for name, content in files.items()
            if not name.endswith("expected.safetensors")
        }
    assert fetch(offline="1") == str(folder)


def test_a_sharded_checkpoint(fetch, tmp_path):
    source = write_checkpoint(tmp_path / "source", TINY_CONFIG, random_tensors(TINY_CONFIG, 2), shards=3)
    with serve(checkpoint_files(MODEL, source)) as hub:
        from pathlib import Path

        folder = Path(fetch(endpoint=hub.address))
    assert len(list(folder.glob("model-*-of-00003.safetensors"))) == 3


def test_another_model_is_refused_before_its_weights_come(fetch):
    with serve(checkpoint_files(MODEL, TINY) | {f"{MODEL}/config.json": b'{"model_type": "llama"}'}) as hub:
        assert "not an ESM-2 checkpoint" in fetch(endpoint=hub.address)
        assert not any("safetensors" in path for path in hub.log)


@pytest.mark.parametrize("model", ["owner/other", "a b", "../x", "a/b/c"])
def test_no_such_model_and_no_network_are_one_line(fetch, model):
    with serve(checkpoint_files(MODEL, TINY)) as hub:
        for message in (fetch(model, hub.address), fetch(model)):
            assert message.startswith(f"cannot get {model} from the hub: ") and "\n" not in message
            assert message.endswith(f"run convert-esm {model} --from FOLDER")
