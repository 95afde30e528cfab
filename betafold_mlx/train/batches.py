"""Examples -> padded arrays on the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.data.windows import Window, WindowSampler
from betafold_mlx.geometry import backbone_torsions
from betafold_mlx.model.inputs import ModelInputs, collate
from betafold_mlx.peptide.sequence import ALPHABET, Peptide
from betafold_mlx.train.losses import Targets

Featurizer = Callable[[Sequence[str], int], mx.array]
"""(sequences, padded length) -> (B, L, E) features of a frozen embedder."""


class Batch(NamedTuple):
    """What a training step sees: the network's inputs and the structures to learn."""

    inputs: ModelInputs
    targets: Targets


def make_batch(windows: Sequence[Window], padded: int, featurizer: Featurizer | None = None) -> Batch:
    """Pad B examples of at most `padded` residues into one batch, with the features of a frozen embedder's featurizer.

    Torsions are those of the window: phi of its first, psi and omega of its last residue are undefined.
    """
    inputs = collate([window.peptide for window in windows], padded)
    if featurizer is not None:
        inputs = inputs._replace(features=featurizer([w.peptide.sequence for w in windows], padded))
    coordinates = np.zeros((len(windows), padded, 4, 3), dtype=np.float32)
    for row, window in enumerate(windows):
        coordinates[row, : len(window.peptide)] = window.coordinates
    points = mx.array(coordinates)
    torsions, defined = backbone_torsions(points, inputs.mask)
    judged = [window.confidence for window in windows]
    confidence = None if all(weight == 1.0 for weight in judged) else mx.array(judged)
    return Batch(inputs, Targets(points, torsions, defined, mx.ones((len(windows),)), confidence))


def observed_torsions(sampler: WindowSampler, batches: int = 16) -> np.ndarray:
    """Return phi and psi of the residues in the first training batches: (N, 2) radians."""
    found = []
    for step in range(batches):
        batch = make_batch(*sampler.batch(step))
        known = np.array(batch.targets.defined)[..., :2].all(axis=-1)
        found.append(np.array(batch.targets.torsions)[..., :2][known])
    return np.concatenate(found)


def peptides_of(inputs: ModelInputs) -> list[Peptide]:
    """Return the peptides of a batch, with the chemistry that the network is given."""
    rows = zip(*(np.array(array) for array in inputs[:4]), strict=True)
    peptides = []
    for residues, mask, cyclic, bonded in rows:
        sequence = "".join(ALPHABET[residue] for residue in residues[mask])
        pairs = tuple((int(i) + 1, int(j) + 1) for i, j in np.argwhere(np.triu(bonded)))
        peptides.append(Peptide.of(sequence, bool(cyclic), pairs))
    return peptides
