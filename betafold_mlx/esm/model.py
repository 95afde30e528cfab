"""The ESM-2 network, after Lin et al. 2023 and the `EsmForMaskedLM` of transformers, with which it agrees.

What differs from a plain pre-LN Transformer encoder: rotary positions instead of added ones, embeddings rescaled by
the share of masked tokens, and a final LayerNorm that hides from the last states how the ones before it drift - which
is why `encode` hands out every state.
"""

from __future__ import annotations

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
    hidden: list[
        mx.array
    ]  # (B, T, D): the embeddings, then the states after each block, before the final LayerNorm
    attention: list[mx.array]  # a (B, H, T, T) map a block; empty unless asked for


class RotaryAttention(nn.Module):
    """Multi-head self-attention that turns queries and keys by their position (Su et al. 2021)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    def __call__(
        self, x: mx.array, mask: mx.array, periods: mx.array, return_weights: bool = False
    ) -> tuple[mx.array, mx.array | None]:
        """Mix states x (B, T, D) where the mask (B, T) is True.

        `periods` (d / 2,) are the tokens a radian of each pair of a head's numbers. `return_weights` keeps the
        attention map (B, H, T, T), which the fused kernel never forms.
        """
        batch, length, width = x.shape
        head_width = width // self.heads

        def split(states: mx.array) -> mx.array:  # (B, T, D) -> (B, H, T, d)
            return states.reshape(batch, length, self.heads, head_width).swapaxes(1, 2)

        def turn(states: mx.array) -> mx.array:
            return mx.fast.rope(
                states, head_width, traditional=False, base=None, scale=1.0, offset=0, freqs=periods
            )

        queries, keys, values = turn(split(self.query(x))), turn(split(self.key(x))), split(self.value(x))
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
        self, x: mx.array, mask: mx.array, periods: mx.array, return_weights: bool = False
    ) -> tuple[mx.array, mx.array | None]:
        """Return the new states (B, T, D) and, where asked for, the attention map (B, H, T, T)."""
        mixed, weights = self.attention(self.attention_norm(x), mask, periods, return_weights)
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

    Parameters
    ----------
    config : EsmConfig
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
        periods = 1.0 / self.inv_freq
        hidden, attention = [x], []
        for block in self.blocks:
            x, weights = block(x, mask, periods, return_attention)
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
