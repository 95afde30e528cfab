"""The generator's network: an autoregressive Transformer over scales, and a flow-matching decoder that they share.

PAR, protein autoregressive modelling: the Transformer reads ``[bos, Up(x1), Up(x2), ...]``, where x1, x2, ... is a
C-alpha trace from coarse to fine, and answers each point of each scale with a vector z. Attention is causal from scale
to scale and goes both ways inside one, so that z of a scale knows the coarser scales alone. The decoder makes the
points of a scale of noise and their z.
"""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx
import mlx.nn as nn

from betafold_mlx.generate.config import GeneratorConfig
from betafold_mlx.generate.context import Context
from betafold_mlx.generate.decoder import Decoder
from betafold_mlx.generate.layout import Layout
from betafold_mlx.generate.surroundings import Surroundings


class BackboneGenerator(nn.Module):
    """The whole network.

    Parameters
    ----------
    config : GeneratorConfig
        Its sizes.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self._config = config
        self.context = Context(config)
        self.decoder = Decoder(config)

    @property
    def config(self) -> GeneratorConfig:
        """Sizes of the network."""
        return self._config

    def __call__(
        self, seen: Sequence[Surroundings], layout: Layout, bias: mx.array | None = None
    ) -> list[mx.array]:
        """Return z of all scales at once, as in training.

        Parameters
        ----------
        seen : sequence of Surroundings
            What the points of each scale see of the coarser one.
        layout : Layout
            Of the batch.
        bias : mx.array, optional
            `Context.bias` of it, where that is known already.

        Returns
        -------
        list of mx.array
            (B, S_k, D) of each scale.
        """
        bias = self.context.bias(layout) if bias is None else bias
        states = [self.context.read(scale, own, layout) for scale, own in enumerate(seen)]
        mask = mx.concatenate(list(layout.masks), axis=1)
        z, _ = self.context.extend(mx.concatenate(states, axis=1), mask, bias)
        ends = [sum(layout.sizes[: scale + 1]) for scale in range(len(layout.sizes) - 1)]
        return list(mx.split(z, ends, axis=1))
