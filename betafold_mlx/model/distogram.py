"""Distogram head: a distribution over C-alpha distances for each pair of residues."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from betafold_mlx.model.transformer import relu

EDGES = np.concatenate([np.arange(4.0, 16.0, 0.5), np.arange(16.0, 32.0, 1.0), np.arange(32.0, 40.1, 2.0)])
"""Edges between the bins, Angstrom: finer where a contact is decided; all from 40 on is one bin."""

BINS = len(EDGES) + 1

OUTERMOST = (3.6, 44.0)
"""Ends of the first and the last bin where they need some, Angstrom."""

CENTRES = np.concatenate([[3.8], (EDGES[1:] + EDGES[:-1]) / 2, [42.0]])
"""Distance that stands for each bin, Angstrom. (CA-CA across a cis bond is 2.9, across a trans bond 3.8.)"""


class DistogramHead(nn.Module):
    """States of residues -> logits over the C-alpha distance of each pair.

    The features of a pair are both states, their elementwise product (in a narrower projection), the ring-aware
    separation along the sequence, and whether a disulfide between the two is stated; then a perceptron with one
    hidden layer. The logits are those of (i, j) and (j, i) averaged. Separations are clipped to +- (max_length - 1).
    """

    def __init__(self, width: int, max_length: int, product: int = 64, hidden: int = 96) -> None:
        super().__init__()
        self._reach = max_length - 1
        self.first = nn.Linear(width, hidden)
        self.second = nn.Linear(width, hidden, bias=False)
        self.narrow = nn.Linear(width, product)
        self.product = nn.Linear(product, hidden, bias=False)
        self.separation = nn.Embedding(2 * max_length - 1, hidden)
        self.disulfide = mx.zeros((hidden,))
        self.logits = nn.Linear(hidden, BINS)

    def __call__(self, states: mx.array, relative: mx.array, bonded: mx.array) -> mx.array:
        """Return the logits (B, L, L, bins), symmetric in the residues.

        Parameters
        ----------
        states : mx.array
            (B, L, D).
        relative : mx.array
            (B, L, L) int, from `betafold_mlx.model.positions.relative_positions`.
        bonded : mx.array
            (B, L, L) bool, True where a disulfide is stated.
        """
        narrow = self.narrow(states)  # (B, L, P)
        hidden = self.product(narrow[:, :, None] * narrow[:, None, :])  # (B, L, L, H)
        hidden = hidden + self.first(states)[:, :, None] + self.second(states)[:, None, :]
        index = mx.clip(relative, -self._reach, self._reach) + self._reach
        hidden = hidden + self.separation(index) + bonded[..., None] * self.disulfide
        hidden = relu(hidden)
        return self.logits(0.5 * (hidden + hidden.swapaxes(1, 2)))


def distance_bins(distances: mx.array) -> mx.array:
    """Return the bin of each distance: (...) Angstrom -> (...) int32."""
    return (distances[..., None] >= mx.array(EDGES.astype(np.float32))).sum(axis=-1).astype(mx.int32)


def expected_distances(logits: mx.array) -> mx.array:
    """Return the expected distance of each pair: (..., bins) -> (...) Angstrom."""
    return mx.softmax(logits, axis=-1) @ mx.array(CENTRES.astype(np.float32))
