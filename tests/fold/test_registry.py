"""Models by name or folder, and the list of installed ones."""

import json

import pytest

from betafold_mlx.errors import BetafoldError
from betafold_mlx.fold import registry
from betafold_mlx.model.config import MODEL_TYPE


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A folder of installed models: the bundled one, and another."""
    folder = tmp_path / "weights"
    monkeypatch.setattr(registry, "_WEIGHTS", (tmp_path / "none", folder))
    for name in (registry.DEFAULT_MODEL, "another"):
        install(folder / name, json.dumps({"model_type": MODEL_TYPE}))
    return folder


def install(directory, text):
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(text)


def test_the_bundled_model_folds_where_none_is_named(weights):
    assert registry.find_model() == weights / registry.DEFAULT_MODEL
    (weights / registry.DEFAULT_MODEL / "config.json").unlink()
    with pytest.raises(BetafoldError, match="bundled model betafold-mini is missing"):
        registry.find_model()


def test_a_model_by_name_or_folder(weights, tmp_path):
    assert registry.find_model("another") == weights / "another"
    (tmp_path / "mine").mkdir()
    assert registry.find_model(tmp_path / "mine") == tmp_path / "mine"
    for name in ("absent", "../weights/another", "x" * 5000):
        with pytest.raises(BetafoldError, match="no model directory at"):
            registry.find_model(name)


def test_what_is_no_model_is_not_listed(weights):
    for name, text in (
        ("empty", ""),
        ("list", "[]"),
        ("deep", "[" * 100_000),
        ("esm", '{"model_type": "esm"}'),
    ):
        install(weights / name, text)
    (weights / "folder" / "config.json").mkdir(parents=True)
    install(weights / ".half.xyz", json.dumps({"model_type": MODEL_TYPE}))
    assert registry.installed_models() == [registry.DEFAULT_MODEL, "another"]
