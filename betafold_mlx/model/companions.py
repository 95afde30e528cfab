"""Networks that belong to a folding network, each a file beside it in the model directory: judge and side chains."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

import mlx.core as mx

from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import atomic_path, sweep_temporary
from betafold_mlx.model.config import JudgeConfig, SideChainConfig
from betafold_mlx.model.directory import Network, load_arrays, named_arrays, save_arrays, set_weights
from betafold_mlx.model.judge import Judge
from betafold_mlx.model.side_chains import SideChainNetwork

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Companion(Generic[Network]):
    """A kind of such a network."""

    file: str  # its name in the model directory
    # in words, and what trains one
    what: str
    command: str
    # makes the network from its settings in the file. The network has them as ``config``
    build: Callable[[dict[str, Any]], Network]

    def save(self, directory: Path, network: Network, model_sha256: str) -> None:
        """Write a network in half precision, whole or not at all; `model_sha256` is of its folding network."""
        weights = {
            name: array.astype(mx.float16) for name, array in named_arrays(network.parameters()).items()
        }
        metadata = {
            "schema_version": str(SCHEMA_VERSION),
            "config": json.dumps(network.config.to_dict()),
            "model_sha256": model_sha256,
        }
        with atomic_path(directory / self.file) as temporary:
            save_arrays(temporary, weights, metadata)
        sweep_temporary(directory, f".{Path(self.file).stem}.")

    def load(self, directory: Path, model_sha256: str | None) -> Network:
        """Read the network of a folding network from its model directory.

        BetafoldError where it is missing, damaged, of another version, or of another folding network than
        `model_sha256`, unless that is None: to start a training from.
        """
        path = directory / self.file
        arrays = load_arrays(path)
        loaded: Any = mx.load(str(path), format="safetensors", return_metadata=True)
        metadata = loaded[1]
        if metadata.get("schema_version") != str(SCHEMA_VERSION):
            raise BetafoldError(f"{path} is a {self.what} of another version")
        if model_sha256 is not None and metadata.get("model_sha256") != model_sha256:
            raise BetafoldError(f"{path} belongs to another folding network: train it again ({self.command})")
        try:
            network = self.build(json.loads(metadata["config"]))
        except (KeyError, TypeError, ValueError) as error:
            raise BetafoldError(f"{path} is damaged: its settings cannot be read") from error
        set_weights(network, arrays, path)
        return network

    def find(self, directory: Path, model_sha256: str | None) -> Network | None:
        """Read the network as `load` does where there is one."""
        return self.load(directory, model_sha256) if (directory / self.file).is_file() else None


JUDGE = Companion("judge.safetensors", "judge", "train-judge", lambda values: Judge(JudgeConfig(**values)))
SIDE_CHAINS = Companion(
    "side_chains.safetensors",
    "side-chain network",
    "train-side-chains",
    lambda values: SideChainNetwork(SideChainConfig(**values)),
)
