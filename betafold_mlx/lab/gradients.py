"""How large the gradient is in each part of the network."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from betafold_mlx.model.folding import FoldingModel
from betafold_mlx.train.batches import Batch
from betafold_mlx.train.config import LossWeights
from betafold_mlx.train.losses import total_loss


class GradientProbe:
    """Measures gradients on one batch, always the same, without dropout.

    Parameters
    ----------
    model : FoldingModel
        The network, watched while it is trained.
    batch : Batch
        The batch.
    weights : LossWeights
        What is minimised.
    """

    def __init__(self, model: FoldingModel, batch: Batch, weights: LossWeights) -> None:
        self._model = model

        def loss() -> mx.array:
            return total_loss(model(batch.inputs), batch.targets, batch.inputs.mask, weights)[0]

        self._gradient = nn.value_and_grad(model, loss)

    def norms(self) -> dict[str, float]:
        """Return the Euclidean norm of the gradient of the embedding, each block, and the heads together.

        A pair trunk has ``block 1`` and so on for residues, and ``pairs 1`` and so on for its updates of the pairs.
        """
        _, gradient = self._gradient()
        trunk = gradient[self._model.config.trunk]
        blocks = {f"block {number + 1}": block for number, block in enumerate(trunk["blocks"])}
        pairs = {f"pairs {number + 1}": part for number, part in enumerate(trunk.get("pair_updates", []))}
        heads = {name: part for name, part in gradient.items() if name.endswith("_head")}
        parts = {"embedding": gradient["embedding"], **blocks, **pairs, "heads": heads}
        return {name: norm(part) for name, part in parts.items()}


def norm(tree: object) -> float:
    """Return the Euclidean norm of all arrays of a tree together."""
    arrays: list[tuple[str, mx.array]] = tree_flatten(tree)  # type: ignore[assignment]
    return float(np.array(mx.sqrt(sum((mx.square(array).sum() for _, array in arrays), mx.zeros(())))))
