"""Predictions of a network for structures: one row of figures for each.

The lab studies what the network itself has learned, so it measures the structures built from its torsions. Of folded
structures (`betafold_mlx.fold`) it measures RMSD and CA-lDDT.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

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
Chosen = Callable[[dict[str, Any]], bool]  # whether a row of figures counts


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
) -> tuple[list[np.ndarray], np.ndarray, list[np.ndarray]]:
    """Run the network on n structures' sequences.

    Return its structures (L, 5, 3), Angstrom; the cross-entropy (n,) of the true C-alpha distances, nats; and where
    asked the first samples of folding with the seed 0, else none.
    """
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
    first, second = ([known[index] for index in sorted(known)] for known in (structures, refined))
    return first, losses, second


def structure_rows(
    items: Sequence[Item],
    structures: Sequence[np.ndarray],
    distogram_losses: np.ndarray,
    folded: Sequence[np.ndarray] = (),
) -> list[dict[str, Any]]:
    """Return what is known of each structure and its prediction, from `ask`, as plain numbers and text."""
    scores = score_structures(items, structures)
    rows = [_row(item, structures[i], scores, i, float(distogram_losses[i])) for i, item in enumerate(items)]
    if folded:
        after = score_structures(items, folded)
        for row, rmsd, lddt in zip(rows, after.rmsd, after.mean_lddt, strict=True):
            row |= {"folded_rmsd": float(rmsd), "folded_lddt": float(lddt)}
    return rows


def _row(item: Item, structure: np.ndarray, scores: Scores, index: int, loss: float) -> dict[str, Any]:
    error = scores.torsion_error[index]
    first, middle, last = scores.thirds[index].tolist()
    reach, native = (np.linalg.norm(x[-1, CA] - x[0, CA]) for x in (structure, item.coordinates))
    ca = structure[:, CA].astype(np.float64)
    apart = np.linalg.norm(ca[:, None] - ca[None], axis=-1)[np.triu_indices(len(ca), 3)]
    return {
        **structure_facts(item),
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


def structure_facts(item: Item) -> dict[str, Any]:
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
