"""Losses of the training of a folding model."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import mlx.core as mx

from betafold_mlx.geometry import frames
from betafold_mlx.geometry.frames import distances
from betafold_mlx.geometry.metrics import drmsd, lddt, masked_mean
from betafold_mlx.model.folding import Folded
from betafold_mlx.model.functions import cross_entropy
from betafold_mlx.model.heads import PLDDT_BINS, distance_bins
from betafold_mlx.model.ramachandran import TorsionMixture
from betafold_mlx.train.training_config import LossWeights


class Targets(NamedTuple):
    """The structures of a batch that are to be learned."""

    coordinates: mx.array  # (B, L, 4, 3) Angstrom: N, CA, C, O; zero at padding
    torsions: mx.array  # (B, L, 3) radians
    defined: mx.array  # (B, L, 3) bool, True where the torsion is defined
    weights: mx.array  # (B,) weight of each peptide in the mean
    # (B,) factor of each peptide in the loss of the confidence, 0 where the structure is a prediction and no measure
    # of errors; None for 1
    confidence: mx.array | None = None


def torsion_loss(vectors: mx.array, torsions: mx.array, defined: mx.array) -> mx.array:
    """Return the squared distance of the predicted vectors from the unit vectors of the true torsions.

    Its minimum is the mean unit vector of the context: direction = circular mean, length = mean resultant length.
    Vectors (B, L, 3, 2) are cosine and sine, not normalised; of torsions (B, L, 3), radians, it is the mean over the
    defined ones, (B,), 0 where there are none.
    """
    target = mx.stack([mx.cos(torsions), mx.sin(torsions)], axis=-1)  # (B, L, 3, 2)
    return masked_mean(mx.square(vectors - target).sum(axis=-1), defined, (1, 2))


def fape(predicted: mx.array, target: mx.array, mask: mx.array, clamp: float = 10.0) -> mx.array:
    """Return the frame-aligned point error (Jumper et al. 2021, suppl. algorithm 28), (B,).

    Every atom is seen from every residue's N-CA-C frame, in the prediction and in the experiment; the loss is the
    mean distance between the two views, in units of 10 Angstrom. It needs no superposition and tells mirror
    images apart. Both have the same atoms (B, L, A, 3), N, CA, C first. Distances are capped at `clamp`, Angstrom: a
    wrong turn counts once, not with its lever arm.
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
    return masked_mean(distance, pairs, (1, 2))


def confidence_loss(logits: mx.array, achieved: mx.array, mask: mx.array) -> mx.array:
    """Return the cross-entropy (B,) of the predicted bins (B, L, bins) of the lDDT (B, L) that was achieved, 0 to 1."""
    bins = mx.clip((achieved * PLDDT_BINS).astype(mx.int32), 0, PLDDT_BINS - 1)
    return masked_mean(cross_entropy(logits, bins), mask, 1)


def ramachandran_loss(mixture: TorsionMixture, torsions: mx.array, defined: mx.array) -> mx.array:
    """Return the negative log density of the true phi and psi of torsions (B, L, 3), radians, in nats.

    (B,), the mean over residues with a defined phi or psi.
    """
    known = defined[..., :2]
    return masked_mean(-mixture.log_density(torsions[..., :2], known), known.any(axis=-1), 1)


def distogram_loss(logits: mx.array, coordinates: mx.array, mask: mx.array) -> mx.array:
    """Return the cross-entropy of the true C-alpha distance bins, in nats.

    Of logits (B, L, L, bins) and coordinates (B, L, A, 3), CA second; (B,), the mean over pairs two residues apart or
    more.
    """
    ca = coordinates[:, :, 1]
    bins = distance_bins(distances(ca, ca))
    entropy = cross_entropy(logits, bins)
    place = mx.arange(ca.shape[1])
    pairs = mask[:, :, None] & mask[:, None, :] & (place[None, :] - place[:, None] >= 2)
    return masked_mean(entropy, pairs, (1, 2))


def total_loss(
    folded: Folded, targets: Targets, mask: mx.array, weights: LossWeights
) -> tuple[mx.array, dict[str, mx.array]]:
    """Return the loss to minimise and its parts, batch means before weighting, by the names of `LossWeights`.

    A part of weight zero is not computed.
    """
    predicted = folded.coordinates[:, :, :4]
    ca, target_ca = predicted[:, :, 1], targets.coordinates[:, :, 1]

    def confidence() -> mx.array:
        achieved = mx.stop_gradient(lddt(ca, target_ca, mask))
        loss = confidence_loss(folded.plddt_logits, achieved, mask)
        return loss if targets.confidence is None else loss * targets.confidence

    computed = {
        "torsion": lambda: torsion_loss(folded.vectors, targets.torsions, targets.defined),
        "ramachandran": lambda: ramachandran_loss(folded.mixture, targets.torsions, targets.defined),
        "distogram": lambda: distogram_loss(folded.distogram, targets.coordinates, mask),
        "fape": lambda: fape(predicted, targets.coordinates, mask),
        "drmsd": lambda: drmsd(ca, target_ca, mask),
        "confidence": confidence,
    }
    share = targets.weights / targets.weights.sum()
    weighted = {name: weight for name, weight in dataclasses.asdict(weights).items() if weight > 0}
    parts = {name: (computed[name]() * share).sum() for name in weighted}
    loss = mx.zeros(())
    for name, weight in weighted.items():
        loss = loss + weight * parts[name]
    return loss, parts
