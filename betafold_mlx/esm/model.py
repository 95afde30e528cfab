"""The ESM-2 network, after Lin et al. 2023 and the `EsmForMaskedLM` of transformers, with which it agrees.

What differs from a plain pre-LN Transformer encoder: rotary positions instead of added ones, embeddings rescaled by
the share of masked tokens, and a final LayerNorm that hides from the last states how the ones before it drift - which
is why `encode` hands out every state.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import mlx.core as mx
import mlx.nn as nn

from betafold_mlx.esm.sizes import EsmConfig
from betafold_mlx.esm.tokenizer import EOS, MASK, PAD, TOKENS
from betafold_mlx.model.attention import scaled_dot_product_attention
from betafold_mlx.model.functions import gelu, natively

TRAINING_MASK_RATIO = 0.15 * 0.8
"""Share of tokens that were masked in training: 15 % chosen, 80 % of these masked (Lin et al. 2023, A.2.1)."""


class Encoded(NamedTuple):
    """Output of the encoder for a batch of B rows of T tokens. Values at padding have no meaning."""

    states: mx.array  # (B, T, D), after the final LayerNorm
    # (B, T, D): the embeddings, then the states after each block, before the final LayerNorm
    hidden: list[mx.array]
    attention: list[mx.array]  # a (B, H, T, T) map a block; empty unless asked for


Turn = Callable[[mx.array], mx.array]
"""Turns queries and keys of all heads side by side, (B, T, 2 D), by their position: (B, 2 H, T, d)."""


def rotation(inv_freq: mx.array, length: int, heads: int) -> Turn:
    """Return rotary positions (Su et al. 2021) for sequences of `length` tokens, from `inv_freq` (d / 2,).

    Numbers k and k + d / 2 of a head are coordinates in a plane, which is turned by ``inv_freq[k]`` radians a token.
    """
    half = len(inv_freq)

    def split(states: mx.array) -> mx.array:
        return states.reshape(*states.shape[:2], 2 * heads, 2 * half).swapaxes(1, 2)

    if natively():
        turn = functools.partial(
            mx.fast.rope,
            dims=2 * half,
            traditional=False,
            base=None,
            scale=1.0,
            offset=0,
            freqs=1.0 / inv_freq,
        )
        return lambda states: turn(split(states))
    # On a CPU that kernel is some fifteen operations. One sine and cosine serve all blocks, repeated for each head, so
    # that the products below read memory in order.
    angles = mx.arange(length)[:, None] * inv_freq  # (T, d / 2)
    cosines, sines = mx.cos(angles), mx.sin(angles)
    cosines = mx.tile(mx.concatenate([cosines, cosines], axis=1), (1, 2 * heads))  # (T, 2 D)
    sines = mx.tile(mx.concatenate([-sines, sines], axis=1), (1, 2 * heads))

    def turned(states: mx.array) -> mx.array:
        others = states.reshape(*states.shape[:2], 2 * heads, 2, half)[..., ::-1, :].reshape(states.shape)
        return split(states * cosines + others * sines)

    return turned


class RotaryAttention(nn.Module):
    """Multi-head self-attention that turns queries and keys by their position."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    def join(self) -> None:
        """Make one map of the three that read the same states: one product instead of three."""
        maps = [self.pop(name) for name in ("query", "key", "value")]
        width = len(maps[0].bias)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.query_key_value.weight = mx.concatenate([each.weight for each in maps])
        self.query_key_value.bias = mx.concatenate([each.bias for each in maps])

    def _project(self, x: mx.array) -> mx.array:
        """(B, T, D) -> (B, T, 3 D): queries, keys and values side by side."""
        if "query_key_value" in self:
            return self.query_key_value(x)
        return mx.concatenate([self.query(x), self.key(x), self.value(x)], axis=-1)

    def __call__(
        self, x: mx.array, mask: mx.array, turn: Turn, return_weights: bool = False
    ) -> tuple[mx.array, mx.array | None]:
        """Mix states x (B, T, D) where the mask (B, T) is True.

        `return_weights` keeps the attention map (B, H, T, T), which the fused kernel never forms.
        """
        batch, length, width = x.shape
        head_width = width // self.heads
        joined = self._project(x)  # (B, T, 3 D)
        turned = turn(joined[..., : 2 * width])
        queries, keys = turned[:, : self.heads], turned[:, self.heads :]  # (B, H, T, d)
        values = joined[..., 2 * width :].reshape(batch, length, self.heads, head_width).swapaxes(1, 2)
        weights = None
        if return_weights or not natively():  # on a CPU the fused kernel is no kernel, and its softmax slow
            attended, weights = scaled_dot_product_attention(queries, keys, values, mask)
        else:
            attended = mx.fast.scaled_dot_product_attention(
                queries, keys, values, scale=head_width**-0.5, mask=mask[:, None, None, :]
            )
        mixed = self.output(attended.swapaxes(1, 2).reshape(batch, length, width))
        return mixed, weights if return_weights else None


class Block(nn.Module):
    """One pre-LN block: x + attention(norm(x)), then x + feed-forward(norm(x))."""

    def __init__(self, config: EsmConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.attention = RotaryAttention(config.width, config.heads)
        self.feed_forward_norm = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.expand = nn.Linear(config.width, config.ffn_width)
        self.contract = nn.Linear(config.ffn_width, config.width)

    def __call__(
        self, x: mx.array, mask: mx.array, turn: Turn, return_weights: bool = False
    ) -> tuple[mx.array, mx.array | None]:
        """Return the new states (B, T, D) and, where asked for, the attention map (B, H, T, T)."""
        mixed, weights = self.attention(self.attention_norm(x), mask, turn, return_weights)
        x = x + mixed
        return x + self.contract(gelu(self.expand(self.feed_forward_norm(x)))), weights


class LanguageHead(nn.Module):
    """States -> logits over the vocabulary; the last matrix is the token embedding itself."""

    def __init__(self, config: EsmConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.width, config.width)
        self.norm = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.bias = mx.zeros((len(TOKENS),))

    def __call__(self, states: mx.array, embedding: nn.Embedding) -> mx.array:
        """(..., D) -> (..., 33)."""
        return embedding.as_linear(self.norm(gelu(self.dense(states)))) + self.bias


class ContactHead(nn.Module):
    """Attention maps -> contact probabilities: a logistic regression (Rao et al. 2020, section 3.2).

    A contact is a pair of residues with CB atoms within 8 Angstrom; it was fitted on pairs at least 6 residues apart.
    """

    def __init__(self, config: EsmConfig) -> None:
        super().__init__()
        self.regression = nn.Linear(config.layers * config.heads, 1)

    def __call__(self, attention: list[mx.array], inner: mx.array) -> mx.array:
        """Return the probabilities (B, T - 2, T - 2), symmetric, of the maps (B, H, T, T) of all blocks.

        `inner` (B, T) is True for real tokens but ``<eos>``. Pairs with a place that holds no residue are zero.
        """
        maps = mx.concatenate(attention, axis=1)  # (B, layers * H, T, T), block by block
        pairs = inner[:, :, None] & inner[:, None, :]  # (B, T, T)
        # The sums below run over <cls> and <eos> no more than over padding: all three are cut off or zero.
        maps = mx.where(pairs[:, None], maps, 0)[..., 1:-1, 1:-1]
        maps = maps + maps.swapaxes(-1, -2)
        # Average product correction (Dunn et al. 2008): take off what two residues' own attention would give.
        rows = maps.sum(axis=-1, keepdims=True)
        columns = maps.sum(axis=-2, keepdims=True)
        total = maps.sum(axis=(-1, -2), keepdims=True)
        corrected = maps - rows * columns / mx.where(total > 0, total, 1)
        logits = self.regression(corrected.transpose(0, 2, 3, 1)).squeeze(-1)
        return mx.where(pairs[:, 1:-1, 1:-1], mx.sigmoid(logits), 0)


class Esm2(nn.Module):
    """ESM-2 with its language and contact heads.

    All methods take (B, T) int32 tokens as `betafold_mlx.esm.tokenizer.encode` makes them. The padding mask is taken
    from them on the device, so that nothing waits for a result.
    """

    def __init__(self, config: EsmConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(len(TOKENS), config.width)
        # The rotary frequencies are part of a checkpoint: the published ones are rounded to float16.
        self.inv_freq = 10000.0 ** (mx.arange(0, config.head_width, 2) * (-1.0 / config.head_width))
        self.blocks = [Block(config) for _ in range(config.layers)]
        self.norm = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.language_head = LanguageHead(config)
        self.contact_head = ContactHead(config)

    def join(self) -> None:
        """Arrange the weights of a model that is not trained any further for speed; it computes the same."""
        for block in self.blocks:
            block.attention.join()

    def __call__(self, tokens: mx.array) -> mx.array:
        """Return the logits (B, T, 33) of the language head."""
        return self.logits(self.embed(tokens))

    def embed(self, tokens: mx.array) -> mx.array:
        """Return the last states (B, T, D), normalised, without running any head."""
        return self.encode(tokens).states

    def logits(self, states: mx.array) -> mx.array:
        """Return what the language head reads off states: (..., D) -> (..., 33)."""
        return self.language_head(states, self.embedding)

    def contacts(self, tokens: mx.array) -> mx.array:
        """Return contact probabilities (B, T - 2, T - 2), residue by residue; zero at padding."""
        attention = self.encode(tokens, return_attention=True).attention
        return self.contact_head(attention, (tokens != PAD) & (tokens != EOS))

    def encode(self, tokens: mx.array, return_attention: bool = False) -> Encoded:
        """Run the encoder; attention maps are kept by an attention that is not fused."""
        mask = tokens != PAD  # (B, T)
        x = self._embed_tokens(tokens, mask)
        turn = rotation(self.inv_freq, tokens.shape[1], self.config.heads)
        hidden, attention = [x], []
        for block in self.blocks:
            x, weights = block(x, mask, turn, return_attention)
            hidden.append(x)
            attention.append(weights)
        return Encoded(self.norm(x), hidden, [weights for weights in attention if weights is not None])

    def _embed_tokens(self, tokens: mx.array, mask: mx.array) -> mx.array:
        x = self.embedding(tokens)  # (B, T, D)
        if self.config.token_dropout:
            # Masked tokens count as dropped inputs, and the others are scaled to the sum seen in training - even
            # where nothing is masked (by 0.88).
            masked = tokens == MASK
            observed = masked.sum(axis=1) / mx.maximum(mask.sum(axis=1), 1)  # (B,)
            scale = (1 - TRAINING_MASK_RATIO) / (1 - observed)
            x = mx.where(masked[..., None], 0, x) * scale[:, None, None]
        return mx.where(mask[..., None], x, 0)
