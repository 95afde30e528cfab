"""Model directories of generators: ``config.json``, ``model.safetensors`` and a model card."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from betafold_mlx.files import file_sha256
from betafold_mlx.generate.config import MODEL_TYPE, SCHEMA_VERSION, GeneratorConfig
from betafold_mlx.generate.network import BackboneGenerator
from betafold_mlx.model.directory import (
    WEIGHTS_FILE,
    load_arrays,
    read_description,
    set_weights,
    write_directory,
)

KIND = (MODEL_TYPE, SCHEMA_VERSION)


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
    what = "a generator of backbones: train one with `betafold-mlx train-generator`"
    return read_description(directory, KIND, GeneratorConfig.from_dict, what)


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
    write_directory(Path(directory), model, KIND, model.config.to_dict(), card, training, dtype)
