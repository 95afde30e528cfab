"""Settings of a folding model: the ``network`` part of ``config.json``. Imports no MLX."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from betafold_mlx.errors import BetafoldError
from betafold_mlx.fields import check_settings, setting

CONFIG_FILE = "config.json"
MODEL_TYPE = "betafold"
SCHEMA_VERSION = 2

MAX_WIDTH = 8192
"""Far above any sensible network, as all limits here: a damaged or hostile ``config.json`` must not fill the memory."""

TRIANGLES = ("softmax", "additive", "gated")
PAIR_SETTINGS = ("pair_width", "pair_blocks", "triangle", "triangle_heads", "recycles", "trunk_dtype")


@dataclass(frozen=True)
class EmbedderConfig:
    """Where the residue features come from."""

    # ``residue``: an embedding of the 20 residues, learned with the head. ``esm2``: hidden states of a frozen,
    # converted ESM-2, given to the model as features
    kind: str = "residue"
    width: int | None = None  # feature width of a frozen embedder (320 for ESM2-8M); None for ``residue``
    size: str | None = None  # name of the frozen embedder's size, for example ``8M``
    # SHA-256 of the frozen embedder's weights; a model refuses features of another embedder
    sha256: str | None = None
    label: str | None = None  # name of the frozen embedder, and what is known of its weights, in words
    published: bool | None = None  # whether they are the published ones; None where that is not known

    def __post_init__(self) -> None:
        if self.kind not in ("residue", "esm2"):
            raise BetafoldError(f"embedder kind {self.kind!r:.40}: this version knows 'residue' and 'esm2'")
        frozen, width = self.kind != "residue", self.width
        if (frozen or width is not None) and not (type(width) is int and 1 <= width <= MAX_WIDTH):
            raise BetafoldError(
                f"embedder width must be a whole number from 1 to {MAX_WIDTH}, not {width!r:.40}"
            )
        for name in ("size", "sha256", "label"):
            if not isinstance(getattr(self, name), (str, type(None))):
                raise BetafoldError(f"embedder {name} must be text, not {getattr(self, name)!r:.40}")
        if not isinstance(self.published, (bool, type(None))):
            raise BetafoldError(f"embedder published must be true or false, not {self.published!r:.40}")

    def describe(self) -> str:
        """Return the embedder in words, as messages name it."""
        if self.kind == "residue":
            return "a residue embedding learned with the model"
        return f"{self.label or f'ESM-2 {self.size}'}, sha256 {self.sha256 or 'unknown':.12}"


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the folding network."""

    embedder: EmbedderConfig = field(default_factory=EmbedderConfig)
    width: int = setting(320, "Width of a residue's state.", min=1, max=MAX_WIDTH)
    layers: int = setting(4, "Transformer blocks.", min=1, max=256)
    heads: int = setting(8, "Attention heads of a block.", min=1, max=256)
    ffn_width: int = setting(1280, "Width of the feed-forward networks.", min=1, max=65536)
    dropout: float = setting(0.1, "Dropout rate.", min=0, max=1, max_open=True)
    positions: str = setting("learned", "Absolute positions.", choices=("learned", "sinusoidal", "none"))
    max_length: int = setting(64, min=1, max=4096)  # longest sequence in residues
    # whether attention and the distance head know how far apart two residues are, around a ring the shorter way
    relative: bool = setting(True)
    # ``pre``: each branch normalises its own copy of the residual stream; ``post``: the stream is normalised after
    # each branch, as in Vaswani et al. 2017
    norm: str = setting("pre", choices=("pre", "post"))
    trunk: str = setting(
        "transformer",
        "Residues alone, or residues and pairs of residues. The options below are of the pairformer.",
        choices=("transformer", "pairformer"),
    )
    pair_width: int = setting(64, "Channels of a pair.", min=32, max=512)
    pair_blocks: int = setting(
        2, "Updates of the pairs; the --layers are shared out among them.", min=1, max=8
    )
    triangle: str = setting("gated", "Form of triangle attention.", choices=TRIANGLES)
    triangle_heads: int = setting(2, "Heads of triangle attention.", min=1, max=64)
    recycles: int = setting(
        0,
        "Times that the trunk runs again on its result; in training a random number up to it.",
        min=0,
        max=3,
    )
    # Residues, heads and structures are always float32.
    trunk_dtype: str = setting(
        "float32",
        "Type in which pairs are computed; bfloat16 is slow on most processors.",
        choices=("float32", "bfloat16"),
    )

    def __post_init__(self) -> None:
        check_settings(self, "model config")
        if self.width % self.heads:
            raise BetafoldError(f"model config: width {self.width} is not a multiple of {self.heads} heads")
        if self.width % 2:
            raise BetafoldError(f"model config: width {self.width} must be even")
        if self.pair_width % 2 or self.pair_width % self.triangle_heads:
            raise BetafoldError(
                f"model config: pair_width {self.pair_width} is not an even multiple of "
                f"{self.triangle_heads} triangle heads"
            )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Build a config from parsed JSON; BetafoldError for an unknown key or an impossible value."""
        values = dict(values)
        embedder = values.pop("embedder", {})
        if not isinstance(embedder, dict):
            raise BetafoldError("model config: 'embedder' must be an object")
        for known, given in ((cls, values), (EmbedderConfig, embedder)):
            unknown = set(given) - {f.name for f in dataclasses.fields(known)}
            if unknown:
                raise BetafoldError(
                    f"model config: unknown key {min(unknown)!r:.40} (another version's file?)"
                )
        return cls(embedder=EmbedderConfig(**embedder), **values)

    def describe(self) -> str:
        """Return the trunk in words, as a model card names it."""
        words = f"{self.layers} layers of {self.width}, {self.heads} heads"
        if self.trunk == "transformer":
            return words
        passes = f", run up to {self.recycles} times again" if self.recycles else ""
        kind = "" if self.trunk_dtype == "float32" else f" in {self.trunk_dtype}"
        return (
            f"{words}, and {self.pair_blocks} updates of the pairs of residues, {self.pair_width} channels{kind}, "
            f"{self.triangle} triangle attention with {self.triangle_heads} heads{passes}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the config as plain JSON values; of a Transformer without what only the pair trunk has."""
        values = dataclasses.asdict(self)
        if self.trunk == "transformer":  # as earlier versions wrote it, so that they read it
            for name in ("trunk", *PAIR_SETTINGS):
                del values[name]
        return values


@dataclass(frozen=True)
class JudgeConfig:
    """Sizes of the judge."""

    states: int = setting(320, min=1, max=8192)  # width of the folding network's states
    # numbers a residue of a structure (`betafold_mlx.fold.judging`)
    features: int = setting(16, min=1, max=256)
    # of the judge's own states, blocks, and pairs
    width: int = setting(128, min=8, max=1024)
    layers: int = setting(3, min=1, max=32)
    heads: int = setting(8, min=1, max=64)
    ffn_width: int = setting(256, min=8, max=4096)
    pair_width: int = setting(48, min=8, max=512)
    # share of each residual branch set to zero in training
    dropout: float = setting(0.1, min=0, max=1, max_open=True)

    def __post_init__(self) -> None:
        check_settings(self, "judge config")

    def to_dict(self) -> dict[str, Any]:
        """Return the config as plain JSON values."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class SideChainConfig:
    """Sizes of the side-chain network."""

    # width of the folding network's states; 0 where the network does not read them
    states: int = setting(0, min=0, max=8192)
    # of the network's own states, and of a pair of neighbours
    width: int = setting(96, min=8, max=1024)
    edge_width: int = setting(64, min=8, max=1024)
    layers: int = setting(3, min=1, max=32)  # times that messages are passed
    neighbours: int = setting(16, min=1, max=64)  # nearest residues that each residue sees

    def __post_init__(self) -> None:
        check_settings(self, "side-chain config")

    def to_dict(self) -> dict[str, Any]:
        """Return the config as plain JSON values."""
        return dataclasses.asdict(self)
