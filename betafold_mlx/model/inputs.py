"""Input of the network: padded arrays of a batch of peptides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.errors import BetafoldError
from betafold_mlx.peptide.sequence import Peptide

PADDED_LENGTHS = (16, 24, 32, 40, 50)
"""Batches are padded to one of these: few shapes mean few traces to compile and little padding to compute."""


class ModelInputs(NamedTuple):
    """A padded batch."""

    residues: mx.array  # (B, L) int32 residue ids; padding holds 0
    mask: mx.array  # (B, L) bool, True = real residue
    cyclic: mx.array  # (B,) bool
    bonded: mx.array  # (B, L, L) bool, symmetric: stated disulfides
    features: mx.array | None = None  # (B, L, E) float32 of a frozen embedder; None for the residue embedder
    # (B, L) bool, True for D residues; None where all are L. The network does not read it, the geometry does
    d_residues: mx.array | None = None


def padded_length(length: int) -> int:
    """Return the smallest padded length that holds `length` residues; BetafoldError where none does."""
    for padded in PADDED_LENGTHS:
        if length <= padded:
            return padded
    raise BetafoldError(f"{length} residues: the longest peptide is {PADDED_LENGTHS[-1]} residues")


def collate(peptides: Sequence[Peptide], length: int | None = None) -> ModelInputs:
    """Pad B peptides into one batch without features, to the smallest of `PADDED_LENGTHS` unless a length is given."""
    size = padded_length(max(len(peptide) for peptide in peptides)) if length is None else length
    residues = np.zeros((len(peptides), size), dtype=np.int32)
    mask = np.zeros((len(peptides), size), dtype=bool)
    bonded = np.zeros((len(peptides), size, size), dtype=bool)
    for row, peptide in enumerate(peptides):
        residues[row, : len(peptide)] = peptide.ids
        mask[row, : len(peptide)] = True
        for i, j in peptide.disulfides:
            bonded[row, i - 1, j - 1] = bonded[row, j - 1, i - 1] = True
    cyclic = np.array([peptide.cyclic for peptide in peptides])
    return ModelInputs(mx.array(residues), mx.array(mask), mx.array(cyclic), mx.array(bonded))


def pad_features(embeddings: Sequence[np.ndarray], length: int) -> mx.array:
    """Stack B embeddings (residues, E) of a frozen embedder into one batch (B, L, E) float32, zero at padding."""
    features = np.zeros((len(embeddings), length, embeddings[0].shape[1]), dtype=np.float32)
    for row, embedding in enumerate(embeddings):
        features[row, : len(embedding)] = embedding
    return mx.array(features)
