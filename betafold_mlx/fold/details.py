"""Attention, expected distances and torsion density of a fold, for debugging and reports; kept when asked for."""

from __future__ import annotations

import math
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.fold.restraints import CLOSE_IN_SEQUENCE
from betafold_mlx.model.folding import Folded
from betafold_mlx.model.heads import CENTRES
from betafold_mlx.model.ramachandran import TorsionMixture

CELLS = 72
"""Cells of the torsion density along each angle: 5 degrees."""


class Details(NamedTuple):
    """The network's answer for one peptide of L residues.

    Attributes
    ----------
    attention : numpy.ndarray
        (layers, heads, L, L) float32: with which weight residue i (row) listens to residue j (column); rows sum to 1.
    distance : numpy.ndarray
        (L, L) float32, expected C-alpha distance under the distogram, Angstrom; NaN for a residue and its neighbours
        along the chain, of which the network says nothing.
    deviation : numpy.ndarray
        (L, L) float32, its standard deviation, Angstrom; NaN where the distance is.
    torsion_density : numpy.ndarray
        (CELLS, CELLS) float32, density over (phi, psi) per square radian, mean over the residues that have both
        torsions. Cell i spans 5 degrees from -180 + 5 i.
    """

    attention: np.ndarray
    distance: np.ndarray
    deviation: np.ndarray
    torsion_density: np.ndarray

    def mirrored(self) -> Details:
        """Return the details of the mirror image: negated torsions, and all else as it is."""
        return self._replace(torsion_density=self.torsion_density[::-1, ::-1])


def read_details(folded: Folded, row: int, length: int, cyclic: bool) -> Details:
    """Read the details of one peptide off the network's answer for a batch.

    Parameters
    ----------
    folded : Folded
        Made with ``return_attention=True``.
    row : int
        The peptide's place in the batch.
    length : int
        Its number of residues L.
    cyclic : bool
        Closed head to tail: the first and the last residue have both torsions.
    """
    attention = mx.stack([layer[row, :, :length, :length] for layer in folded.attention])
    probability = mx.softmax(folded.distogram[row, :length, :length], axis=-1)
    centres = mx.array(CENTRES.astype(np.float32))
    mean = probability @ centres
    variance = mx.maximum(probability @ mx.square(centres) - mx.square(mean), 0.0)
    place = np.arange(length)
    unknown = np.abs(place[:, None] - place) < CLOSE_IN_SEQUENCE
    inner = slice(0, length) if cyclic else slice(1, length - 1)
    return Details(
        attention=np.array(attention),
        distance=np.where(unknown, np.float32(np.nan), np.array(mean)),
        deviation=np.where(unknown, np.float32(np.nan), np.array(mx.sqrt(variance))),
        torsion_density=_density(folded.mixture, row, inner),
    )


def _density(mixture: TorsionMixture, row: int, residues: slice) -> np.ndarray:
    """Return the mean density of the mixtures of some residues at the middle of each cell."""
    weights = mx.logsumexp(mixture.log_weights[row, residues], axis=0)  # (K,)
    weights = weights - mx.logsumexp(weights)
    mean = TorsionMixture(weights, mixture.centre, mixture.concentration)
    middle = (mx.arange(CELLS) + 0.5) * (2 * math.pi / CELLS) - math.pi
    grid = mx.stack(list(mx.meshgrid(middle, middle, indexing="ij")), axis=-1)  # (cells, cells, 2)
    return np.array(mx.exp(mean.log_density(grid, mx.ones(grid.shape, dtype=mx.bool_))))
