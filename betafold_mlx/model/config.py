"""Settings of a folding model: the ``network`` part of ``config.json``. Imports no MLX."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from betafold_mlx.errors import BetafoldError

CONFIG_FILE = "config.json"
MODEL_TYPE = "betafold"
SCHEMA_VERSION = 2

TRUNKS = ("transformer", "pairformer")
TRIANGLES = ("softmax", "additive", "gated")
TRUNK_DTYPES = ("float32", "bfloat16")

PAIR_OPTIONS: dict[str, tuple[int, int]] = {
    "pair_width": (32, 512),
    "pair_blocks": (1, 8),
    "triangle_heads": (1, 64),
    "recycles": (0, 3),
}
"""Smallest and largest value of the numbers that only the pair trunk has."""

_RANGES = {
    "width": (1, 8192),
    "layers": (1, 256),
    "heads": (1, 256),
    "ffn_width": (1, 65536),
    "max_length": (1, 4096),
    **PAIR_OPTIONS,
}
"""Far above any sensible network: a damaged or hostile ``config.json`` must not fill the memory."""

_CHOICES: dict[str, tuple[str | bool, ...]] = {
    "positions": ("learned", "sinusoidal", "none"),
    "relative": (True, False),
    "norm": ("pre", "post"),
    "trunk": TRUNKS,
    "triangle": TRIANGLES,
    "trunk_dtype": TRUNK_DTYPES,
}


def check_number(what: str, value: object, smallest: int, largest: int) -> None:
    """Refuse all but whole numbers of a range.

    Raises
    ------
    BetafoldError
        Names `what`, the range and the value.
    """
    if type(value) is not int or not smallest <= value <= largest:
        raise BetafoldError(f"{what} must be a whole number from {smallest} to {largest}, not {value!r:.40}")


@dataclass(frozen=True)
class EmbedderConfig:
    """Where the residue features come from.

    Attributes
    ----------
    kind : str
        ``residue``: an embedding of the 20 residues, learned with the head. ``esm2``: hidden states of a frozen,
        converted ESM-2, given to the model as features.
    width : int or None
        Feature width of a frozen embedder (320 for ESM2-8M); None for ``residue``.
    size : str or None
        Name of the frozen embedder's size, for example ``8M``.
    sha256 : str or None
        SHA-256 of the frozen embedder's weights; a model refuses features of another embedder.
    label : str or None
        Name of the frozen embedder, and what is known of its weights, in words.
    published : bool or None
        Whether they are the published ones; None where that is not known.
    """

    kind: str = "residue"
    width: int | None = None
    size: str | None = None
    sha256: str | None = None
    label: str | None = None
    published: bool | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("residue", "esm2"):
            raise BetafoldError(f"embedder kind {self.kind!r:.40}: this version knows 'residue' and 'esm2'")
        if self.kind != "residue" or self.width is not None:
            check_number("embedder width", self.width, *_RANGES["width"])
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
    """Sizes of the folding network.

    Attributes
    ----------
    embedder : EmbedderConfig
        Where the residue features come from.
    width : int
        Width of a residue's state.
    layers, heads, ffn_width : int
        Transformer blocks, attention heads a block, hidden width of the feed-forward network.
    dropout : float
        Share of each residual branch set to zero in training.
    positions : str
        ``learned`` or ``sinusoidal`` absolute positions, or ``none``.
    max_length : int
        Longest sequence in residues.
    relative : bool
        Whether attention and the distance head are told how far apart two residues are, around a ring the shorter way.
    norm : str
        ``pre``: each branch normalises its own copy of the residual stream; ``post``: the stream is normalised after
        each branch, as in Vaswani et al. 2017.
    trunk : str
        ``transformer``: residues alone, with a bias of each pair; ``pairformer``: residues and pairs
        (`betafold_mlx.model.pairformer`). All that follows is of the pairformer alone.
    pair_width : int
        Channels of a pair.
    pair_blocks : int
        Updates of the pairs. The ``layers`` blocks of residues are shared out among them.
    triangle : str
        Form of triangle attention: ``softmax``, ``additive`` or ``gated`` (`betafold_mlx.model.triangle`).
    triangle_heads : int
        Its heads.
    recycles : int
        Times that the trunk is run again on what came out of it; in training a random number up to it.
    trunk_dtype : str
        What pairs are computed in, ``float32`` or ``bfloat16``. Residues, heads and structures are always float32.
    """

    embedder: EmbedderConfig = field(default_factory=EmbedderConfig)
    width: int = 320
    layers: int = 4
    heads: int = 8
    ffn_width: int = 1280
    dropout: float = 0.1
    positions: str = "learned"
    max_length: int = 32
    relative: bool = True
    norm: str = "pre"
    trunk: str = "transformer"
    pair_width: int = 64
    pair_blocks: int = 2
    triangle: str = "gated"
    triangle_heads: int = 2
    recycles: int = 0
    trunk_dtype: str = "float32"

    def __post_init__(self) -> None:
        for name, limits in _RANGES.items():
            check_number(f"model config: {name}", getattr(self, name), *limits)
        for name, known in _CHOICES.items():
            value = getattr(self, name)
            if type(value) is not type(known[0]) or value not in known:  # 1 == True
                raise BetafoldError(
                    f"model config: {name} must be one of {', '.join(map(str, known))}, not {value!r:.40}"
                )
        if type(self.dropout) not in (int, float) or not 0 <= self.dropout < 1:
            raise BetafoldError(f"model config: dropout must lie in [0, 1), not {self.dropout!r:.40}")
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
        """Build a config from parsed JSON.

        Raises
        ------
        BetafoldError
            For an unknown key (written by another version) or an impossible value.
        """
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
            for name in ("trunk", "triangle", "trunk_dtype", *PAIR_OPTIONS):
                del values[name]
        return values
