"""The judge's file in a model directory, ``judge.safetensors``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx

from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import atomic_path
from betafold_mlx.model.config import JudgeConfig
from betafold_mlx.model.directory import load_arrays, named_arrays, save_arrays, set_weights
from betafold_mlx.model.judge import Judge

JUDGE_FILE = "judge.safetensors"
SCHEMA_VERSION = 1


def save_judge(directory: Path, judge: Judge, model_sha256: str) -> None:
    """Write a judge in half precision, whole or not at all; `model_sha256` is of the folding network it belongs to."""
    directory.mkdir(parents=True, exist_ok=True)
    weights = {name: array.astype(mx.float16) for name, array in named_arrays(judge.parameters()).items()}
    metadata = {
        "schema_version": str(SCHEMA_VERSION),
        "config": json.dumps(judge.config.to_dict()),
        "model_sha256": model_sha256,
    }
    with atomic_path(directory / JUDGE_FILE) as temporary:
        save_arrays(temporary, weights, metadata)


def load_judge(path: Path, model_sha256: str) -> Judge:
    """Read the judge of a folding network.

    Raises
    ------
    BetafoldError
        Damaged, of another version, or of another folding network than that of `model_sha256`.
    """
    arrays = load_arrays(path)
    loaded: Any = mx.load(str(path), format="safetensors", return_metadata=True)
    metadata = loaded[1]
    if metadata.get("schema_version") != str(SCHEMA_VERSION):
        raise BetafoldError(f"{path} is a judge of another version")
    if metadata.get("model_sha256") != model_sha256:
        raise BetafoldError(f"{path} belongs to another folding network: train it again (train-judge)")
    try:
        judge = Judge(JudgeConfig(**json.loads(metadata["config"])))
    except (KeyError, TypeError, ValueError) as error:
        raise BetafoldError(f"{path} is damaged: its settings cannot be read") from error
    set_weights(judge, arrays, path)
    return judge
