"""Loading converted directories: strictly, and with a line that says what is wrong."""

import json
import shutil

import mlx.core as mx
import pytest
from esm_helpers import TINY

from betafold_mlx.errors import BetafoldError
from betafold_mlx.esm.convert import convert
from betafold_mlx.esm.converted import load_esm
from betafold_mlx.esm.hub import read_checkpoint
from betafold_mlx.files import file_sha256


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    return convert(read_checkpoint(TINY), tmp_path_factory.mktemp("esm") / "tiny", "owner/tiny").esm.path


@pytest.fixture
def folder(converted, tmp_path):
    return shutil.copytree(converted, tmp_path / "tiny")


def edit_config(folder, **changes):
    path = folder / "config.json"
    document = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in document.items() if value is not ...}))


def edit_weights(folder, name, array):
    """Change a tensor, and the checksum with it, so that only the tensor is wrong."""
    path = folder / "model.safetensors"
    arrays = dict(mx.load(str(path)))
    arrays.pop(name, None)
    if array is not None:
        arrays[name] = array
    mx.eval(arrays)
    mx.save_safetensors(str(path), arrays)
    edit_config(folder, weights_sha256=file_sha256(path))


def test_what_is_loaded(folder):
    esm = load_esm(folder)
    assert (esm.name, esm.config.size, esm.dtype, esm.path) == ("owner/tiny", "2x24", "float32", folder)
    assert esm.sha256 == file_sha256(folder / "model.safetensors")
    assert esm.source_sha256 == file_sha256(TINY / "model.safetensors")
    assert esm.label == "owner/tiny (2x24, not checked against the published ESM-2 weights)"
    assert esm.to_dict() == {
        "kind": "esm2",
        "label": esm.label,
        "name": "owner/tiny",
        "size": "2x24",
        "width": 24,
        "sha256": esm.sha256,
        "source_sha256": esm.source_sha256,
        "dtype": "float32",
        "published": False,
        "checksum": "unknown",
    }


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("norm.bias", None, "lacks tensor norm.bias"),
        ("inv_freq", None, "lacks tensor inv_freq"),
        ("contact_head.regression.weight", None, "lacks tensor contact_head.regression.weight"),
        ("blocks.2.expand.bias", mx.zeros(48), "unknown tensor blocks.2.expand.bias"),
        ("language_head.bias", mx.zeros(32), "language_head.bias is"),
        ("blocks.1.attention.key.bias", mx.full(24, mx.nan), "blocks.1.attention.key.bias holds NaN"),
        ("blocks.1.attention.key.bias", mx.zeros(24, dtype=mx.int32), "blocks.1.attention.key.bias holds"),
    ],
)
def test_a_wrong_tensor_is_named(folder, name, array, message):
    edit_weights(folder, name, array)
    with pytest.raises(BetafoldError, match=message):
        load_esm(folder)


def test_one_changed_number_is_noticed(folder):
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(BetafoldError, match="its sha256 differs"):
        load_esm(folder)


def test_a_truncated_file(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BetafoldError, match="not a whole safetensors file"):
        load_esm(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "betafold"}, "does not describe a converted ESM-2"),
        ({"model_type": ...}, "model_type None"),
        ({"schema_version": 2}, "has schema 2; this version reads 1"),
        ({"weights_sha256": ...}, "not complete"),
        ({"source": ...}, "not complete"),
        ({"source": {"name": "x"}}, "not complete"),
        ({"network": ...}, "not complete"),
        ({"network": {}}, "not complete"),
        ({"weights_sha256": "0" * 64}, "its sha256 differs"),
    ],
)
def test_a_damaged_config(folder, changes, message):
    edit_config(folder, **changes)
    with pytest.raises(BetafoldError, match=message):
        load_esm(folder)


def test_a_config_of_another_size(folder):
    network = json.loads((folder / "config.json").read_text())["network"]
    edit_config(folder, network=network | {"layers": 3})
    with pytest.raises(BetafoldError, match=r"lacks tensor blocks\.2"):
        load_esm(folder)


def test_folders_of_another_kind(tmp_path):
    with pytest.raises(BetafoldError, match="make one with convert-esm"):
        load_esm(tmp_path / "nowhere")
    with pytest.raises(BetafoldError, match="make one with convert-esm"):
        load_esm(tmp_path)
    with pytest.raises(BetafoldError, match=r"Hugging Face checkpoint: convert it with convert-esm --from"):
        load_esm(TINY)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(BetafoldError, match="model_type None"):
        load_esm(tmp_path)
