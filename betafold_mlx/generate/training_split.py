"""Baselines from a training split: favoured region of the Ramachandran plot, random coils, copies of fragments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from betafold_mlx.data.store import Dataset
from betafold_mlx.errors import BetafoldError
from betafold_mlx.geometry import build_backbone
from betafold_mlx.peptide.sequence import residue_ids

SHARE = 0.98
"""Share of the training residues, of all types, in the favoured region: as in S. C. Lovell et al., Proteins 50, 437
(2003)."""
BIN, SMOOTHING = 5, 7.5
"""Degrees: cells of the density, and the standard deviation of the normal distribution that it is smoothed with."""


@dataclass(frozen=True)
class FavouredRegion:
    """A region of the Ramachandran plot."""

    density: np.ndarray  # (72, 72) smoothed share of residues by phi, then psi, from -180 degrees up
    level: float  # cells with at least this density are favoured

    def holds(self, angles: np.ndarray) -> np.ndarray:
        """Tell which of (..., 2) phi, psi in radians are favoured: (...) bool."""
        phi, psi = np.moveaxis(_cells(angles), -1, 0)
        return self.density[phi, psi] >= self.level


def favoured_region(angles: np.ndarray, share: float = SHARE) -> FavouredRegion:
    """Return the region that holds a share, 0 to 1, of residues with angles (R, 2), phi and psi in radians."""
    if not len(angles):
        raise BetafoldError("there are no residues with phi and psi to learn the Ramachandran plot from")
    phi, psi = np.moveaxis(_cells(angles), -1, 0)
    counts = np.zeros((360 // BIN, 360 // BIN))
    np.add.at(counts, (phi, psi), 1.0)
    offset = np.arange(len(counts)) * BIN
    kernel = np.exp(-0.5 * np.square(np.minimum(offset, 360 - offset) / SMOOTHING))
    wave = np.fft.rfft2(np.outer(kernel, kernel) / kernel.sum() ** 2)
    density = np.maximum(np.fft.irfft2(np.fft.rfft2(counts) * wave, s=counts.shape), 0.0) / len(angles)
    found = np.sort(density[phi, psi])
    return FavouredRegion(density, float(found[math.floor((1.0 - share) * len(found))]))


def training_angles(dataset: Dataset) -> np.ndarray:
    """Return phi and psi of the training residues that have both: (R, 2) radians; BetafoldError where none has."""
    rows = dataset.rows("train")
    if not len(rows):
        raise BetafoldError("the data set has no training records")
    known = dataset.torsion_mask[rows, :2].all(axis=1)
    return dataset.torsions[rows[known], :2].astype(np.float64)


def random_coils(dataset: Dataset, lengths: Sequence[int], seed: int) -> list[np.ndarray]:
    """Return backbones (L, 5, 3) of ideal geometry, each residue with the phi and psi of any training residue.

    Residues are independent of each other; omega is planar trans.
    """
    angles = training_angles(dataset)
    rng = np.random.default_rng([seed, 1])
    coils = []
    for length in lengths:
        torsions = np.full((1, length, 3), math.pi, np.float32)
        torsions[0, :, :2] = angles[rng.integers(len(angles), size=length)]
        coils.append(
            np.array(build_backbone(mx.array(torsions), mx.array(residue_ids("A" * length))[None])[0])
        )
    return coils


def fragment_copies(dataset: Dataset, lengths: Sequence[int], seed: int) -> list[np.ndarray]:
    """Return backbones (L, 4, 3) copied from the training split, each a window anywhere in it.

    All windows of a length are equally probable, whole peptides among them. BetafoldError where no record is as long.
    """
    records = dataset.of_split("train")
    sizes = np.array([record.length for record in records], dtype=np.int64)
    rng = np.random.default_rng([seed, 2])
    copies = []
    for length in lengths:
        windows = np.maximum(sizes - length + 1, 0)
        ends = np.cumsum(windows)
        if not len(ends) or not ends[-1]:
            raise BetafoldError(f"the training split has no chain of {length} residues to copy from")
        number = int(rng.integers(ends[-1]))
        chosen = int(np.searchsorted(ends, number, side="right"))
        first = records[chosen].start + number - int(ends[chosen] - windows[chosen])
        copies.append(dataset.coordinates[first : first + length])
    return copies


def _cells(angles: np.ndarray) -> np.ndarray:
    return np.floor((np.degrees(angles) + 180.0) / BIN).astype(int) % (360 // BIN)
