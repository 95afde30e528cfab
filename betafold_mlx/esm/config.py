"""What an ESM-2 network is made of, from the hub's ``config.json`` or from ours."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from betafold_mlx.errors import BetafoldError
from betafold_mlx.esm.tokenizer import MASK, PAD, TOKENS

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

_LIMITS = {"layers": 1000, "width": 1 << 16, "heads": 1 << 16, "ffn_width": 1 << 18}  # far beyond any: a slip

_HUB_NAMES = {
    "layers": "num_hidden_layers",
    "width": "hidden_size",
    "heads": "num_attention_heads",
    "ffn_width": "intermediate_size",
}
_HUB_FIXED: dict[str, tuple[Any, tuple[Any, ...], str]] = {
    # key: (value where it is absent, accepted values, what another value means)
    "position_embedding_type": ("absolute", ("rotary",), "ESM-1 has absolute positions, ESM-2 rotary ones"),
    "emb_layer_norm_before": (None, (False, None), "ESM-1b has a LayerNorm before its blocks, ESM-2 none"),
    "is_folding_model": (None, (False, None), "this is ESMFold, not the language model alone"),
    "is_decoder": (None, (False, None), "ESM-2 is an encoder"),
    "add_cross_attention": (None, (False, None), "ESM-2 is an encoder"),
    "hidden_act": ("gelu", ("gelu",), "ESM-2 has the exact GELU"),
    "vocab_size": (None, (len(TOKENS),), f"ESM-2 has {len(TOKENS)} tokens"),
    "mask_token_id": (None, (MASK,), f"the mask of ESM-2 is token {MASK}"),
    "pad_token_id": (None, (PAD,), f"the padding of ESM-2 is token {PAD}"),
}


@dataclass(frozen=True)
class EsmConfig:
    """Sizes of an ESM-2 network.

    Attributes
    ----------
    layers, width, heads, ffn_width : int
        Blocks, width of a state, attention heads a block, hidden width of the feed-forward network.
    layer_norm_eps : float
        Added to the variance in each LayerNorm; 1e-5 in the published checkpoints.
    token_dropout : bool
        Whether the embeddings are rescaled by the share of masked tokens (see `Esm2`).
    """

    layers: int
    width: int
    heads: int
    ffn_width: int
    layer_norm_eps: float = 1e-5
    token_dropout: bool = True

    def __post_init__(self) -> None:
        for name in _HUB_NAMES:
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise BetafoldError(f"ESM-2 config: {name} must be a positive whole number, not {value!r}")
            if value > _LIMITS[name]:
                raise BetafoldError(f"ESM-2 config: {name} of {value} cannot be right")
        if self.width % self.heads or self.head_width % 2:
            raise BetafoldError(
                f"ESM-2 config: width {self.width} does not split into {self.heads} heads of even width"
            )
        eps = self.layer_norm_eps
        if not isinstance(eps, float) or not 0 < eps < 1:
            raise BetafoldError(f"ESM-2 config: layer_norm_eps must lie in (0, 1), not {eps!r}")
        if not isinstance(self.token_dropout, bool):
            raise BetafoldError(
                f"ESM-2 config: token_dropout must be true or false, not {self.token_dropout!r}"
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

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> EsmConfig:
        """Build a config from the ``network`` object of a converted directory.

        Raises
        ------
        BetafoldError
            For an unknown or missing key, or an impossible value.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if set(values) != known:
            odd = min(set(values) ^ known)
            raise BetafoldError(
                f"ESM-2 config: {'unknown' if odd in values else 'missing'} key {odd!r} (another version's file?)"
            )
        return cls(**values)

    @classmethod
    def from_hub(cls, document: Any) -> EsmConfig:
        """Build a config from the ``config.json`` of a checkpoint in the hub's layout.

        Parameters
        ----------
        document : object
            The parsed JSON.

        Raises
        ------
        BetafoldError
            Where it describes something else than ESM-2, or a size is missing or impossible.
        """
        kind = document.get("model_type") if isinstance(document, dict) else None
        if kind != "esm":
            raise BetafoldError(f"this is not an ESM-2 checkpoint: its model_type is {kind!r}, not 'esm'")
        for key, (absent, accepted, meaning) in _HUB_FIXED.items():
            value = document.get(key, absent)
            if value not in accepted:
                raise BetafoldError(f"this is not an ESM-2 checkpoint: {key} is {value!r}, and {meaning}")
        for key in (*_HUB_NAMES.values(), "layer_norm_eps", "token_dropout"):
            if key not in document:
                raise BetafoldError(f"this is not an ESM-2 checkpoint: its config has no {key}")
        eps = document["layer_norm_eps"]
        return cls(
            **{ours: document[theirs] for ours, theirs in _HUB_NAMES.items()},
            layer_norm_eps=eps,
            token_dropout=document["token_dropout"],
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the config as plain JSON values."""
        return dataclasses.asdict(self)
