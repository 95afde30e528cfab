"""How the models of one peptide differ."""

from __future__ import annotations

from typing import NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.geometry.superpose import superpose
from betafold_mlx.metrics import backbone_rmsd

ALIKE = 2.0
"""Backbone RMSD up to which two models are the same fold, Angstrom."""


class Spread(NamedTuple):
    """How M models of L residues differ.

    Attributes
    ----------
    clusters : tuple of int
        For each model the 1-based number of its cluster: that of the first leader within `ALIKE`. A model that is
        alike to no leader before it in rank leads a cluster of its own.
    rmsd_to_first : tuple of float
        Backbone RMSD of each model to the first, Angstrom.
    per_residue : tuple of float
        Root mean square deviation of each CA from its mean place, all models laid on the first, Angstrom.
    """

    clusters: tuple[int, ...]
    rmsd_to_first: tuple[float, ...]
    per_residue: tuple[float, ...]


def measure_spread(coordinates: np.ndarray) -> Spread:
    """Measure how models differ: (M, L, 5, 3) Angstrom, best first."""
    models = mx.array(coordinates[:, :, :3].astype(np.float32))
    leaders: list[int] = []
    clusters = []
    for number in range(len(coordinates)):
        near: list[int] = []
        if leaders:
            chosen = models[mx.array(leaders)]
            apart = np.array(backbone_rmsd(mx.broadcast_to(models[number], chosen.shape), chosen))
            near = np.flatnonzero(apart <= ALIKE).tolist()
        if not near:
            leaders.append(number)
            near = [len(leaders) - 1]
        clusters.append(near[0] + 1)
    first = mx.broadcast_to(models[0], models.shape)
    to_first = np.array(backbone_rmsd(models, first))
    laid = np.array(superpose(models.flatten(1, 2), first.flatten(1, 2))).reshape(models.shape)[:, :, 1]
    deviation = np.sqrt(np.square(laid - laid.mean(axis=0)).sum(axis=-1).mean(axis=0))
    return Spread(tuple(clusters), tuple(to_first.tolist()), tuple(deviation.tolist()))
