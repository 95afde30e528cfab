"""What a network says of structures, one row of figures a structure.

The lab asks what the network itself has learned, so it measures the structure that the torsions build; of what folding
makes of the network's answer (`betafold_mlx.fold`) it measures RMSD and CA-lDDT.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.data.windows import Window
from betafold_mlx.evaluate.groups import is_hairpin, is_helical
from betafold_mlx.evaluate.items import Item
from betafold_mlx.evaluate.scores import CA, Scores, score_structures
from betafold_mlx.fold.ensemble import refine
from betafold_mlx.model.folding import FoldingModel
from betafold_mlx.model.inputs import PADDED_LENGTHS, padded_length
from betafold_mlx.structure.secondary import assign_secondary_structure
from betafold_mlx.train.batches import Featurizer, make_batch
from betafold_mlx.train.losses import distogram_loss

RUNAWAY = 10.0
"""Ends run away where they are predicted so much further apart than they are, Angstrom: three residues' length."""
CLASH = 3.0
"""CA atoms three residues apart or more that come closer than this overlap, Angstrom. In proteins they do not."""

_TOGETHER = 128


class Answers(NamedTuple):
    """The network's answers for n structures.

    Attributes
    ----------
    structures : list of numpy.ndarray
        n times (L, 5, 3) Angstrom.
    distogram_loss : numpy.ndarray
        (n,) nats: cross-entropy of the true C-alpha distances.
    folded : list of numpy.ndarray
        n times (L, 5, 3) Angstrom: the first sample of folding with the seed 0; empty unless asked for.
    """

    structures: list[np.ndarray]
    distogram_loss: np.ndarray
    folded: list[np.ndarray]


def ask(
    model: FoldingModel,
    items: Sequence[Item],
    featurizer: Featurizer | None = None,
    padded: int | None = None,
    fold: bool = False,
) -> Answers:
    """Run the network on structures' sequences.

    Parameters
    ----------
    model : FoldingModel
        The network.
    items : sequence of Item
        n structures.
    featurizer : callable, optional
        Of a frozen embedder.
    padded : int, optional
        Pad all to this length; by default each to the smallest of `PADDED_LENGTHS`.
    fold : bool
        Fold them too.
    """
    structures: dict[int, np.ndarray] = {}
    refined: dict[int, np.ndarray] = {}
    losses = np.zeros(len(items))
    lengths = np.array([padded or padded_length(len(item)) for item in items])
    for length in PADDED_LENGTHS:
        members = np.flatnonzero(lengths == length)
        for first in range(0, len(members), _TOGETHER):
            part = members[first : first + _TOGETHER].tolist()
            windows = [Window(items[index].peptide, items[index].coordinates) for index in part]
            batch = make_batch(windows, length, featurizer)
            folded = model(batch.inputs)
            loss = distogram_loss(folded.distogram, batch.targets.coordinates, batch.inputs.mask)
            mx.eval(folded.coordinates, loss)
            coordinates = np.array(folded.coordinates)
            losses[part] = np.array(loss)
            structures |= {index: coordinates[row, : len(items[index])] for row, index in enumerate(part)}
            if fold:
                first_sample = np.array(refine(folded, batch.inputs, 0, [0]).coordinates[:, 0])
                refined |= {index: first_sample[row, : len(items[index])] for row, index in enumerate(part)}
    return Answers(
        [structures[index] for index in range(len(items))],
        losses,
        [refined[index] for index in sorted(refined)],
    )


def structure_rows(items: Sequence[Item], answers: Answers) -> list[dict[str, Any]]:
    """Return what is known of each structure and its prediction, as plain numbers and text.

    Parameters
    ----------
    items : sequence of Item
        n structures.
    answers : Answers
        The network's.
    """
    scores = score_structures(items, answers.structures)
    rows = [
        _row(item, answers.structures[i], scores, i, float(answers.distogram_loss[i]))
        for i, item in enumerate(items)
    ]
    if answers.folded:
        folded = score_structures(items, answers.folded)
        for row, rmsd, lddt in zip(rows, folded.rmsd, folded.mean_lddt, strict=True):
            row |= {"folded_rmsd": float(rmsd), "folded_lddt": float(lddt)}
    return rows


def _row(item: Item, structure: np.ndarray, scores: Scores, index: int, loss: float) -> dict[str, Any]:
    error = scores.torsion_error[index]
    first, middle, last = scores.thirds[index].tolist()
    reach, native = (_end_to_end(points) for points in (structure, item.coordinates))
    return {
        **described(item),
        "rmsd": float(scores.rmsd[index]),
        "lddt": float(scores.lddt[index].mean()),
        "phi_error": float(np.nanmean(error[:, 0])),
        "psi_error": float(np.nanmean(error[:, 1])),
        "first_third": first,
        "middle_third": middle,
        "last_third": last,
        "distance_error": float(scores.ca_distance_error[index]),
        "distogram_loss": loss,
        "runaway": int(reach - native > RUNAWAY),
        "clash": int(_overlaps(structure)),
    }


def described(item: Item) -> dict[str, Any]:
    """Return what is known of a structure before any prediction."""
    return {
        "id": item.id,
        "kind": item.kind,
        "length": len(item),
        "chemistry": chemistry(item),
        "class": fold_class(item),
    }


def chemistry(item: Item) -> str:
    """Return ``cyclic``, ``disulfide`` or ``linear``."""
    return "cyclic" if item.peptide.cyclic else "disulfide" if item.peptide.disulfides else "linear"


def fold_class(item: Item) -> str:
    """Return ``helical``, ``hairpin`` or ``other``, by the native structure."""
    ca = item.coordinates[:, CA]
    states = assign_secondary_structure(ca)
    return "helical" if is_helical(states) else "hairpin" if is_hairpin(ca, states) else "other"


def _end_to_end(structure: np.ndarray) -> float:
    return float(np.linalg.norm(structure[-1, CA] - structure[0, CA]))


def _overlaps(structure: np.ndarray) -> bool:
    ca = structure[:, CA].astype(np.float64)
    apart = np.linalg.norm(ca[:, None] - ca[None], axis=-1)
    return bool((apart[np.triu_indices(len(ca), 3)] < CLASH).any())
