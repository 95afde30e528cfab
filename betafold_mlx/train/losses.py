"""What training minimises."""

from __future__ import annotations

from typing import NamedTuple

import mlx.core as mx

from betafold_mlx.geometry import frames
from betafold_mlx.metrics import drmsd, lddt
from betafold_mlx.model.folding import Folded
from betafold_mlx.model.heads import PLDDT_BINS


class Targets(NamedTuple):
    """The experimental structure of a batch.

    Attributes
    ----------
    coordinates : mx.array
        (B, L, 4, 3) Angstrom: N, CA, C, O; zero at padding.
    torsions : mx.array
        (B, L, 3) radians.
    defined : mx.array
        (B, L, 3) bool, True where the torsion is defined.
    weights : mx.array
        (B,) weight of each peptide in the mean.
    """

    coordinates: mx.array
    torsions: mx.array
    defined: mx.array
    weights: mx.array


def torsion_loss(vectors: mx.array, torsions: mx.array, defined: mx.array) -> mx.array:
    """Return the squared distance of the predicted vectors from the unit vectors of the true torsions.

    Its minimum is the mean unit vector of the context: direction = circular mean, length = mean resultant length.

    Parameters
    ----------
    vectors : mx.array
        (B, L, 3, 2) cosine and sine, not normalised.
    torsions : mx.array
        (B, L, 3) radians.
    defined : mx.array
        (B, L, 3) bool.

    Returns
    -------
    mx.array
        (B,) mean over the defined torsions; 0 where there are none.
    """
    target = mx.stack([mx.cos(torsions), mx.sin(torsions)], axis=-1)  # (B, L, 3, 2)
    squared = mx.square(vectors - target).sum(axis=-1) * defined
    return squared.sum(axis=(1, 2)) / mx.maximum(defined.sum(axis=(1, 2)), 1)


def fape(predicted: mx.array, target: mx.array, mask: mx.array, clamp: float = 10.0) -> mx.array:
    """Return the frame-aligned point error (Jumper et al. 2021, suppl. algorithm 28).

    Every atom is seen from every residue's N-CA-C frame, in the prediction and in the experiment; the loss is the
    mean distance between the two views, in units of 10 Angstrom. It needs no superposition and tells mirror
    images apart.

    Parameters
    ----------
    predicted, target : mx.array
        (B, L, A, 3) Angstrom, the same atoms, N, CA, C first.
    mask : mx.array
        (B, L) bool.
    clamp : float
        Distances are capped here, Angstrom: a wrong turn counts once, not with its lever arm.

    Returns
    -------
    mx.array
        (B,).
    """
    views = []
    for coordinates in (predicted, target):
        rotation, origin = frames.from_three_points(*(coordinates[:, :, atom] for atom in range(3)))
        batch, length, atoms, _ = coordinates.shape
        points = coordinates.reshape(batch, 1, length * atoms, 3) - origin[:, :, None, :]
        views.append(points @ rotation)  # (B, L, L * A, 3): R^T (x - t)
    squared = mx.square(views[0] - views[1]).sum(axis=-1)
    distance = mx.minimum(mx.sqrt(squared + 1e-4), clamp) / 10.0  # (B, L, L * A)
    pairs = mask[:, :, None] & mx.repeat(mask, predicted.shape[2], axis=1)[:, None, :]
    return (distance * pairs).sum(axis=(1, 2)) / mx.maximum(pairs.sum(axis=(1, 2)), 1)


def confidence_loss(logits: mx.array, achieved: mx.array, mask: mx.array) -> mx.array:
    """Return the cross-entropy of the predicted lDDT bins.

    Parameters
    ----------
    logits : mx.array
        (B, L, bins).
    achieved : mx.array
        (B, L) lDDT of the predicted structure, 0 to 1.
    mask : mx.array
        (B, L) bool.

    Returns
    -------
    mx.array
        (B,).
    """
    bins = mx.clip((achieved * PLDDT_BINS).astype(mx.int32), 0, PLDDT_BINS - 1)
    log_p = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    chosen = mx.take_along_axis(log_p, bins[..., None], axis=-1)[..., 0]
    return -(chosen * mask).sum(axis=1) / mx.maximum(mask.sum(axis=1), 1)


def total_loss(
    folded: Folded, targets: Targets, mask: mx.array, structure: str, structure_weight: float
) -> tuple[mx.array, mx.array]:
    """Return the loss to minimise and its parts.

    Returns
    -------
    loss : mx.array
        Scalar.
    parts : mx.array
        (3,) weighted batch means: torsion, structure, confidence.
    """
    torsion = torsion_loss(folded.vectors, targets.torsions, targets.defined)
    predicted = folded.coordinates[:, :, :4]
    if structure == "fape":
        through = fape(predicted, targets.coordinates, mask)
    else:
        through = drmsd(predicted[:, :, 1], targets.coordinates[:, :, 1], mask)
    achieved = mx.stop_gradient(lddt(predicted[:, :, 1], targets.coordinates[:, :, 1], mask))
    confidence = confidence_loss(folded.plddt_logits, achieved, mask)
    share = targets.weights / targets.weights.sum()
    parts = mx.stack([(part * share).sum() for part in (torsion, through, confidence)])
    return parts[0] + structure_weight * parts[1] + 0.1 * parts[2], parts
