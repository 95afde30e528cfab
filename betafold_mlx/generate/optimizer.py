"""The optimiser of a generator: Muon for the matrices of the blocks, AdamW for everything else."""

from __future__ import annotations

import mlx.core as mx
import mlx.optimizers as optim

BETAS = (0.9, 0.99)
"""AdamW's. The loss of a step has much noise of its own: a long memory of its square makes rare large steps."""


def in_blocks(path: str, weight: mx.array) -> bool:
    """Return whether a weight is a matrix between hidden states, which Muon is made for."""
    return "blocks" in path.split(".") and weight.ndim == 2


def make_optimizer(learning_rate: float, block_learning_rate: float, weight_decay: float) -> optim.Optimizer:
    """Return `BlockMuon`, or AdamW for all weights where the rate of the blocks is 0."""
    if block_learning_rate == 0:
        return optim.AdamW(learning_rate, betas=list(BETAS), weight_decay=weight_decay)
    return BlockMuon(learning_rate, block_learning_rate, weight_decay)


class BlockMuon(optim.MultiOptimizer):
    """Muon for the matrices of the blocks, AdamW for tables, vectors, and the layers in and out.

    Muon takes the orthogonal matrix nearest to the mean gradient for a step, so that all directions of a matrix learn
    alike (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/).

    Parameters
    ----------
    learning_rate : float
        AdamW's peak.
    block_learning_rate : float
        Muon's peak. Whatever rate is set later, the two keep this ratio.
    weight_decay : float
        AdamW's. Muon's matrices do not decay: MLX would add the decay to the gradient, whose length Muon ignores.
    """

    def __init__(self, learning_rate: float, block_learning_rate: float, weight_decay: float) -> None:
        muon = optim.Muon(block_learning_rate, weight_decay=0.0)
        rest = optim.AdamW(learning_rate, betas=list(BETAS), weight_decay=weight_decay)
        super().__init__([muon, rest], [in_blocks])
        self._ratio = block_learning_rate / learning_rate

    @property
    def learning_rate(self) -> mx.array:
        """AdamW's; setting it sets Muon's too."""
        return self.optimizers[1].learning_rate

    @learning_rate.setter
    def learning_rate(self, rate: float | mx.array) -> None:
        muon, rest = self.optimizers
        muon.learning_rate, rest.learning_rate = rate * self._ratio, rate
