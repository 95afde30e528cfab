"""The network of the generator, and its model directory.

PAR, protein autoregressive modelling: an autoregressive Transformer reads ``[bos, Up(x1), Up(x2), ...]``, where x1,
x2, ... is a C-alpha trace from coarse to fine, and gives each point of each scale a vector z. Attention is causal from
scale to scale and goes both ways inside one, so that z of a scale depends on the coarser scales alone. A flow-matching
decoder, which all scales share, makes the points of a scale from noise and their z.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from betafold_mlx.files import file_sha256
from betafold_mlx.generate.chain_layout import Layout
from betafold_mlx.generate.context import Context
from betafold_mlx.generate.decoder import Decoder
from betafold_mlx.generate.settings import GeneratorConfig
from betafold_mlx.generate.surroundings import Surroundings
from betafold_mlx.model.directory import (
    WEIGHTS_FILE,
    load_arrays,
    read_description,
    set_weights,
    write_directory,
)

KIND = ("betafold-par", 2)
"""``model_type`` and ``schema_version`` in ``config.json``."""


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
            Layout of the batch.
        bias : mx.array, optional
            `Context.bias` of the layout, where it is known already.

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


@dataclass(frozen=True)
class Generator:
    """A generator and where it came from.

    Attributes
    ----------
    model : BackboneGenerator
        Ready to sample (float32).
    name : str
        Name of the directory it was loaded from.
    sha256 : str
        SHA-256 of ``model.safetensors``.
    trained_on : str or None
        SHA-256 of the data set it was trained on, where the model says.
    """

    model: BackboneGenerator
    name: str
    sha256: str
    trained_on: str | None = None


def load_generator(directory: Path) -> Generator:
    """Load the model directory of a generator.

    Raises
    ------
    BetafoldError
        For anything missing, damaged, or of another kind; the message says which file and what to do.
    """
    directory = Path(directory)
    what = "a generator of backbones: train one with `betafold-mlx train-generator`"
    config, trained_on = read_description(directory, KIND, GeneratorConfig.from_dict, what)
    model = BackboneGenerator(config)
    path = directory / WEIGHTS_FILE
    set_weights(model, load_arrays(path), path)
    return Generator(model, directory.resolve().name, file_sha256(path), trained_on)


def save_generator(directory: Path, model: BackboneGenerator, card: str, training: dict[str, Any]) -> None:
    """Write the model directory of a generator, whole or not at all; its weights are stored as float16.

    Parameters
    ----------
    directory : Path
        Replaced as a whole where it exists.
    model : BackboneGenerator
        The network.
    card : str
        Text of the model card.
    training : dict
        How it was trained, for ``config.json``.
    """
    network = dataclasses.asdict(model.config)
    write_directory(Path(directory), model, KIND, network, card, training, mx.float16)
