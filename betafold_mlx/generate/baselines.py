"""What a generator must beat: chains that know the Ramachandran plot alone, and copies of known structures."""

from __future__ import annotations

import math
from collections.abc import Sequence

import mlx.core as mx
import numpy as np

from betafold_mlx.data.store import Dataset
from betafold_mlx.errors import BetafoldError
from betafold_mlx.generate.favoured import training_angles
from betafold_mlx.geometry import build_backbone
from betafold_mlx.peptide.sequence import residue_ids


def random_coils(dataset: Dataset, lengths: Sequence[int], seed: int) -> list[np.ndarray]:
    """Return backbones (L, 5, 3) of ideal geometry, each residue with the phi and psi of any training residue.

    One residue knows nothing of the next; omega is planar trans.
    """
    angles = training_angles(dataset)
    if not len(angles):
        raise BetafoldError("the data set has no training residues with phi and psi")
    rng = np.random.default_rng([seed, 1])
    coils = []
    for length in lengths:
        torsions = np.full((1, length, 3), math.pi)
        torsions[0, :, :2] = angles[rng.integers(len(angles), size=length)]
        built = build_backbone(
            mx.array(torsions.astype(np.float32)), mx.array(residue_ids("A" * length))[None]
        )
        coils.append(np.array(built[0]))
    return coils


def fragment_copies(dataset: Dataset, lengths: Sequence[int], seed: int) -> list[np.ndarray]:
    """Return backbones (L, 4, 3) copied from the training split, each a window anywhere in it.

    All windows of a length are equally probable, whole peptides among them.

    Raises
    ------
    BetafoldError
        Where no training record is as long as a length.
    """
    records = [record for record in dataset.records if record.split == "train"]
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
