"""Baselines: predictions that know nothing, little, or a similar stretch of a known structure.

Each baseline is torsions, built into coordinates with ideal geometry as the model's own are. A torsion that the
method leaves undefined at an end is set to `NEUTRAL`: it moves no N, CA or C.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.data.store import Dataset
from betafold_mlx.errors import BetafoldError
from betafold_mlx.evaluate.batching import Say, length_batches, length_mask, pad_stack
from betafold_mlx.evaluate.items import Item
from betafold_mlx.evaluate.neighbours import Neighbour, nearest_windows
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


class Method(NamedTuple):
    """A way to predict the items: its (L, A, 3) structures, Angstrom, A >= 3, N, CA, C first, one an item."""

    name: str
    description: str
    structures: list[np.ndarray]


class Baselines(NamedTuple):
    """The baselines on some items."""

    methods: list[Method]  # in the order of the tables; the reconstruction floor last
    # of each item its ``neighbour``: the training window taken, where there is one
    details: list[dict[str, Any]]
    notes: list[str]  # what is missing, and why


def predict_baselines(
    items: Sequence[Item], dataset: Dataset | None = None, say: Say = lambda text: None
) -> Baselines:
    """Predict the items by the baselines.

    Without a data set, or where its train split has nothing to offer, those that learn from it are left out.
    """
    baselines = Baselines([], [{} for _ in items], [])

    def add(name: str, description: str, torsions: list[np.ndarray]) -> None:
        baselines.methods.append(Method(name, description, build_structures(items, torsions)))

    for name, degrees in (("constant_helix", HELIX), ("constant_strand", STRAND)):
        add(name, "phi {:g}, psi {:g}, omega {:g}".format(*degrees), constant_torsions(items, degrees))
    if dataset is not None:
        known = [index for index, record in enumerate(dataset.records) if record.split == "train"]
        if not known:
            baselines.notes.append("no type prior and no nearest neighbour: the train split is empty")
        else:
            prior = type_prior(dataset)
            text = "circular mean torsions of each residue type in the train split"
            add("type_prior", text, [prior[item.peptide.ids] for item in items])
            chains = [dataset.records[index].sequence for index in known]
            say(f"searching {sum(map(len, chains))} training residues for {len(items)} nearest neighbours")
            start = time.perf_counter()
            found = nearest_windows([item.peptide.sequence for item in items], chains)
            say(f"that took {time.perf_counter() - start:.1f} s")
            neighbours = [neighbour for neighbour in found if neighbour is not None]
            missing = len(items) - len(neighbours)
            if missing:
                baselines.notes.append(
                    f"no nearest neighbour: {missing} items are longer than any training chain"
                )
            else:
                text = "torsions of the train split's window with the best ungapped BLOSUM62 score"
                add("nearest_neighbour", text, neighbour_torsions(dataset, known, items, neighbours))
                for details, (chain, first, score) in zip(baselines.details, neighbours, strict=True):
                    record = dataset.records[known[chain]]
                    details["neighbour"] = {"id": record.id, "start": first + 1, "score": score}
    add("reconstruction_floor", "native torsions rebuilt with ideal geometry", native_torsions(items))
    return baselines


def constant_torsions(items: Sequence[Item], degrees: tuple[float, float, float]) -> list[np.ndarray]:
    """Return (L, 3) radians for each item: the same phi, psi, omega for every residue."""
    return [np.tile(np.radians(degrees), (len(item), 1)) for item in items]


def type_prior(dataset: Dataset) -> np.ndarray:
    """Return the circular mean torsions of each residue type in the train split, each residue counted once.

    (20, 3) radians by residue id. A type that does not occur has the mean over all types; BetafoldError where the
    split is empty.
    """
    records, rows = dataset.of_split("train"), dataset.rows("train")
    if not records:
        raise BetafoldError("the data set has no training records to learn the type prior from")
    ids = residue_ids("".join(record.sequence for record in records))
    angles, defined = dataset.torsions[rows].astype(np.float64), dataset.torsion_mask[rows]
    sums = np.zeros((2, len(ALPHABET), 3))
    for part, values in enumerate((np.sin(angles), np.cos(angles))):
        np.add.at(sums[part], ids, np.where(defined, values, 0.0))
    absent = ~np.array([defined[ids == residue].any(axis=0) for residue in range(len(ALPHABET))])  # (20, 3)
    sums = np.where(absent, sums.sum(axis=1, keepdims=True), sums)
    return np.arctan2(sums[0], sums[1])


def neighbour_torsions(
    dataset: Dataset, records: Sequence[int], items: Sequence[Item], neighbours: Sequence[Neighbour]
) -> list[np.ndarray]:
    """Return (L, 3) radians for each item: those of its neighbour, whose chain is an index into `records`."""
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
        points = pad_stack([item.coordinates[:, :3].astype(np.float32) for item in batch], length)
        angles, defined = backbone_torsions(points, length_mask([len(item) for item in batch], length))
        filled = np.array(mx.where(defined, angles, NEUTRAL))
        for row, index in enumerate(members):
            torsions[index] = filled[row, : len(items[index])]
    return torsions


def build_structures(items: Sequence[Item], torsions: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Build (L, 5, 3) backbones, Angstrom, N, CA, C, O, CB, from (L, 3) radians with ideal geometry."""
    structures: list[np.ndarray] = [np.zeros((0, 5, 3))] * len(items)
    for members, length in length_batches([len(item) for item in items]):
        angles = pad_stack([torsions[index].astype(np.float32) for index in members], length)
        residues = pad_stack([items[index].peptide.ids for index in members], length)
        mask = length_mask([len(items[index]) for index in members], length)
        built = np.array(build_backbone(angles, residues, mask))
        for row, index in enumerate(members):
            structures[index] = built[row, : len(items[index])]
    return structures
