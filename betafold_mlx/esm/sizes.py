"""Sizes of ESM-2 networks, and the published checkpoints."""

from __future__ import annotations

from dataclasses import dataclass

from betafold_mlx.errors import BetafoldError

SIZES = {
    "8M": (6, 320, 20, 1280),
    "35M": (12, 480, 20, 1920),
    "150M": (30, 640, 20, 2560),
    "650M": (33, 1280, 20, 5120),
    "3B": (36, 2560, 40, 10240),
    "15B": (48, 5120, 40, 20480),
}
"""The published sizes (Lin et al. 2023, table S1): layers, width, heads, feed-forward width."""

MAX_RESIDUES = 1022
"""Longest sequence that ESM-2 saw in training: 1024 tokens with the first and the last."""

DEFAULT_HUB_ID = "facebook/esm2_t6_8M_UR50D"


PUBLISHED = {
    # As several public analyses pin it (revision c731040fcd8d73dceaa04b0a8e6329b345b0f5df of the model on the hub).
    "8M": "24c5fa474c48f3b754b86efe752d5f189d2bcd88190fa2270fc92b2ef3034189",
}
"""SHA-256 of published files of weights, by size. For sizes that are not here nothing is on record."""

CHECKS = {
    "match": "the published ESM-2 weights",
    "different": "NOT the published ESM-2 weights",
    "unknown": "not checked against the published ESM-2 weights",
}
"""The outcomes of `check_published`, in words that end a sentence about weights."""


def check_published(size: str, sha256: str) -> str:
    """Return ``match``, ``different``, or ``unknown`` where no checksum is on record for the size.

    Random weights, which come from no file (an empty checksum), are different.
    """
    if not sha256:
        return "different"
    known = PUBLISHED.get(size)
    return "unknown" if known is None else "match" if sha256 == known else "different"


def hub_id(size: str | None) -> str | None:
    """Return the id of a published size on the hub; None for any other size.

    >>> hub_id("650M")
    'facebook/esm2_t33_650M_UR50D'
    """
    return f"facebook/esm2_t{SIZES[size][0]}_{size}_UR50D" if size in SIZES else None


@dataclass(frozen=True)
class EsmConfig:
    """Sizes of an ESM-2 network."""

    # blocks, width of a state, attention heads a block, hidden width of the feed-forward network
    layers: int
    width: int
    heads: int
    ffn_width: int
    layer_norm_eps: float = 1e-5  # added to the variance in each LayerNorm; 1e-5 in the published checkpoints
    # whether the embeddings are rescaled by the share of masked tokens (see `betafold_mlx.esm.model.Esm2`)
    token_dropout: bool = True

    def __post_init__(self) -> None:
        sizes = (self.layers, self.width, self.heads, self.ffn_width)
        if not all(type(size) is int and 0 < size < 1 << 20 for size in sizes):
            raise BetafoldError(f"ESM-2 config: layers, width, heads and ffn_width cannot be {sizes}")
        if self.width % (2 * self.heads):
            raise BetafoldError(
                f"ESM-2 config: width {self.width} is not that of {self.heads} heads of even width"
            )
        eps, dropout = self.layer_norm_eps, self.token_dropout
        if type(eps) is not float or not 0 < eps < 1 or type(dropout) is not bool:
            raise BetafoldError(
                f"ESM-2 config: layer_norm_eps {eps!r} with token_dropout {dropout!r} cannot be"
            )

    @property
    def head_width(self) -> int:
        """Width of one attention head."""
        return self.width // self.heads

    @property
    def size(self) -> str:
        """Name of the published size, such as ``8M``; ``LAYERSxWIDTH`` for any other."""
        sizes = (self.layers, self.width, self.heads, self.ffn_width)
        return next((name for name, each in SIZES.items() if each == sizes), f"{self.layers}x{self.width}")
