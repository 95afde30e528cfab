"""Which model folds when none is named: the rule of `betafold_mlx.fold.registry.best_model`."""

import dataclasses
import json
import shutil

import pytest
from esm_helpers import TINY, random_tensors, write_checkpoint

from betafold_mlx.errors import BetafoldError
from betafold_mlx.esm.checkpoint import read_checkpoint
from betafold_mlx.esm.config import EsmConfig
from betafold_mlx.esm.convert import convert
from betafold_mlx.esm.directory import describe_esm
from betafold_mlx.esm.published import PUBLISHED, Published
from betafold_mlx.fold import registry as zoo
from betafold_mlx.model.config import SCHEMA_VERSION, EmbedderConfig, ModelConfig


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two converted ESM-2."""
    path = tmp_path_factory.mktemp("esm")
    convert(read_checkpoint(TINY), path / "tiny", "owner/tiny")
    other = EsmConfig(layers=1, width=24, heads=3, ffn_width=48)
    source = read_checkpoint(write_checkpoint(path / "hub", other, random_tensors(other, 1)))
    convert(source, path / "other", "owner/other")
    return path


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A folder of installed models: a bundled one with a validation RMSD of 5."""
    monkeypatch.setattr(zoo, "_WEIGHTS", (tmp_path / "none", tmp_path / "weights"))
    install(tmp_path / "weights" / "betafold-mini", 5.0)
    return tmp_path / "weights"


def install(directory, score, embedder=None, dataset="d" * 64, **training):
    """A model directory as far as choosing one looks at it."""
    config = ModelConfig(width=8, layers=1, heads=2, ffn_width=8, embedder=embedder or EmbedderConfig())
    training = {"dataset_sha256": dataset, "validation": {"score": score}} | training
    document = {
        "model_type": "betafold", "schema_version": SCHEMA_VERSION, "network": config.to_dict(), "training": training,
    }  # fmt: skip
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps(document))


@pytest.fixture
def published(folder, weights, monkeypatch):
    """The tiny ESM-2, installed and on record as a published one."""
    copy = shutil.copytree(folder / "tiny", weights / "esm2_tiny")
    monkeypatch.setitem(PUBLISHED, "2x24", Published("owner/tiny", 1, describe_esm(copy).source_sha256))
    return describe_esm(copy).embedder_config()


def test_the_lowest_validation_figure_on_the_same_data_wins(weights, published):
    assert zoo.find_model() == weights / "betafold-mini"
    install(weights / "worse", 5.5, published)
    install(weights / "other-data", 1.0, published, dataset="c" * 64)
    install(weights / "same", 5.0)
    assert zoo.find_model() == weights / "betafold-mini"
    install(weights / "better", 4.5, published)
    assert zoo.find_model() == weights / "better"
    install(weights / "a-best", 4.0)
    install(weights / "z-best", 4.0)
    assert zoo.find_model() == weights / "a-best"
    assert zoo.find_model("worse") == weights / "worse"


def test_random_and_missing_embedders_never_win(weights, published, folder):
    missing = dataclasses.replace(published, sha256="a" * 64)
    install(weights / "missing", 1.0, missing)
    shutil.copytree(folder / "other", weights / "esm2_random")
    random = describe_esm(weights / "esm2_random").embedder_config()
    install(weights / "random", 1.0, dataclasses.replace(random, published=True))  # its word is not taken
    assert zoo.find_model() == weights / "betafold-mini"


@pytest.mark.parametrize(
    "training",
    [
        {"validation": {}},
        {"validation": {"score": None}},
        {"validation": {"score": "low"}},
        {"validation": {"score": float("nan")}},
        {"validation": {"score": float("-inf")}},
        {"validation": 4},
        {"dataset_sha256": None},
        {"dataset_sha256": 5},
    ],
)
def test_models_that_do_not_say_enough_are_passed_over(weights, training):
    install(weights / "odd", 1.0, **training)
    assert zoo.find_model() == weights / "betafold-mini"


def test_what_is_no_model_is_passed_over(weights):
    for name, text in (
        ("empty", ""),
        ("list", "[]"),
        ("deep", "[" * 100_000),
        ("esm", '{"model_type": "esm"}'),
    ):
        (weights / name).mkdir()
        (weights / name / "config.json").write_text(text)
    (weights / "folder" / "config.json").mkdir(parents=True)
    install(weights / ".half.xyz", 1.0)
    assert zoo.find_model() == weights / "betafold-mini"


def test_a_bundled_model_without_figures_stays(weights):
    shutil.rmtree(weights / "betafold-mini")
    install(weights / "betafold-mini", 5.0, validation={})
    install(weights / "better", 1.0)
    assert zoo.find_model() == weights / "betafold-mini"
    shutil.rmtree(weights / "betafold-mini")
    with pytest.raises(BetafoldError, match="bundled model betafold-mini is missing"):
        zoo.find_model()


def test_the_real_bundled_model_says_enough_to_be_compared():
    assert zoo._standing(zoo.find_model("betafold-mini")) is not None
