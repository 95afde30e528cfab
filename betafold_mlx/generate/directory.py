"""Model directories of generators: ``config.json``, ``model.safetensors`` and a model card."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import atomic_directory, file_sha256, to_json
from betafold_mlx.generate.config import MODEL_TYPE, SCHEMA_VERSION, GeneratorConfig
from betafold_mlx.generate.network import BackboneGenerator
from betafold_mlx.model.config import CONFIG_FILE
from betafold_mlx.model.directory import (
    CARD_FILE,
    WEIGHTS_FILE,
    load_arrays,
    named_arrays,
    save_arrays,
    set_weights,
)


@dataclass(frozen=True)
class Generator:
    """A generator and where it came from.

    Attributes
    ----------
    model : BackboneGenerator
        Ready to sample (float32).
    config : GeneratorConfig
        Its sizes.
    name : str
        Name of the directory it was loaded from.
    sha256 : str
        SHA-256 of ``model.safetensors``.
    trained_on : str or None
        SHA-256 of the data set it was trained on, where the model says.
    """

    model: BackboneGenerator
    config: GeneratorConfig
    name: str
    sha256: str
    trained_on: str | None = None


def read_generator_config(directory: Path) -> tuple[GeneratorConfig, str | None]:
    """Read and check ``config.json`` of a generator's directory.

    Returns
    -------
    config : GeneratorConfig
        Sizes of the network.
    trained_on : str or None
        SHA-256 of the data set it was trained on, where the file says.

    Raises
    ------
    BetafoldError
        No such directory, no such file, broken JSON, a model that folds, another schema, or impossible values.
    """
    path = directory / CONFIG_FILE
    if not directory.is_dir():
        raise BetafoldError(f"no model directory at {directory}")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BetafoldError(f"{directory} is not a model directory: it has no {CONFIG_FILE}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise BetafoldError(f"{path} cannot be read as JSON") from error
    if not isinstance(document, dict) or document.get("model_type") != MODEL_TYPE:
        raise BetafoldError(
            f"{path} does not describe a generator of backbones: train one with `betafold-mlx train-generator`"
        )
    if document.get("schema_version") != SCHEMA_VERSION:
        raise BetafoldError(
            f"{path} has schema {document.get('schema_version')!r:.40}; this version reads {SCHEMA_VERSION}"
        )
    network = document.get("network")
    if not isinstance(network, dict):
        raise BetafoldError(f"{path}: 'network' must be an object")
    try:
        config = GeneratorConfig.from_dict(network)
    except BetafoldError as error:
        raise BetafoldError(f"{path}: {error}") from error
    training = document.get("training")
    trained_on = training.get("dataset_sha256") if isinstance(training, dict) else None
    return config, trained_on if isinstance(trained_on, str) else None


def load_generator(directory: Path) -> Generator:
    """Load a generator's directory.

    Raises
    ------
    BetafoldError
        For anything missing, damaged, or of another kind; the message says which file and what to do.
    """
    directory = Path(directory)
    config, trained_on = read_generator_config(directory)
    model = BackboneGenerator(config)
    path = directory / WEIGHTS_FILE
    set_weights(model, load_arrays(path), path)
    return Generator(model, config, directory.resolve().name, file_sha256(path), trained_on)


def save_generator(
    directory: Path,
    model: BackboneGenerator,
    card: str,
    training: dict[str, Any],
    dtype: mx.Dtype = mx.float16,
) -> None:
    """Write a generator's directory, whole or not at all.

    Parameters
    ----------
    directory : Path
        Replaced as a whole where it exists.
    model : BackboneGenerator
        The network.
    card : str
        Text of the model card.
    training : dict
        How it was trained, for ``config.json``.
    dtype : mx.Dtype
        Type of the stored weights.
    """
    with atomic_directory(Path(directory)) as temporary:
        weights = {name: array.astype(dtype) for name, array in named_arrays(model.parameters()).items()}
        save_arrays(temporary / WEIGHTS_FILE, weights, {"format": "mlx"})
        document = {
            "model_type": MODEL_TYPE,
            "schema_version": SCHEMA_VERSION,
            "network": model.config.to_dict(),
            "training": training,
        }
        (temporary / CONFIG_FILE).write_text(to_json(document), encoding="utf-8")
        (temporary / CARD_FILE).write_text(card, encoding="utf-8")
