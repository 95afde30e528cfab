"""Model directories: ``config.json``, ``model.safetensors`` and a model card."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import atomic_directory, file_sha256, read_json, to_json
from betafold_mlx.model.config import CONFIG_FILE, MODEL_TYPE, SCHEMA_VERSION, ModelConfig
from betafold_mlx.model.folding import FoldingModel
from betafold_mlx.model.heads import FEATURES

WEIGHTS_FILE, CARD_FILE = "model.safetensors", "README.md"

Kind = tuple[str, int]
"""The ``model_type`` and the ``schema_version`` in ``config.json``."""

FOLDING_KIND: Kind = (MODEL_TYPE, SCHEMA_VERSION)

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class LoadedNetwork(Generic[Network]):
    """A network and where it came from."""

    model: Network  # ready to use (float32)
    name: str  # name of the directory it was loaded from
    sha256: str  # SHA-256 of ``model.safetensors``
    path: Path  # the directory
    trained_on: str | None = None  # SHA-256 of the data set it was trained on, where the model says


LoadedModel = LoadedNetwork[FoldingModel]
"""A folding model and where it came from."""


def load_arrays(path: Path) -> dict[str, mx.array]:
    """Read a safetensors file; BetafoldError where it is missing, truncated, or of another format."""
    if not path.is_file():
        raise BetafoldError(f"{path} is not there")
    try:
        arrays = mx.load(str(path), format="safetensors")
        assert isinstance(arrays, dict)
        mx.eval(arrays)
    except Exception as error:  # RuntimeError, ValueError or a JSON error, by the place of the damage
        raise BetafoldError(
            f"{path} is not a whole safetensors file (truncated or another format)"
        ) from error
    return arrays


def save_arrays(path: Path, arrays: dict[str, mx.array], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file; OSError where the file system refuses."""
    try:
        mx.save_safetensors(str(path), arrays, metadata)
    except RuntimeError as error:  # MLX's word for a full disk
        raise OSError(f"the disk may be full ({error})") from error


def load_directory(
    directory: Path, kind: Kind, build: Callable[[dict[str, Any]], Network], what: str
) -> LoadedNetwork[Network]:
    """Load a directory of any kind of model, whose ``config.json`` says this kind.

    `build` makes the network from the settings there, and may raise BetafoldError; `what` is what the directory
    should describe, in words. BetafoldError for anything missing, damaged, or of another kind; it says which file and
    what to do.
    """
    directory, (model_type, schema) = Path(directory), kind
    path = directory / CONFIG_FILE
    if not directory.is_dir():
        raise BetafoldError(f"no model directory at {directory}")
    if not path.is_file():
        raise BetafoldError(f"{directory} is not a model directory: it has no {CONFIG_FILE}")
    document = read_json(path)
    if not isinstance(document, dict) or document.get("model_type") != model_type:
        raise BetafoldError(f"{path} does not describe {what}")
    if document.get("schema_version") != schema:
        raise BetafoldError(
            f"{path} has schema {document.get('schema_version')!r:.40}; this version reads {schema}"
        )
    network, training = document.get("network"), document.get("training")
    if not isinstance(network, dict):
        raise BetafoldError(f"{path}: 'network' must be an object")
    try:
        model = build(network)
    except BetafoldError as error:
        raise BetafoldError(f"{path}: {error}") from error
    weights = directory / WEIGHTS_FILE
    set_weights(model, load_arrays(weights), weights)
    trained_on = training.get("dataset_sha256") if isinstance(training, dict) else None
    return LoadedNetwork(
        model,
        directory.resolve().name,
        file_sha256(weights),
        directory,
        trained_on if isinstance(trained_on, str) else None,
    )


def named_arrays(tree: Any) -> dict[str, mx.array]:
    """Flatten a tree of arrays to dotted names, in the order of the names: equal trees give equal files."""
    flat: list[tuple[str, mx.array]] = tree_flatten(tree)  # type: ignore[assignment]
    return dict(sorted(flat))


def set_weights(model: nn.Module, arrays: dict[str, mx.array], source: Path) -> None:
    """Load weights strictly: each parameter once, the right shape, finite; float16 becomes float32.

    BetafoldError names a missing, extra, misshapen or non-finite tensor.
    """
    expected = named_arrays(model.parameters())
    calibration = arrays.get("calibration.weight")
    if calibration is not None and calibration.shape == (
        len(FEATURES) - 1,
    ):  # of a version without templates
        arrays = {**arrays, "calibration.weight": mx.pad(calibration, (0, 1))}
    for problem, names in (
        ("lacks", set(expected) - set(arrays)),
        ("has an unknown", set(arrays) - set(expected)),
    ):
        if names:
            raise BetafoldError(f"{source} {problem} tensor {min(names)} (weights of another model?)")
    for name, array in arrays.items():
        if array.shape != expected[name].shape:
            raise BetafoldError(
                f"{source}: tensor {name} is {array.shape}, the model needs {expected[name].shape}"
            )
        if not mx.issubdtype(array.dtype, mx.floating):
            raise BetafoldError(f"{source}: tensor {name} holds {array.dtype}, not floating-point numbers")
    weights = {name: array.astype(mx.float32) for name, array in arrays.items()}
    finite = mx.stack([mx.isfinite(array).all() for array in weights.values()])
    if not finite.all().item():
        bad = next(name for name, array in weights.items() if not mx.isfinite(array).all().item())
        raise BetafoldError(f"{source}: tensor {bad} holds NaN or infinite numbers")
    model.load_weights(list(weights.items()), strict=True)


def load_model(directory: Path) -> LoadedModel:
    """Load the model directory of a folding model; raises as `load_directory` does."""

    def build(values: dict[str, Any]) -> FoldingModel:
        return FoldingModel(ModelConfig.from_dict(values))

    return load_directory(directory, FOLDING_KIND, build, "a betafold folding model")


def save_model(
    directory: Path, model: FoldingModel, card: str, training: dict[str, Any], dtype: mx.Dtype = mx.float32
) -> None:
    """Write the model directory of a folding model: see `save_directory`."""
    save_directory(directory, model, FOLDING_KIND, model.config.to_dict(), card, training, dtype)


def save_directory(
    directory: Path,
    model: nn.Module,
    kind: Kind,
    network: dict[str, Any],
    card: str,
    training: dict[str, Any],
    dtype: mx.Dtype,
) -> None:
    """Write a directory of any kind of model, whole or not at all; an older one is replaced as a whole.

    ``config.json`` gets the kind, the settings of the network and how it was trained; `card` is the text of the model
    card, `dtype` the type of the stored weights.
    """
    with atomic_directory(directory) as temporary:
        weights = {name: array.astype(dtype) for name, array in named_arrays(model.parameters()).items()}
        save_arrays(temporary / WEIGHTS_FILE, weights, {"format": "mlx"})
        document = {
            "model_type": kind[0],
            "schema_version": kind[1],
            "network": network,
            "training": training,
        }
        (temporary / CONFIG_FILE).write_text(to_json(document), encoding="utf-8")
        (temporary / CARD_FILE).write_text(card, encoding="utf-8")
