"""The folding network: embedding -> trunk -> torsions, distances and confidence -> backbone."""

from __future__ import annotations

from typing import NamedTuple

import mlx.core as mx
import mlx.nn as nn

from betafold_mlx.errors import BetafoldError
from betafold_mlx.geometry import build_backbone
from betafold_mlx.model.attention import PairBias, relative_positions, sinusoidal_positions
from betafold_mlx.model.config import ModelConfig
from betafold_mlx.model.heads import (
    Calibration,
    ConfidenceHead,
    DistogramHead,
    TorsionHead,
    expected_plddt,
    vectors_to_angles,
    with_bounded_gradient,
)
from betafold_mlx.model.inputs import ModelInputs
from betafold_mlx.model.ramachandran import RamachandranHead, TorsionMixture
from betafold_mlx.model.transformer import Transformer, dropout, split_key
from betafold_mlx.peptide.sequence import ALPHABET


class Folded(NamedTuple):
    """The network's answer for a batch."""

    vectors: mx.array  # (B, L, 3, 2) cosine and sine of phi, psi, omega, not normalised (see `TorsionHead`)
    torsions: mx.array  # (B, L, 3) radians
    coordinates: mx.array  # (B, L, 5, 3) Angstrom: N, CA, C, O, CB, built from the torsions; zero at padding
    mixture: TorsionMixture  # (B, L) distributions over (phi, psi)
    distogram: mx.array  # (B, L, L, bins) logits over C-alpha distances (see `betafold_mlx.model.heads`)
    plddt_logits: mx.array  # (B, L, bins)
    attention: list[mx.array]  # one (B, H, L, L) map a block; empty unless asked for
    states: mx.array  # (B, L, D) last states of the residues

    @property
    def plddt(self) -> mx.array:
        """(B, L) predicted lDDT, 0 to 100."""
        return expected_plddt(self.plddt_logits)


class FoldingModel(nn.Module):
    """The whole network."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding: nn.Module
        if config.embedder.kind == "residue":
            self.embedding = nn.Embedding(len(ALPHABET), config.width)
        else:
            assert config.embedder.width is not None  # EmbedderConfig sees to it
            self.embedding = nn.Linear(config.embedder.width, config.width)
        if config.positions == "learned":
            self.positions = 0.02 * mx.random.normal((config.max_length, config.width))
        if config.trunk == "pairformer":
            from betafold_mlx.model.pairformer import PairDistogramHead, Pairformer  # most models have none

            self.pairformer = Pairformer(config)
        else:
            self.pair_bias = PairBias(config.heads, config.max_length)
            self.transformer = Transformer(
                *(config.width, config.layers, config.heads, config.ffn_width, config.dropout),
                config.norm == "post",
            )
        self.torsion_head = TorsionHead(config.width)
        self.ramachandran_head = RamachandranHead(config.width)
        self.distogram_head: nn.Module
        if config.trunk == "pairformer":
            self.distogram_head = PairDistogramHead(config.pair_width)
        else:
            self.distogram_head = DistogramHead(config.width, config.max_length)
        self.confidence_head = ConfidenceHead(config.width)
        self.calibration = Calibration()

    def __call__(
        self,
        inputs: ModelInputs,
        key: mx.array | None = None,
        return_attention: bool = False,
        recycles: int | None = None,
    ) -> Folded:
        """Fold a batch of B peptides, padded to L residues.

        Dropout is on when a random key is given, (2,) or (B, 2) one for each peptide. `return_attention` keeps the
        attention maps; `recycles` are the passes of the pair trunk after the first, instead of the config's.
        BetafoldError for a batch longer than the model's positions, or without the features that its embedder makes.
        """
        length = inputs.residues.shape[1]
        if length > self.config.max_length:
            raise BetafoldError(f"{length} residues: this model reads at most {self.config.max_length}")
        embedding_key, stack_key = split_key(key, 2)
        states = self._embed(inputs) + self._positions(length)  # (B, L, D)
        states = dropout(states, self.config.dropout, embedding_key)
        relative = self._relative(inputs)  # (B, L, L)
        if self.config.trunk == "pairformer":
            passes = self.config.recycles if recycles is None else recycles
            states, pairs, attention = self.pairformer(
                states, inputs.mask, relative, inputs.bonded, passes, stack_key, return_attention
            )
            distogram = self.distogram_head(pairs)
        else:
            states, attention = self.transformer(
                states, inputs.mask, self.pair_bias(relative, inputs.bonded), stack_key, return_attention
            )
            distogram = self.distogram_head(states, relative, inputs.bonded)
        vectors = self.torsion_head(states)
        torsions = vectors_to_angles(vectors)
        coordinates = build_backbone(with_bounded_gradient(torsions, vectors), inputs.residues, inputs.mask)
        # The confidence judges the structure; it must not shape it.
        logits = self.confidence_head(mx.stop_gradient(states))
        mixture = self.ramachandran_head(states)
        return Folded(vectors, torsions, coordinates, mixture, distogram, logits, attention, states)

    def _embed(self, inputs: ModelInputs) -> mx.array:
        if self.config.embedder.kind == "residue":
            return self.embedding(inputs.residues)
        if inputs.features is None:
            raise BetafoldError("this model reads features of its frozen embedder, and none were given")
        return self.embedding(inputs.features)

    def _positions(self, length: int) -> mx.array:
        if self.config.positions == "learned":
            return self.positions[:length]
        if self.config.positions == "none":
            return mx.zeros((length, self.config.width))
        return sinusoidal_positions(length, self.config.width)

    def _relative(self, inputs: ModelInputs) -> mx.array:
        batch, length = inputs.mask.shape
        if not self.config.relative:  # all pairs alike
            return mx.zeros((batch, length, length), dtype=mx.int32)
        return relative_positions(inputs.mask.sum(axis=1), inputs.cyclic, length)
