"""The validation figure that picks the best checkpoint."""

from __future__ import annotations

from collections.abc import Iterator

import mlx.core as mx
import numpy as np

from betafold_mlx.data.store import Dataset
from betafold_mlx.data.windows import Window, cut_window, whole_window
from betafold_mlx.errors import BetafoldError
from betafold_mlx.geometry.metrics import backbone_rmsd, torsion_error
from betafold_mlx.model.folding import FoldingModel
from betafold_mlx.model.inputs import PADDED_LENGTHS, padded_length
from betafold_mlx.train.batches import Batch, Featurizer, make_batch
from betafold_mlx.train.losses import distogram_loss, ramachandran_loss
from betafold_mlx.train.ranks import Ranks

VALIDATION_BATCH = 128


def validation_windows(dataset: Dataset, size: int) -> Iterator[tuple[list[Window], np.ndarray, int]]:
    """Yield the validation fragments and peptides, but for those of MHC grooves, at most `size` at a time.

    Each time (B,) windows; bool, True for a whole peptide, False for a fragment of a chain; and their padded length.
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
    if not examples:
        raise BetafoldError("the data set has no validation fragments or peptides: build it with more data")
    for padded in PADDED_LENGTHS:
        group = [example for example in examples if padded_length(len(example[0].peptide)) == padded]
        for first in range(0, len(group), size):
            windows, whole = zip(*group[first : first + size], strict=True)
            yield list(windows), np.array(whole), padded


def validation_batches(
    dataset: Dataset, featurizer: Featurizer | None = None
) -> list[tuple[Batch, np.ndarray]]:
    """Return the batches of `validation_windows`, with the features of a featurizer as in `make_batch`."""
    return [
        (make_batch(windows, padded, featurizer), whole)
        for windows, whole, padded in validation_windows(dataset, VALIDATION_BATCH)
    ]


def validate(
    model: FoldingModel, batches: list[tuple[Batch, np.ndarray]], ranks: Ranks | None = None
) -> dict[str, float]:
    """Fold the validation batches and return the mean errors; ranks share them, and all get those of one process.

    ``fragment_rmsd`` and ``peptide_rmsd`` (backbone N, CA, C; Angstrom), ``phi_mae`` and ``psi_mae`` (degrees) of the
    torsion vectors, ``phi_median_mae`` and ``psi_median_mae`` of the torsions with the smallest expected error,
    ``ramachandran_loss`` and ``distogram_loss`` (nats; ``peptide_...`` for peptides), and ``score``: the mean RMSD of
    all, the lowest of which picks the best checkpoint. (Peptides are too few to count as much as the fragments: their
    noise would pick it.)
    """
    ranks = ranks or Ranks()
    mine = range(len(batches))[ranks.share()]
    scores = [
        ranks.sum(_scores(model, batch) if number in mine else _no_scores(batch))
        for number, (batch, _) in enumerate(batches)
    ]
    distance_all, loss_all = (
        np.concatenate([np.array(score[name]) for score in scores]) for name in ("rmsd", "losses")
    )
    whole_all = np.concatenate([whole for _, whole in batches])
    errors, counts = (
        np.sum([np.array(score[name], np.float64) for score in scores], axis=0)
        for name in ("errors", "counts")
    )
    figures: dict[str, float] = {}
    for name, chosen in (("fragment_rmsd", ~whole_all), ("peptide_rmsd", whole_all)):
        if chosen.any():
            figures[name] = float(distance_all[chosen].mean())
    figures["score"] = float(distance_all.mean())
    mean, median = np.degrees(errors / np.maximum(counts, 1)).tolist()
    figures |= {
        "phi_mae": mean[0],
        "psi_mae": mean[1],
        "phi_median_mae": median[0],
        "psi_median_mae": median[1],
    }
    for column, name in enumerate(("ramachandran_loss", "distogram_loss")):
        for kind, chosen in (("", ~whole_all), ("peptide_", whole_all)):
            if chosen.any():
                figures[kind + name] = float(loss_all[chosen, column].mean())
    return figures


def _scores(model: FoldingModel, batch: Batch) -> dict[str, mx.array]:
    """Fold a batch of B, and return what the figures are made of."""
    folded = model(batch.inputs)
    torsions, defined = batch.targets.torsions, batch.targets.defined
    medians = mx.concatenate([folded.mixture.best_angles(), folded.torsions[..., 2:]], axis=-1)
    error = mx.stack([torsion_error(angles, torsions) * defined for angles in (folded.torsions, medians)])
    loss = mx.stack(
        [
            ramachandran_loss(folded.mixture, torsions, defined),
            distogram_loss(folded.distogram, batch.targets.coordinates, batch.inputs.mask),
        ],
        axis=-1,
    )
    found = {
        "rmsd": backbone_rmsd(folded.coordinates, batch.targets.coordinates, batch.inputs.mask),
        "losses": loss,
        "errors": error.sum(axis=(1, 2)),
        "counts": defined.sum(axis=(0, 1)).astype(mx.float32),
    }
    mx.eval(found)
    return found


def _no_scores(batch: Batch) -> dict[str, mx.array]:
    """Return zeros in place of the scores of a batch that another rank folds."""
    count = len(batch.inputs.mask)
    return {
        "rmsd": mx.zeros(count),
        "losses": mx.zeros((count, 2)),
        "errors": mx.zeros((2, 3)),
        "counts": mx.zeros(3),
    }
