"""Ring closure: during the fit, by distances across the closing bond, and exactly at its end."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from betafold_mlx.fold.closing import close_bonds
from betafold_mlx.fold.gradient import RING_PAIRS
from betafold_mlx.fold.made_bonds import bond_misfit, finish_rings
from betafold_mlx.fold.restraints import Bonds, ring_distances
from betafold_mlx.generate.trace_states import PLACEHOLDERS
from betafold_mlx.peptide.sequence import residue_ids

ROUND = 3
"""Residues that the trace of a ring is continued by past its start: phi and psi need two C-alphas to either side."""
STRETCH_WIDTH = 0.005
"""Angstrom: a deviation of a distance across the closing bond that costs half a nat. The ring is nearly closed from the
first step on; a weaker term leads to shapes that do not close: with 0.03 ten more of a hundred rings of the project's
training data get no valid backbone."""


class Rings:
    """The bonds that close B rings of `lengths` residues, (B,) int, padded to L; `residue` is ``ALA`` or ``GLY``."""

    def __init__(self, lengths: np.ndarray, padded: int, residue: str) -> None:
        letter = int(residue_ids(PLACEHOLDERS[residue])[0])
        batch = len(lengths)
        distances = np.tile(ring_distances(letter, letter), (batch, 1))
        self._last, self._distances = lengths - 1, distances
        self._bonds = Bonds(
            residues=mx.full((batch, padded), letter),
            mask=mx.array(np.arange(padded) < lengths[:, None]),
            cyclic=mx.ones((batch,), dtype=mx.bool_),
            ring=mx.array(distances.astype(np.float32)),
            last=mx.array(self._last),
            bridges=mx.zeros((batch, padded, padded), dtype=mx.bool_),
            has_rings=True,
            has_bridges=False,
        )

    def stretch(self, backbone: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the deviations (4, B), Angstrom, of the distances across the bonds of backbones (B, L, 5, 3).

        They are in the order of `betafold_mlx.fold.gradient.RING_PAIRS`; after them their derivatives by the atoms,
        (4, B, L, 5, 3) float32.
        """
        rows = np.arange(len(backbone))
        stretch = np.zeros((len(RING_PAIRS), len(backbone)))
        pulls = np.zeros((len(RING_PAIRS), *backbone.shape), np.float32)
        for number, (at_end, at_start) in enumerate(RING_PAIRS):
            between = backbone[rows, self._last, at_end] - backbone[:, 0, at_start]
            distance = np.linalg.norm(between, axis=1)
            stretch[number] = distance - self._distances[:, number]
            direction = between / np.maximum(distance, 1e-6)[:, None]
            pulls[number, rows, self._last, at_end] += direction
            pulls[number, :, 0, at_start] -= direction
        return stretch, pulls

    def closed(self, torsions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Close rings: return their torsions (B, L, 3), and the misfits (B,) of their bonds, accepted up to 1."""
        bent = close_bonds(mx.array(torsions.astype(np.float32)), self._bonds)
        misfit = bond_misfit(bent, self._bonds)
        return np.array(finish_rings(bent, self._bonds)[0]).astype(np.float64), misfit


def continued(trace: np.ndarray) -> np.ndarray:
    """Return the trace (L, 3) of a ring as one of an open chain that goes on past its start."""
    return np.concatenate([trace, trace[:ROUND]])


def once_around(torsions: np.ndarray) -> np.ndarray:
    """Return the torsions (L, ...) of a ring from those of its continued trace."""
    length, again = len(torsions) - ROUND, ROUND - 1  # the first ones are known from behind the end alone
    return np.concatenate([torsions[length : length + again], torsions[again:length]])
