"""`betafold-mlx convert-esm` as a user calls it. Random checkpoints: no network, no real weights."""

import importlib.util
import json
import os
import pickle
import shutil
import subprocess
import sys

import pytest
from cli_helpers import error_line, run_process
from cli_helpers import run as run_here
from esm_helpers import TINY, random_tensors, write_checkpoint
from file_server import COMMIT, checkpoint_files, serve

from betafold_mlx.esm.converted import load_esm
from betafold_mlx.esm.sizes import SIZES, EsmConfig
from betafold_mlx.files import file_sha256


def environment(folder, endpoint):
    return {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(folder / ".cache"), "no_proxy": "*"}


@pytest.fixture
def run(tmp_path):
    def call(*arguments, endpoint="http://nowhere.invalid"):
        if "--from" in arguments:  # in this process, which has loaded transformers once
            return run_here("convert-esm", *arguments, cwd=tmp_path)
        return run_process("convert-esm", *arguments, cwd=tmp_path, env=environment(tmp_path, endpoint))

    return call


@pytest.fixture(scope="module")
def tensors():
    """Return random weights of the 8M network, the size of the published ones."""
    return random_tensors(EsmConfig(*SIZES["8M"]), seed=1)


def test_a_full_size_checkpoint(run, tmp_path, tensors):
    """The 8M configuration in the hub's layout, in shards; random weights are called what they are."""
    config = EsmConfig(*SIZES["8M"])
    write_checkpoint(tmp_path / "random-8M", config, tensors, shards=2)
    code, out, err = run("--from", "random-8M", "--dtype", "float16")
    assert code == 0
    assert "NOT the published ESM-2 weights" in error_line(err)
    assert out.startswith("weights/random-8M: random-8M (8M, NOT the published ESM-2 weights)\n")
    assert "24c5fa474c48f3b754b86efe752d5f189d2bcd88190fa2270fc92b2ef3034189: different" in out
    assert "tensors   112 mapped, 2 unused" in out and "verified  against float64" in out
    esm = load_esm(tmp_path / "weights" / "random-8M")
    assert esm.dtype == "float16" and esm.config == config and not esm.published
    assert sorted(path.name for path in tmp_path.iterdir()) == ["random-8M", "weights"]


def test_one_json_document(run, tmp_path):
    code, out, err = run("owner/tiny", "--from", TINY, "-o", "a/b", "--json")
    document = json.loads(out)
    assert code == 0 and "not checked against the published" in error_line(err)
    assert set(document) == {
        *("schema_version", "output", "embedder", "network", "source", "tensors", "verification", "check")
    }
    assert document["output"] == "a/b" and document["network"]["layers"] == 2
    assert document["embedder"]["name"] == document["source"]["name"] == "owner/tiny"
    assert document["embedder"]["sha256"] == file_sha256(tmp_path / "a" / "b" / "model.safetensors")
    assert document["embedder"]["checksum"] == "unknown" and document["embedder"]["published"] is False
    assert document["source"]["origin"] == "folder"
    assert len(document["tensors"]) == 46 and document["tensors"]["lm_head.bias"] == "language_head.bias"
    assert document["tensors"]["esm.embeddings.position_ids"] is None and document["check"] is None
    assert 0 < document["verification"]["hidden"] < 1e-4


@pytest.mark.slow
def test_from_the_hub(run, tmp_path):
    with serve(checkpoint_files("owner/tiny", TINY)) as hub:
        code, out, _ = run("owner/tiny", "--json", endpoint=hub.address)
        assert code == 0 and json.loads(out)["source"] | {"files": 0} == {
            "name": "owner/tiny",
            "origin": "hub",
            "commit": COMMIT,
            "sha256": file_sha256(TINY / "model.safetensors"),
            "files": 0,
        }
        assert [path.name for path in (tmp_path / "weights").iterdir()] == ["tiny"]
        hub.log = []
        code, _, err = run("owner/tiny", endpoint=hub.address)
        assert code == 1 and "weights/tiny exists: replace it with --force" in error_line(err)
        assert hub.log == []  # known before anything is downloaded
        assert run("owner/tiny", "--force", endpoint=hub.address)[0] == 0


@pytest.mark.slow
def test_the_default_model_is_not_believed_without_its_checksum(run, tmp_path, tensors):
    folder = write_checkpoint(tmp_path / "hub", EsmConfig(*SIZES["8M"]), tensors)
    with serve(checkpoint_files("facebook/esm2_t6_8M_UR50D", folder)) as hub:
        code, out, err = run(endpoint=hub.address)
    assert code == 0 and "NOT the published ESM-2 weights" in error_line(err)
    assert "facebook/esm2_t6_8M_UR50D (8M, NOT the published ESM-2 weights)" in out
    assert not load_esm(tmp_path / "weights" / "esm2_t6_8M_UR50D").published


def test_without_a_network(run, tmp_path):
    code, out, err = run()
    assert (code, out) == (1, "")
    line = error_line(err)
    assert "cannot get facebook/esm2_t6_8M_UR50D from the hub" in line and "--from FOLDER" in line
    assert not (tmp_path / "weights").exists()


def pickled(folder):
    (folder / "model.safetensors").write_bytes(pickle.dumps({"a": 1}))


def misshapen(folder):
    document = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(document | {"intermediate_size": 96}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (pickled, "not a whole safetensors file"),
        (misshapen, "tensor blocks.0.contract.weight is (24, 48), the model needs (24, 96)"),
    ],
)
def test_a_bad_checkpoint_is_one_line_and_leaves_nothing(run, tmp_path, damage, message):
    damage(shutil.copytree(TINY, tmp_path / "hub"))
    code, out, err = run("--from", "hub")
    assert (code, out) == (1, "") and message in error_line(err)
    assert [path.name for path in tmp_path.iterdir() if path.name != "weights"] == ["hub"]
    assert not (tmp_path / "weights").exists() or list((tmp_path / "weights").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["not a hub id"], 1, "cannot get not a hub id from the hub"),
        (["--dtype", "int8"], 2, "int8"),
        (["--from", "nowhere"], 1, "there is no folder nowhere"),
        (["--from", str(TINY), "-o", "..", "--force"], 1, "is not a converted ESM-2"),
        (["--from", str(TINY), "-o", ".", "--force"], 1, "name a new folder"),
    ],
)
def test_wrong_usage(run, tmp_path, arguments, code, message):
    (tmp_path / "thesis.txt").write_text("")
    got, out, err = run(*arguments)
    assert (got, out) == (code, "") and message in error_line(err)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch (pip install torch)")
def test_check_compares_with_pytorch(run, tmp_path):
    code, out, _ = run("--from", TINY, "-o", "x", "--check", "--dtype", "float16", "--json")
    check = json.loads(out)["check"]
    assert code == 0 and check["largest_hidden"] > 3 and 0 < check["hidden"] < 1e-4


def test_check_without_torch_is_one_line(tmp_path):
    program = (
        "import sys\nsys.modules['torch'] = None\nfrom betafold_mlx.cli.main import main\n"
        f"main(['convert-esm', '--from', {str(TINY)!r}, '-o', 'x', '--check'])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and error_line(done.stderr).endswith(
        "--check needs PyTorch: pip install torch"
    )
    assert list(tmp_path.iterdir()) == []
