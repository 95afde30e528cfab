"""Checkpoints in the hub's layout: download, config, tensors and their names."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from esm_helpers import TINY, TINY_CONFIG, hub_config, random_tensors, write_checkpoint
from file_server import COMMIT, checkpoint_files, serve
from mlx.utils import tree_flatten

from betafold_mlx.errors import BetafoldError
from betafold_mlx.esm.hub import INV_FREQ, canonical_tensors, our_name, read_checkpoint, read_config
from betafold_mlx.esm.model import Esm2
from betafold_mlx.esm.sizes import SIZES, EsmConfig
from betafold_mlx.files import file_sha256

FREQUENCIES = "esm.encoder.layer.{}.attention.self.rotary_embeddings.inv_freq"
MODEL = "owner/tiny"
BAD = ("owner/other", "a b", "../x", "a/b/c")
FETCH = """
import sys
from betafold_mlx.errors import BetafoldError
from betafold_mlx.esm.hub import fetch_checkpoint
for model in sys.argv[1:]:
    try: print(fetch_checkpoint(model))
    except BetafoldError as error: print(error)
"""


@pytest.fixture(scope="module")
def fetch(tmp_path_factory):
    """Fetch in a process of its own: huggingface_hub reads its environment when it is imported."""
    cache = tmp_path_factory.mktemp("hub") / "cache"

    def call(*models, endpoint="http://nowhere.invalid", offline="0"):
        settings = {"HF_HOME": str(cache), "HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": offline}
        settings |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "no_proxy": "*"}
        command, environment = [sys.executable, "-c", FETCH, *models], {**os.environ, **settings}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        return dict(zip(models, done.stdout.splitlines(), strict=True))  # one line each

    return call


@pytest.fixture(scope="module")
def fetched(fetch, tmp_path_factory):
    """What became of each model, and what was asked for."""
    folder = tmp_path_factory.mktemp("source")
    source = write_checkpoint(folder, TINY_CONFIG, random_tensors(TINY_CONFIG, 2), shards=3)
    files = checkpoint_files(MODEL, TINY) | checkpoint_files("owner/sharded", source)
    files |= checkpoint_files("owner/llama", TINY)
    files |= {"owner/llama/config.json": b'{"model_type": "llama"}'}
    files |= {f"{MODEL}/README.md": b"# card", f"{MODEL}/pytorch_model.bin": b"pickle"}
    with serve(files) as hub:
        return fetch(MODEL, "owner/sharded", "owner/llama", *BAD, endpoint=hub.address), hub.log


def test_what_is_needed_comes_once_and_is_there_offline(fetched, fetch):
    folder = Path(fetched[0][MODEL])
    assert folder.name == COMMIT
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        name.rpartition("/")[2]: content
        for name, content in checkpoint_files(MODEL, TINY).items()
        if not name.endswith("expected.safetensors")
    }
    assert fetch(MODEL, offline="1") == {MODEL: str(folder)}


def test_a_sharded_checkpoint(fetched):
    assert len(list(Path(fetched[0]["owner/sharded"]).glob("model-*-of-00003.safetensors"))) == 3


def test_another_model_is_refused_before_its_weights_come(fetched):
    answers, log = fetched
    assert "not that of an ESM-2: model_type is 'llama'" in answers["owner/llama"]
    asked = [path for path in log if "owner/llama" in path]
    assert asked and not any("safetensors" in path for path in asked)


def test_no_such_model_and_no_network_are_one_line(fetched, fetch):
    for answers in (fetched[0], fetch(*BAD)):
        for model in BAD:
            assert answers[model].startswith(f"cannot get {model} from the hub: ")
            assert answers[model].endswith(f"run convert-esm {model} --from FOLDER")


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(TINY, tmp_path / "hub")


def test_one_file_and_shards_hold_the_same(tmp_path):
    tensors = random_tensors(TINY_CONFIG, 3)
    one = read_checkpoint(write_checkpoint(tmp_path / "one", TINY_CONFIG, tensors))
    several = read_checkpoint(write_checkpoint(tmp_path / "several", TINY_CONFIG, tensors, shards=3))
    assert one.config == several.config == TINY_CONFIG
    assert one.sha256 == file_sha256(tmp_path / "one" / "model.safetensors") == one.files[0]["sha256"]
    assert [file["name"] for file in several.files] == [
        f"model-{k:05}-of-00003.safetensors" for k in (1, 2, 3)
    ]
    assert several.sha256 not in {one.sha256, *(file["sha256"] for file in several.files)}
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(several.arrays[name], tensor)
        np.testing.assert_array_equal(one.arrays[name], tensor)


class Opened:
    """Leaves a mark where it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_pickle_is_never_opened(folder, name):
    (folder / "model.safetensors").unlink()
    mark = folder / "opened"
    (folder / name).write_bytes(pickle.dumps(Opened(mark)))
    with pytest.raises(BetafoldError, match=r"not a whole safetensors file|holds no weights"):
        read_checkpoint(folder)
    assert not mark.exists()


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999])
def test_a_truncated_file(folder, share):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(BetafoldError, match="not a whole safetensors file"):
        read_checkpoint(folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", None, "has no config.json"),
        ("config.json", b"{", "not a model's config"),
        ("config.json", b"[]", "not a model's config"),
        ("vocab.txt", b"<cls>\n<pad>\n<unk>\nA\nC\nD\n<mask>\n<eos>", "not the vocabulary"),
        ("model.safetensors", None, "holds no weights"),
    ],
)
def test_damaged_folders(folder, name, content, message):
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(BetafoldError, match=message):
        read_checkpoint(folder)


def test_no_folder(tmp_path):
    with pytest.raises(BetafoldError, match="there is no folder"):
        read_checkpoint(tmp_path / "nowhere")


def test_bfloat16_is_read(folder):
    arrays = mx.load(str(folder / "model.safetensors"))
    halved = {n: a.astype(mx.bfloat16) if a.dtype == mx.float32 else a for n, a in arrays.items()}
    mx.save_safetensors(str(folder / "model.safetensors"), halved)
    assert read_checkpoint(folder).arrays["lm_head.bias"].dtype == mx.bfloat16


@pytest.mark.parametrize("size", SIZES)
def test_published_configs(tmp_path, size):
    config = EsmConfig(*SIZES[size])
    (tmp_path / "config.json").write_text(json.dumps(hub_config(config)))
    assert read_config(tmp_path) == config


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "bert"},
        {"position_embedding_type": "absolute"},
        {"emb_layer_norm_before": True},
        {"is_folding_model": True, "esmfold_config": {}},
        {"hidden_act": "relu"},
        {"vocab_size": 64},
        {"mask_token_id": 4},
        {"pad_token_id": 0},
    ],
)
def test_a_config_that_is_not_esm2(tmp_path, changes):
    (tmp_path / "config.json").write_text(json.dumps(hub_config(TINY_CONFIG) | changes))
    with pytest.raises(
        BetafoldError, match=rf"not that of an ESM-2: {next(iter(changes))} is|not a model's config"
    ):
        read_config(tmp_path)


@pytest.fixture
def arrays():
    return dict(mx.load(str(TINY / "model.safetensors")))


@pytest.mark.parametrize("size", ["8M", "650M"])
def test_every_parameter_of_the_network_has_one_source(size):
    config = EsmConfig(*SIZES[size])
    names = canonical_tensors(
        dict.fromkeys(random_tensors(EsmConfig(config.layers, 2, 1, 2), 0), mx.zeros(1))
    )
    parameters = [name for name, _ in tree_flatten(Esm2(config).parameters())]
    assert sorted(map(our_name, names)) == sorted(parameters)


def test_the_published_layout(arrays):
    tensors = canonical_tensors(arrays)
    assert len(arrays) == 46 and len(tensors) == 43  # less positions, and one table of frequencies for two
    assert our_name("esm.encoder.layer.1.attention.self.key.weight") == "blocks.1.attention.key.weight"
    assert our_name("esm.encoder.layer.0.LayerNorm.bias") == "blocks.0.feed_forward_norm.bias"
    assert our_name("esm.encoder.layer.0.attention.LayerNorm.bias") == "blocks.0.attention_norm.bias"
    assert our_name("lm_head.layer_norm.bias") == "language_head.norm.bias"


@pytest.mark.parametrize("frequencies", [FREQUENCIES.format("*"), INV_FREQ])
def test_the_names_that_transformers_5_writes(arrays, frequencies):
    renamed = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): array
        for name, array in arrays.items()
        if "inv_freq" not in name and "position" not in name
    }
    tensors = canonical_tensors(renamed | {frequencies: arrays[FREQUENCIES.format(0)]})
    assert set(tensors) == set(canonical_tensors(arrays))


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        (FREQUENCIES.format(1), FREQUENCIES.format(0)),
        ("lm_head.decoder.weight", "esm.embeddings.word_embeddings.weight"),
        ("esm.encoder.layer.0.LayerNorm.gamma", "esm.encoder.layer.0.LayerNorm.weight"),
    ],
)
def test_two_that_should_be_equal(arrays, name, twin):
    assert len(canonical_tensors(arrays | {name: arrays[twin]})) == 43
    for other in (arrays[twin] + 1e-3, arrays[twin][:2]):
        with pytest.raises(BetafoldError, match="differs from another that it should equal"):
            canonical_tensors(arrays | {name: other})
