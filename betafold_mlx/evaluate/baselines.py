"""What a model must beat: predictions that know nothing, little, or a similar stretch of a known structure.

Each baseline is torsions, built into coordinates with ideal geometry as the model's own are. A torsion that the
method leaves undefined at an end is set to `NEUTRAL`: it moves no N, CA or C.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import mlx.core as mx
import numpy as np

from betafold_mlx.data.store import Dataset
from betafold_mlx.errors import BetafoldError
from betafold_mlx.evaluate.batching import length_batches, length_mask, pad
from betafold_mlx.evaluate.items import Item
from betafold_mlx.evaluate.neighbours import Neighbour
from betafold_mlx.geometry import backbone_torsions, build_backbone
from betafold_mlx.peptide.sequence import ALPHABET, residue_ids

HELIX = (-63.0, -42.0, 180.0)
"""phi, psi, omega in degrees of the constant helix. The usual zero-information baseline for peptides, a degree
from the mean of alpha helices in crystals, -62, -41 (D. J. Barlow and J. M. Thornton, J. Mol. Biol. 201, 601 (1988));
the medians of the residues that P-SEA calls helix in the project's training chains are -63.7, -40.9."""

STRAND = (-120.0, 130.0, 180.0)
"""phi, psi, omega in degrees of the constant strand: the round textbook value. The residues that P-SEA calls
strand in the project's training chains have circular means of -114.9, 136.3."""

NEUTRAL = math.pi
"""Radians, for undefined end torsions."""


def constant_torsions(items: Sequence[Item], degrees: tuple[float, float, float]) -> list[np.ndarray]:
    """Return (L, 3) radians for each item: the same phi, psi, omega for every residue."""
    return [np.tile(np.radians(degrees), (len(item), 1)) for item in items]


def type_prior(dataset: Dataset) -> np.ndarray:
    """Return the circular mean torsions of each residue type.

    Parameters
    ----------
    dataset : Dataset
        The unmasked torsions of its train split are used, each residue once.

    Returns
    -------
    numpy.ndarray
        (20, 3) radians by residue id. A type that does not occur has the mean over all types.

    Raises
    ------
    BetafoldError
        Where the train split is empty.
    """
    records = [record for record in dataset.records if record.split == "train"]
    if not records:
        raise BetafoldError("the data set has no training records to learn the type prior from")
    rows = np.concatenate([np.arange(record.start, record.start + record.length) for record in records])
    ids = residue_ids("".join(record.sequence for record in records))
    angles, defined = dataset.torsions[rows].astype(np.float64), dataset.torsion_mask[rows]
    sums = np.zeros((2, len(ALPHABET), 3))
    for part, values in enumerate((np.sin(angles), np.cos(angles))):
        np.add.at(sums[part], ids, np.where(defined, values, 0.0))
    absent = ~np.array([defined[ids == residue].any(axis=0) for residue in range(len(ALPHABET))])  # (20, 3)
    sums = np.where(absent, sums.sum(axis=1, keepdims=True), sums)
    return np.arctan2(sums[0], sums[1])


def prior_torsions(items: Sequence[Item], prior: np.ndarray) -> list[np.ndarray]:
    """Return (L, 3) radians for each item: the circular means of its residue types."""
    return [prior[item.peptide.ids] for item in items]


def neighbour_torsions(
    dataset: Dataset, records: Sequence[int], items: Sequence[Item], neighbours: Sequence[Neighbour]
) -> list[np.ndarray]:
    """Return (L, 3) radians for each item: those of its neighbour.

    Parameters
    ----------
    dataset : Dataset
        Holds the chains.
    records : sequence of int
        Index in the data set of each chain that was searched.
    items : sequence of Item
        Whose neighbours these are.
    neighbours : sequence of Neighbour
        One an item.

    Returns
    -------
    list of numpy.ndarray
    """
    torsions = []
    for item, neighbour in zip(items, neighbours, strict=True):
        first = dataset.records[records[neighbour.chain]].start + neighbour.start
        rows = slice(first, first + len(item))
        torsions.append(np.where(dataset.torsion_mask[rows], dataset.torsions[rows], NEUTRAL))
    return torsions


def native_torsions(items: Sequence[Item]) -> list[np.ndarray]:
    """Return (L, 3) radians for each item: its own, for the reconstruction floor."""
    torsions: list[np.ndarray] = [np.zeros((0, 3))] * len(items)
    for members, length in length_batches([len(item) for item in items]):
        batch = [items[index] for index in members]
        points = pad([item.coordinates[:, :3].astype(np.float32) for item in batch], length)
        angles, defined = backbone_torsions(points, length_mask([len(item) for item in batch], length))
        filled = np.array(mx.where(defined, angles, NEUTRAL))
        for row, index in enumerate(members):
            torsions[index] = filled[row, : len(items[index])]
    return torsions


def build_structures(items: Sequence[Item], torsions: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Build the backbones of torsions with ideal geometry.

    Parameters
    ----------
    items : sequence of Item
        Their sequences.
    torsions : sequence of numpy.ndarray
        (L, 3) radians each.

    Returns
    -------
    list of numpy.ndarray
        (L, 5, 3) Angstrom each: N, CA, C, O, CB.
    """
    structures: list[np.ndarray] = [np.zeros((0, 5, 3))] * len(items)
    for members, length in length_batches([len(item) for item in items]):
        angles = pad([torsions[index].astype(np.float32) for index in members], length)
        residues = pad([items[index].peptide.ids for index in members], length)
        mask = length_mask([len(items[index]) for index in members], length)
        built = np.array(build_backbone(angles, residues, mask))
        for row, index in enumerate(members):
            structures[index] = built[row, : len(items[index])]
    return structures
