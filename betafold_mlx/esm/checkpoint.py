"""Reading a checkpoint in the layout of the Hugging Face hub: config, vocabulary, weights in one file or several."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from betafold_mlx.errors import BetafoldError
from betafold_mlx.esm.config import EsmConfig
from betafold_mlx.esm.tokenizer import TOKENS
from betafold_mlx.files import file_sha256
from betafold_mlx.model.directory import load_arrays

CONFIG, VOCABULARY = "config.json", "vocab.txt"
WEIGHTS, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLE, PICKLE_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"

_PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")  # torch.save, pickle
_LFS_START = b"version https://git-lfs"


@dataclass(frozen=True)
class SourceFile:
    """A file of weights that was read: its name, size in bytes and SHA-256."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in memory.

    Attributes
    ----------
    config : EsmConfig
        Its sizes.
    arrays : dict of str to mx.array
        Its tensors, all floating-point but for counters.
    files : tuple of SourceFile
        The files that the tensors came from.
    """

    config: EsmConfig
    arrays: dict[str, mx.array]
    files: tuple[SourceFile, ...]

    @property
    def sha256(self) -> str:
        """SHA-256 of the weights: of the one file, or of the ``sha256sum`` lines of several."""
        if len(self.files) == 1:
            return self.files[0].sha256
        lines = "".join(f"{file.sha256}  {file.name}\n" for file in self.files)
        return hashlib.sha256(lines.encode()).hexdigest()


def read_checkpoint(directory: Path) -> Checkpoint:
    """Read a checkpoint folder.

    Parameters
    ----------
    directory : Path
        Holds ``config.json`` and ``model.safetensors``, or the index and the shards of several; where there is
        neither, ``pytorch_model.bin`` is read by PyTorch without running what a pickle may hold.

    Returns
    -------
    Checkpoint

    Raises
    ------
    BetafoldError
        A file that is missing, damaged or another thing than its name says; a checkpoint that is not ESM-2.
    """
    if not directory.is_dir():
        raise BetafoldError(f"there is no folder {directory}")
    config = read_hub_config(directory / CONFIG)
    _check_vocabulary(directory / VOCABULARY)
    names, shard_of = _weight_files(directory)
    arrays: dict[str, mx.array] = {}
    for name in names:
        part = _read_weights(directory / name)
        if shard_of is not None:
            _check_shard(directory / name, part, shard_of)
        arrays.update(part)
    files = [
        SourceFile(name, (directory / name).stat().st_size, file_sha256(directory / name)) for name in names
    ]
    return Checkpoint(config, arrays, tuple(files))


def read_json(path: Path) -> Any:
    """Parse a JSON file.

    Raises
    ------
    BetafoldError
        Not there, not readable, not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BetafoldError(f"{path} is not there") from error
    except (OSError, ValueError, RecursionError) as error:
        raise BetafoldError(f"{path} cannot be read as JSON") from error


def read_hub_config(path: Path) -> EsmConfig:
    """Read the hub's ``config.json``.

    Raises
    ------
    BetafoldError
        As `read_json` and `EsmConfig.from_hub`, with the path.
    """
    document = read_json(path)
    try:
        return EsmConfig.from_hub(document)
    except BetafoldError as error:
        raise BetafoldError(f"{path}: {error}") from error


def _check_vocabulary(path: Path) -> None:
    try:
        tokens = path.read_text(encoding="utf-8").split()
    except FileNotFoundError:
        return  # `save_pretrained` of the model alone writes none
    except (OSError, ValueError) as error:
        raise BetafoldError(f"{path} cannot be read as text") from error
    if tuple(tokens) != TOKENS:
        raise BetafoldError(f"{path} is not the vocabulary of ESM-2")


def _weight_files(directory: Path) -> tuple[list[str], dict[str, str] | None]:
    """Return the names of the files with weights, and the shard of each tensor where there are several."""
    for single, index in ((WEIGHTS, WEIGHTS_INDEX), (PICKLE, PICKLE_INDEX)):
        if (directory / single).is_file():
            return [single], None
        if (directory / index).is_file():
            shard_of = read_index(directory / index)
            return sorted(set(shard_of.values())), shard_of
    raise BetafoldError(
        f"{directory} holds no weights: neither {WEIGHTS} nor {WEIGHTS_INDEX} with its shards"
    )


def read_index(path: Path) -> dict[str, str]:
    """Read the index of a sharded checkpoint: tensor -> file.

    Raises
    ------
    BetafoldError
        Not an index, or one that points out of its folder.
    """
    document = read_json(path)
    shard_of = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(shard_of, dict) or not shard_of:
        raise BetafoldError(f"{path} is not the index of a checkpoint: it has no weight_map")
    for name in shard_of.values():
        if (
            not isinstance(name, str)
            or name in ("", ".", "..")
            or "/" in name
            or "\\" in name
            or "\0" in name
        ):
            raise BetafoldError(f"{path} names a shard {name!r}, which is no plain file name")
    return shard_of


def _check_shard(path: Path, part: dict[str, mx.array], shard_of: dict[str, str]) -> None:
    listed = {tensor for tensor, name in shard_of.items() if name == path.name}
    if listed != set(part):
        odd = min(listed ^ set(part))
        raise BetafoldError(
            f"{path} {'lacks' if odd in listed else 'holds'} the tensor {odd}, against the index"
        )


def _read_weights(path: Path) -> dict[str, mx.array]:
    if not path.is_file():
        raise BetafoldError(f"{path} is not there: the checkpoint is not complete")
    try:
        with path.open("rb") as file:
            start = file.read(32)
    except OSError as error:
        raise BetafoldError(f"cannot read {path}: {error.strerror or error}") from error
    if start.startswith(_LFS_START):
        raise BetafoldError(f"{path} is a Git LFS pointer, not the file itself: fetch it with `git lfs pull`")
    if path.suffix == ".bin":
        return _read_pickle(path)
    if start.startswith(_PICKLE_STARTS):
        raise BetafoldError(f"{path} is a pickle under a wrong name, not safetensors: it is not opened")
    return load_arrays(path)


def _read_pickle(path: Path) -> dict[str, mx.array]:
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        raise BetafoldError(
            f"{path} is a pickle, which only PyTorch reads safely (pip install torch): take {WEIGHTS} of the same model"
        ) from error
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)  # never anything but weights
    except Exception as error:  # pickle, zip, torch and the operating system have an exception each
        raise BetafoldError(f"{path} is not a whole PyTorch file of weights alone") from error
    is_tensor: Callable[[Any], bool] = torch.is_tensor
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str) and is_tensor(tensor) for name, tensor in tensors.items()
    ):
        raise BetafoldError(f"{path} holds something else than named tensors")
    return {
        name: mx.array(np.asarray(tensor.float() if tensor.is_floating_point() else tensor))
        for name, tensor in tensors.items()
    }
