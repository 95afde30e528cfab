"""Muon for the matrices of the blocks, AdamW for all other weights."""

from __future__ import annotations

import mlx.core as mx
import mlx.optimizers as optim


def in_blocks(path: str, weight: mx.array) -> bool:
    """Return whether a weight is a matrix between hidden states, which Muon is made for."""
    return "blocks" in path.split(".") and weight.ndim == 2


class BlockMuon(optim.MultiOptimizer):
    """Muon for the matrices of the blocks, AdamW for tables, vectors, and the first and last layers.

    Muon steps along the orthogonal matrix nearest to the mean gradient, so that all directions of a matrix learn
    alike (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/). Its matrices do not decay: MLX would add
    the decay to the gradient, whose length Muon ignores.

    Muon's rate is `block_learning_rate` where that of `rest` is `learning_rate`; their ratio is kept, whatever rate
    is set later.
    """

    def __init__(self, rest: optim.AdamW, block_learning_rate: float, learning_rate: float) -> None:
        super().__init__([optim.Muon(block_learning_rate, weight_decay=0.0), rest], [in_blocks])
        self._ratio = block_learning_rate / learning_rate

    @property
    def learning_rate(self) -> mx.array:
        """AdamW's; setting it sets Muon's too."""
        return self.optimizers[1].learning_rate

    @learning_rate.setter
    def learning_rate(self, rate: float | mx.array) -> None:
        muon, rest = self.optimizers
        muon.learning_rate, rest.learning_rate = rate * self._ratio, rate
