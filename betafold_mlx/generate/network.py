"""The network of the generator, and its model directory.

PAR, protein autoregressive modelling: an autoregressive Transformer reads ``[bos, Up(x1), Up(x2), ...]``, where x1,
x2, ... is a C-alpha trace from coarse to fine, and gives each point of each scale a vector z. Attention is causal from
scale to scale and goes both ways inside one, so that z of a scale depends on the coarser scales alone. A flow-matching
decoder, which all scales share, makes the points of a scale from noise and their z.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from betafold_mlx.generate.chain_layout import Layout
from betafold_mlx.generate.context import Context
from betafold_mlx.generate.decoder import Decoder
from betafold_mlx.generate.settings import GeneratorConfig
from betafold_mlx.generate.surroundings import Surroundings
from betafold_mlx.model.directory import LoadedNetwork, load_directory, save_directory

KIND = ("betafold-par", 2)
"""``model_type`` and ``schema_version`` in ``config.json``."""


class BackboneGenerator(nn.Module):
    """The whole network."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.context = Context(config)
        self.decoder = Decoder(config)

    def __call__(
        self, seen: Sequence[Surroundings], layout: Layout, bias: mx.array | None = None
    ) -> list[mx.array]:
        """Return z (B, S_k, D) of all scales at once, as in training.

        `bias` is `Context.bias` of the layout, where it is known already.
        """
        bias = self.context.bias(layout) if bias is None else bias
        states = [self.context.read(scale, own, layout) for scale, own in enumerate(seen)]
        mask = mx.concatenate(list(layout.masks), axis=1)
        z, _ = self.context.extend(mx.concatenate(states, axis=1), mask, bias)
        ends = [sum(layout.sizes[: scale + 1]) for scale in range(len(layout.sizes) - 1)]
        return list(mx.split(z, ends, axis=1))


Generator = LoadedNetwork[BackboneGenerator]
"""A generator and where it came from."""


def load_generator(directory: Path) -> Generator:
    """Load the model directory of a generator; raises as `betafold_mlx.model.directory.load_directory` does."""
    what = "a generator of backbones: train one with `betafold-mlx train-generator`"

    def build(values: dict[str, Any]) -> BackboneGenerator:
        return BackboneGenerator(GeneratorConfig.from_dict(values))

    return load_directory(directory, KIND, build, what)


def save_generator(directory: Path, model: BackboneGenerator, card: str, training: dict[str, Any]) -> None:
    """Write the model directory of a generator, its weights as float16: see `save_directory`."""
    save_directory(Path(directory), model, KIND, dataclasses.asdict(model.config), card, training, mx.float16)
