"""Directories of converted ESM-2 models: ``config.json``, ``model.safetensors``, ``README.md``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from betafold_mlx.errors import BetafoldError
from betafold_mlx.esm.model import Esm2
from betafold_mlx.esm.sizes import CHECKS, EsmConfig, check_published
from betafold_mlx.files import file_sha256, read_json
from betafold_mlx.model.config import EmbedderConfig
from betafold_mlx.model.directory import CONFIG_FILE, WEIGHTS_FILE, load_arrays, set_weights

MODEL_TYPE = "esm2-mlx"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class EsmDescription:
    """What a directory says of the ESM-2 in it."""

    config: EsmConfig
    name: str  # of the checkpoint it was converted from, such as ``facebook/esm2_t6_8M_UR50D``
    sha256: str  # of ``model.safetensors``: what caches and folding models know it by
    source_sha256: str  # of the weights it was converted from
    dtype: str  # ``float32`` or ``float16``: how the weights are stored
    path: Path

    @property
    def check(self) -> str:
        """``match``, ``different`` or ``unknown``: see `betafold_mlx.esm.sizes.check_published`."""
        return check_published(self.config.size, self.source_sha256)

    @property
    def published(self) -> bool:
        """Whether the weights are known to be the published ones."""
        return self.check == "match"

    @property
    def label(self) -> str:
        """Name, size, and what is known of the weights, for whoever reads a result."""
        return f"{self.name} ({self.config.size}, {CHECKS[self.check]})"

    def to_dict(self) -> dict[str, Any]:
        """Return how results name their embedder, as plain JSON values."""
        return {
            "kind": "esm2",
            "label": self.label,
            "name": self.name,
            "size": self.config.size,
            "width": self.config.width,
            "sha256": self.sha256,
            "source_sha256": self.source_sha256,
            "dtype": self.dtype,
            "published": self.published,
            "checksum": self.check,
        }

    def embedder_config(self) -> EmbedderConfig:
        """Return how the config of a folding model names its embedder."""
        published = {"match": True, "different": False}.get(self.check)
        return EmbedderConfig("esm2", self.config.width, self.config.size, self.sha256, self.label, published)


@dataclass(frozen=True)
class LoadedEsm(EsmDescription):
    """A converted ESM-2 and where it came from."""

    model: Esm2
    """Frozen, float32."""


def is_converted(directory: Path) -> bool:
    """Tell whether a folder holds a converted ESM-2, whole or not."""
    try:
        return bool(read_json(directory / CONFIG_FILE)["model_type"] == MODEL_TYPE)
    except (BetafoldError, KeyError, TypeError):
        return False


def describe_esm(directory: Path) -> EsmDescription:
    """Read what a directory, written by ``betafold-mlx convert-esm``, says of the ESM-2 in it, without its weights.

    BetafoldError for no such directory, or a damaged ``config.json``.
    """
    path = Path(directory) / CONFIG_FILE
    if not path.is_file():
        raise BetafoldError(f"there is no converted ESM-2 in {directory}: make one with convert-esm")
    document = read_json(path)
    kind = document.get("model_type") if isinstance(document, dict) else None
    if kind == "esm":
        raise BetafoldError(
            f"{directory} is a Hugging Face checkpoint: convert it with convert-esm --from {directory}"
        )
    if kind != MODEL_TYPE:
        raise BetafoldError(f"{path} does not describe a converted ESM-2 (model_type {kind!r})")
    version = document.get("schema_version")
    if version != SCHEMA_VERSION:
        raise BetafoldError(f"{path} has schema {version!r:.40}; this version reads {SCHEMA_VERSION}")
    try:
        config = EsmConfig(**document["network"])
        texts = [document["source"]["name"], document["weights_sha256"], document["source"]["sha256"]]
        name, sha256, source_sha256, dtype = map(str, [*texts, document["dtype"]])
    except (KeyError, TypeError) as error:
        raise BetafoldError(f"{path} is not complete ({error}): convert again") from error
    return EsmDescription(config, name, sha256, source_sha256, dtype, Path(directory))


def load_esm(directory: Path) -> LoadedEsm:
    """Load a converted ESM-2 from its directory.

    BetafoldError for anything missing, damaged, changed since it was written, or of another kind; it says what.
    """
    described = describe_esm(directory)
    path = described.path / WEIGHTS_FILE
    model = Esm2(described.config)
    set_weights(model, load_arrays(path), path)
    model.join()
    model.freeze()
    if file_sha256(path) != described.sha256:
        raise BetafoldError(
            f"{path} is not the file that {CONFIG_FILE} describes (its sha256 differs): convert again"
        )
    return LoadedEsm(model=model, **vars(described))
