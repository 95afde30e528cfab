"""The validation figure that picks the best checkpoint."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from betafold_mlx.data.store import Dataset
from betafold_mlx.data.windows import cut_window, whole_window
from betafold_mlx.metrics import backbone_rmsd, torsion_error
from betafold_mlx.model.folding import FoldingModel
from betafold_mlx.model.inputs import PADDED_LENGTHS, padded_length
from betafold_mlx.train.batches import Batch, Featurizer, make_batch

VALIDATION_BATCH = 128


def validation_batches(
    dataset: Dataset, featurizer: Featurizer | None = None
) -> list[tuple[Batch, np.ndarray]]:
    """Return the fixed validation batches.

    Parameters
    ----------
    dataset : Dataset
        Its ``validation`` fragments and peptides are used; those of MHC grooves are left out.
    featurizer : callable, optional
        As in `make_batch`.

    Returns
    -------
    list of (Batch, numpy.ndarray)
        The batch, and (B,) bool: True for a whole peptide, False for a fragment of a chain.
    """
    examples = [
        (cut_window(dataset, dataset.records[fragment.record], fragment.start, fragment.length), False)
        for fragment in dataset.fragments
        if fragment.split == "validation"
    ]
    examples += [
        (whole_window(dataset, record), True)
        for record in dataset.peptides("validation")
        if record.kind != "mhc_bound"
    ]
    batches = []
    for padded in PADDED_LENGTHS:
        group = [example for example in examples if padded_length(len(example[0].peptide)) == padded]
        for first in range(0, len(group), VALIDATION_BATCH):
            part = group[first : first + VALIDATION_BATCH]
            batch = make_batch([window for window, _ in part], padded, featurizer)
            batches.append((batch, np.array([whole for _, whole in part])))
    return batches


def validate(model: FoldingModel, batches: list[tuple[Batch, np.ndarray]]) -> dict[str, float]:
    """Fold the validation batches and return the mean errors.

    Returns
    -------
    dict
        ``fragment_rmsd`` and ``peptide_rmsd`` (backbone N, CA, C; Angstrom), ``phi_mae`` and ``psi_mae``
        (degrees), and ``score``: the mean of those of the two RMSD figures that exist; the lowest one
        picks the best checkpoint.
    """
    rmsds, wholes, errors, counts = [], [], np.zeros(3), np.zeros(3)
    for batch, whole in batches:
        folded = model(batch.inputs)
        distance = backbone_rmsd(folded.coordinates, batch.targets.coordinates, batch.inputs.mask)
        error = torsion_error(folded.torsions, batch.targets.torsions) * batch.targets.defined
        sums = mx.stack([error.sum(axis=(0, 1)), batch.targets.defined.sum(axis=(0, 1)).astype(mx.float32)])
        mx.eval(distance, sums)
        rmsds.append(np.array(distance))
        wholes.append(whole)
        errors += np.array(sums[0])
        counts += np.array(sums[1])
    distance_all, whole_all = np.concatenate(rmsds), np.concatenate(wholes)
    figures: dict[str, float] = {}
    for name, chosen in (("fragment_rmsd", ~whole_all), ("peptide_rmsd", whole_all)):
        if chosen.any():
            figures[name] = float(distance_all[chosen].mean())
    figures["score"] = float(np.mean(list(figures.values())))
    phi, psi, _ = np.degrees(errors / np.maximum(counts, 1))
    return figures | {"phi_mae": float(phi), "psi_mae": float(psi)}
