"""The pair trunk: residues and pairs of residues, updated in turns.

After the Pairformer of AlphaFold 3 (Abramson et al. 2024, suppl. algorithm 17), at the size of peptides. Each pair of
residues has a state of its own. A block first tells the pairs what the residues know, lets the pairs agree along
triangles (`betafold_mlx.model.triangle`), and then lets the residues attend to each other with a bias that each pair
states. Without an alignment there is little to say of a pair at the start; so, unlike AlphaFold 3 and as in ESMFold
(Lin et al. 2023), residues speak to pairs in every block.

Recycling runs the whole trunk again, with its last output added to its input (Jumper et al. 2021,
suppl. algorithm 32): more depth without more parameters. Gradients flow through the last pass alone.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from betafold_mlx.model.attention import PairBias
from betafold_mlx.model.config import ModelConfig
from betafold_mlx.model.heads import BINS
from betafold_mlx.model.transformer import TransformerBlock, dropout, relu, split_key
from betafold_mlx.model.triangle import (
    PairLinear,
    PairTransition,
    TriangleAttention,
    TriangleMultiplication,
    normalise,
)

TRANSITION = 2
"""Hidden width of the pair transition in widths of a pair; AlphaFold 3 has 4, twice the cost for one update of five."""

DISTOGRAM_HIDDEN = 96
"""Hidden width of the distance head."""

DTYPES = {"float32": mx.float32, "bfloat16": mx.bfloat16}


class ResiduesToPairs(nn.Module):
    """What the states of two residues say of their pair: either state, and the product of both."""

    def __init__(self, width: int, pair_width: int) -> None:
        super().__init__()
        self._pair_width = pair_width
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, 4 * pair_width)
        self.product = PairLinear(pair_width, pair_width)

    def __call__(self, states: mx.array) -> mx.array:
        """(B, L, D) -> (B, d, L, L)."""
        projected = self.project(self.norm(states)).swapaxes(1, 2)  # (B, 4 d, L)
        first, second, left, right = mx.split(mx.contiguous(projected), 4, axis=1)
        product = self.product(left[..., :, None] * right[..., None, :])
        return product + first[..., :, None] + second[..., None, :]


class PairUpdate(nn.Module):
    """Triangle multiplications, triangle attentions and transition, each added to the pairs."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, heads, form = config.pair_width, config.triangle_heads, config.triangle
        self._dropout = config.dropout
        self.outgoing = TriangleMultiplication(width, width // 2, incoming=False)
        self.incoming = TriangleMultiplication(width, width // 2, incoming=True)
        self.starting = TriangleAttention(width, heads, form, ending=False)
        self.ending = TriangleAttention(width, heads, form, ending=True)
        self.transition = PairTransition(width, TRANSITION * width)

    def __call__(self, pairs: mx.array, mask: mx.array, key: mx.array | None) -> mx.array:
        """Return the new pairs (B, d, L, L); `mask` (B, L) is of their type, 1 = real residue, 0 = padding."""
        updates = (self.outgoing, self.incoming, self.starting, self.ending)
        for update, own in zip(updates, split_key(key, len(updates)), strict=True):
            shape = (*pairs.shape[:2], 1, pairs.shape[3])
            if update is self.ending:
                shape = (*pairs.shape[:3], 1)
            change = update(pairs, mask)
            if own is not None:  # a channel is dropped in a whole column, or row: neighbours tell the same
                change = change * dropout(mx.ones(shape, dtype=pairs.dtype), self._dropout, own)
            pairs = pairs + change
        return pairs + self.transition(pairs)


class Pairformer(nn.Module):
    """The trunk: ``layers`` blocks of residues, shared out among ``pair_blocks`` updates of pairs."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, number = config.pair_width, config.pair_blocks
        self._dtype = DTYPES[config.trunk_dtype]
        self.pair_positions = PairBias(width, config.max_length, zero=False)
        self.to_pairs = [ResiduesToPairs(config.width, width) for _ in range(number)]
        self.pair_updates = [PairUpdate(config) for _ in range(number)]
        self.biases = [PairLinear(width, config.heads, zero=True) for _ in range(number)]
        self.blocks = [
            TransformerBlock(
                config.width, config.heads, config.ffn_width, config.dropout, config.norm == "post"
            )
            for _ in range(config.layers)
        ]
        self.norm = nn.LayerNorm(config.width)
        if config.recycles:
            self.recycled_states = nn.Linear(config.width, config.width, bias=False)
            self.recycled_states.weight = mx.zeros_like(self.recycled_states.weight)
            self.recycled_pairs = PairLinear(width, width, zero=True)

    def __call__(
        self,
        states: mx.array,
        mask: mx.array,
        relative: mx.array,
        bonded: mx.array,
        recycles: int = 0,
        key: mx.array | None = None,
        return_attention: bool = False,
    ) -> tuple[mx.array, mx.array, list[mx.array]]:
        """Run the trunk, `recycles` times after the first.

        Of embedded residues (B, L, D), their mask (B, L), separations from
        `betafold_mlx.model.attention.relative_positions` and where a disulfide is stated, both (B, L, L). Dropout is
        on when a random key is given, (2,) or (B, 2) one for each peptide.

        Return states (B, L, D) and pairs (B, d, L, L) float32, both normalised, and one (B, H, L, L) attention map a
        block of residues, of the last pass, where they are asked for.
        """
        given_states, given_pairs = states, mx.contiguous(self.pair_positions(relative, bonded))
        pairs = given_pairs
        attention: list[mx.array] = []
        keys = split_key(key, recycles + 1)
        for number, own in enumerate(keys):
            states, pairs, attention = self._pass(states, pairs, mask, own, return_attention)
            if number < recycles:
                states, pairs = mx.stop_gradient(states), mx.stop_gradient(pairs)
                states = given_states + self.recycled_states(states)
                pairs = given_pairs + self.recycled_pairs(pairs)
        return states, pairs, attention

    def _pass(
        self,
        states: mx.array,
        pairs: mx.array,
        mask: mx.array,
        key: mx.array | None,
        return_attention: bool,
    ) -> tuple[mx.array, mx.array, list[mx.array]]:
        number, layers = len(self.pair_updates), len(self.blocks)
        keys = split_key(key, number + layers)
        pairs = pairs.astype(self._dtype)
        real = mask.astype(self._dtype)
        attention = []
        for place in range(number):
            pairs = pairs + self.to_pairs[place](states).astype(self._dtype)
            pairs = self.pair_updates[place](pairs, real, keys[place])
            bias = self.biases[place](normalise(pairs)).astype(mx.float32)
            for layer in range(place * layers // number, (place + 1) * layers // number):
                states, weights = self.blocks[layer](states, mask, bias, keys[number + layer])
                if return_attention:
                    attention.append(weights)
        return self.norm(states), normalise(pairs.astype(mx.float32)), attention


class PairDistogramHead(nn.Module):
    """Pairs -> logits over their C-alpha distance, by a perceptron with one hidden layer."""

    def __init__(self, width: int, hidden: int = DISTOGRAM_HIDDEN) -> None:
        super().__init__()
        self.hidden = PairLinear(width, hidden)
        self.logits = nn.Linear(hidden, BINS)

    def __call__(self, pairs: mx.array) -> mx.array:
        """(B, d, L, L) -> (B, L, L, bins), symmetric in the residues."""
        batch, _, length, _ = pairs.shape
        hidden = relu(self.hidden(pairs))
        hidden = 0.5 * (hidden + hidden.swapaxes(-1, -2))
        logits = self.logits(hidden.reshape(batch, -1, length * length).swapaxes(1, 2))
        return logits.reshape(batch, length, length, BINS)
