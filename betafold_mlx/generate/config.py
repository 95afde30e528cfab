"""What a generator is made of: the ``network`` of its ``config.json``."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from betafold_mlx.errors import BetafoldError
from betafold_mlx.generate.scales import MOST_SCALES

MODEL_TYPE = "betafold-par"
SCHEMA_VERSION = 2

RANGES: dict[str, tuple[int, int]] = {
    "scales": (1, MOST_SCALES),
    "width": (8, 4096),
    "layers": (1, 64),
    "decoder_layers": (1, 64),
    "heads": (1, 256),
    "ffn_width": (8, 16384),
}
"""Smallest and largest: a damaged or hostile ``config.json`` must not fill the memory."""


@dataclass(frozen=True)
class GeneratorConfig:
    """Sizes of a generator.

    Attributes
    ----------
    scales : int
        The finest so many of L/4, L/2 and L; 1 is a plain flow-matching model of the whole trace.
    width : int
        Width of a point's state.
    layers, decoder_layers : int
        Blocks of the autoregressive Transformer, and of the flow-matching decoder.
    heads, ffn_width : int
        Attention heads a block, and hidden width of the feed-forward networks, of both.
    """

    scales: int = 3
    width: int = 192
    layers: int = 4
    decoder_layers: int = 4
    heads: int = 8
    ffn_width: int = 768

    def __post_init__(self) -> None:
        for name, (smallest, largest) in RANGES.items():
            value = getattr(self, name)
            if type(value) is not int or not smallest <= value <= largest:
                raise BetafoldError(
                    f"generator config: {name} must be a whole number from {smallest} to {largest}, not {value!r:.40}"
                )
        if self.width % self.heads or self.width % 2:
            raise BetafoldError(
                f"generator config: width {self.width} is not an even multiple of {self.heads} heads"
            )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> GeneratorConfig:
        """Build a config from parsed JSON.

        Raises
        ------
        BetafoldError
            For an unknown key (written by another version) or an impossible value.
        """
        unknown = set(values) - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise BetafoldError(
                f"generator config: unknown key {min(unknown)!r:.40} (another version's file?)"
            )
        return cls(**values)

    def describe(self) -> str:
        """Return the network in words, as a model card names it."""
        scales = {1: "one scale (L)", 2: "two scales (L/2, L)", 3: "three scales (L/4, L/2, L)"}[self.scales]
        return (
            f"{scales}; autoregressive Transformer of {self.layers} layers, flow-matching decoder of "
            f"{self.decoder_layers}, both {self.width} wide with {self.heads} heads"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the config as plain JSON values."""
        return dataclasses.asdict(self)
