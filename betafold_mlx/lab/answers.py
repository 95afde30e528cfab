"""Predictions of a network for structures: one row of figures for each.

The lab studies what the network itself has learned, so it measures the structures built from its torsions. Of folded
structures (`betafold_mlx.fold`) it measures RMSD and CA-lDDT.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.data.windows import Window
from betafold_mlx.evaluate.groups import is_hairpin, is_helical
from betafold_mlx.evaluate.items import Item
from betafold_mlx.evaluate.structure_scores import CA, Scores, score_structures
from betafold_mlx.fold.ensemble import refine
from betafold_mlx.model.folding import FoldingModel
from betafold_mlx.model.inputs import PADDED_LENGTHS, padded_length
from betafold_mlx.structure.secondary import assign_secondary_structure
from betafold_mlx.train.batches import Batch, Featurizer, make_batch
from betafold_mlx.train.losses import distogram_loss

RUNAWAY = 10.0
"""Ends run away where they are predicted so much further apart than they are, Angstrom: three residues' length."""
CLASH = 3.0
"""CA atoms three residues apart or more that come closer than this overlap, Angstrom. In proteins they do not."""

Chosen = Callable[[dict[str, Any]], bool]
"""Whether a row of figures counts."""


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


def item_batches(
    items: Sequence[Item], featurizer: Featurizer | None, padded: int | None = None, together: int = 128
) -> Iterator[tuple[list[int], Batch]]:
    """Yield (indices, batch) of structures, each padded to `padded` or to the smallest length that holds it."""
    lengths = np.array([padded or padded_length(len(item)) for item in items])
    for length in PADDED_LENGTHS:
        members = np.flatnonzero(lengths == length).tolist()
        for first in range(0, len(members), together):
            part = members[first : first + together]
            windows = [Window(items[index].peptide, items[index].coordinates) for index in part]
            yield part, make_batch(windows, length, featurizer)


def ask(
    model: FoldingModel,
    items: Sequence[Item],
    featurizer: Featurizer | None = None,
    padded: int | None = None,
    fold: bool = False,
) -> Answers:
    """Run the network on structures' sequences, and fold them too where asked."""
    structures: dict[int, np.ndarray] = {}
    refined: dict[int, np.ndarray] = {}
    losses = np.zeros(len(items))
    for part, batch in item_batches(items, featurizer, padded):
        answer = model(batch.inputs)
        loss = distogram_loss(answer.distogram, batch.targets.coordinates, batch.inputs.mask)
        mx.eval(answer.coordinates, loss)
        losses[part] = np.array(loss)
        made = [(structures, np.array(answer.coordinates))]
        if fold:
            made.append((refined, np.array(refine(answer, batch.inputs, 0, [0]).coordinates[:, 0])))
        for known, coordinates in made:
            known |= {index: coordinates[row, : len(items[index])] for row, index in enumerate(part)}
    in_order = ([known[index] for index in sorted(known)] for known in (structures, refined))
    return Answers(next(in_order), losses, next(in_order))


def structure_rows(items: Sequence[Item], answers: Answers) -> list[dict[str, Any]]:
    """Return what is known of each structure and its prediction, as plain numbers and text."""
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
    reach, native = (np.linalg.norm(x[-1, CA] - x[0, CA]) for x in (structure, item.coordinates))
    ca = structure[:, CA].astype(np.float64)
    apart = np.linalg.norm(ca[:, None] - ca[None], axis=-1)[np.triu_indices(len(ca), 3)]
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
        "clash": int((apart < CLASH).any()),
    }


def described(item: Item) -> dict[str, Any]:
    """Return what is known of a structure before any prediction; the class is that of the native structure."""
    ca = item.coordinates[:, CA]
    states = assign_secondary_structure(ca)
    peptide = item.peptide
    return {
        "id": item.id,
        "kind": item.kind,
        "length": len(item),
        "chemistry": "cyclic" if peptide.cyclic else "disulfide" if peptide.disulfides else "linear",
        "class": "helical" if is_helical(states) else "hairpin" if is_hairpin(ca, states) else "other",
    }
