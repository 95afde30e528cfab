"""The Transformer encoder: blocks of attention and feed-forward network on a residual stream.

The state of each residue is a vector that flows through the blocks unchanged but for what they *add* to it. Each
branch first normalises its own copy of the stream (pre-LN, Xiong et al. 2020): the stream itself is never rescaled,
so gradients reach the first block as directly as the last, and training is stable without tricks.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from betafold_mlx.model.attention import MultiHeadAttention


def dropout(x: mx.array, rate: float, key: mx.array | None) -> mx.array:
    """Set a random share of `x`, in [0, 1), to zero and scale up the rest (Srivastava et al. 2014).

    The key is random, or (B, 2) one for each element of the first axis; None switches dropout off. It is explicit, so
    that the result is a function of the arguments alone: a resumed run repeats itself exactly, and with a key of its
    own an example loses the same in any company.
    """
    if key is None or rate == 0:
        return x
    if key.ndim == 1:
        keep = mx.random.bernoulli(1 - rate, x.shape, key=key)
    else:
        keep = mx.vmap(lambda own: mx.random.bernoulli(1 - rate, x.shape[1:], key=own))(key)
    return x * (keep * (1 / (1 - rate)))  # no `where`: on a CPU it is twenty times slower than a product


def split_key(key: mx.array | None, number: int) -> list[mx.array] | list[None]:
    """Return `number` independent keys of the shape of `key`, (2,) or (B, 2); of None as many None."""
    if key is None:
        return [None] * number
    if key.ndim == 1:
        return list(mx.random.split(key, number))
    keys = mx.vmap(lambda own: mx.random.split(own, number))(key)  # (B, number, 2)
    return [keys[:, place] for place in range(number)]


def relu(x: mx.array) -> mx.array:
    """Return max(x, 0) elementwise.

    `mlx.nn.relu` gives the same bits, but is compiled: on a CPU the first call runs a C++ compiler for half a
    second, and fails where the temporary folder is not writable.
    """
    return mx.maximum(x, 0)


class FeedForward(nn.Module):
    """Two linear maps with a ReLU between them, applied to each residue by itself."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.expand = nn.Linear(width, hidden)
        self.contract = nn.Linear(hidden, width)

    def __call__(self, x: mx.array) -> mx.array:
        """(B, L, D) -> (B, L, D)."""
        # ReLU as in the original Transformer: GELU's erf is a scalar loop on x86, and costs more than the matmuls.
        return self.contract(relu(self.expand(x)))


class TransformerBlock(nn.Module):
    """One block. Pre-LN: x + attention(norm(x)), then x + feed-forward(norm(x)).

    With `post_norm` the block of Vaswani et al. 2017: norm(x + attention(x)), then norm(x + feed-forward(x)).
    """

    def __init__(
        self, width: int, heads: int, ffn_width: int, dropout_rate: float, post_norm: bool = False
    ) -> None:
        super().__init__()
        self.dropout_rate = dropout_rate
        self.post_norm = post_norm
        self.attention_norm = nn.LayerNorm(width)
        self.attention = MultiHeadAttention(width, heads)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, ffn_width)

    def __call__(
        self, x: mx.array, mask: mx.array, bias: mx.array | None = None, key: mx.array | None = None
    ) -> tuple[mx.array, mx.array]:
        """Return the new states (B, L, D) and the attention map (B, H, L, L)."""
        first, second = split_key(key, 2)
        if self.post_norm:
            mixed, weights = self.attention(x, mask, bias)
            x = self.attention_norm(x + dropout(mixed, self.dropout_rate, first))
            return self.feed_forward_norm(
                x + dropout(self.feed_forward(x), self.dropout_rate, second)
            ), weights
        mixed, weights = self.attention(self.attention_norm(x), mask, bias)
        x = x + dropout(mixed, self.dropout_rate, first)
        x = x + dropout(self.feed_forward(self.feed_forward_norm(x)), self.dropout_rate, second)
        return x, weights


class Transformer(nn.Module):
    """A stack of blocks and a last LayerNorm, which post-norm blocks have too: so both kinds have the same weights.

    `dropout_rate` is the share of each residual branch that is dropped when a key is given.
    """

    def __init__(
        self,
        width: int,
        layers: int,
        heads: int,
        ffn_width: int,
        dropout_rate: float,
        post_norm: bool = False,
    ) -> None:
        super().__init__()
        self.blocks = [
            TransformerBlock(width, heads, ffn_width, dropout_rate, post_norm) for _ in range(layers)
        ]
        self.norm = nn.LayerNorm(width)

    def __call__(
        self,
        x: mx.array,
        mask: mx.array,
        bias: mx.array | None = None,
        key: mx.array | None = None,
        return_attention: bool = False,
    ) -> tuple[mx.array, list[mx.array]]:
        """Run the stack on states (B, L, D) with their mask (B, L).

        The pair bias (B, H, L, L) is the same for each block. Dropout is on when a random key is given, (2,) or (B,
        2) one for each peptide. Return the normalised states, and one (B, H, L, L) attention map a block, where they
        are asked for.
        """
        keys = split_key(key, len(self.blocks))
        attention = []
        for block, block_key in zip(self.blocks, keys, strict=True):
            x, weights = block(x, mask, bias, block_key)
            if return_attention:
                attention.append(weights)
        return self.norm(x), attention
