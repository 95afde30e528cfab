"""Confidence of a structure: its lDDT, expected under the network's own distance distributions.

A confidence that looks at the sequence alone cannot tell one model of a peptide from another. The distogram can: the
lDDT of a structure against the truth is a sum over distances, so its expectation needs only how probable each
distance's errors are. What the network thinks of itself is then put on the scale of errors that were seen on
held-out structures (`Calibration`, fitted by `betafold_mlx.train.calibrate`).
"""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from betafold_mlx.fold.ensemble import Ensemble
from betafold_mlx.fold.gradient import CA
from betafold_mlx.geometry.metrics import LDDT_RADIUS, LDDT_THRESHOLDS
from betafold_mlx.model.folding import Folded
from betafold_mlx.model.heads import EDGES, FEATURES, OUTERMOST
from betafold_mlx.model.ramachandran import TorsionMixture

_GRID = 0.25


def _tables() -> tuple[np.ndarray, np.ndarray]:
    """Return what a bin adds to the expected lDDT.

    Returns
    -------
    kept : numpy.ndarray
        (grid, bins): share of thresholds, averaged over the bin, within which a true distance in the bin agrees with a
        modelled one on the grid; zero beyond the inclusion radius.
    counted : numpy.ndarray
        (bins,): share of the bin within the inclusion radius.
    """
    low, high = np.concatenate([OUTERMOST[:1], EDGES]), np.concatenate([EDGES, OUTERMOST[1:]])
    inside = np.minimum(high, LDDT_RADIUS)
    modelled = np.arange(0.0, OUTERMOST[1], _GRID)[:, None]
    kept = np.zeros((len(modelled), len(low)))
    for threshold in LDDT_THRESHOLDS:
        overlap = np.minimum(inside, modelled + threshold) - np.maximum(low, modelled - threshold)
        kept += np.clip(overlap, 0.0, None) / (high - low) / len(LDDT_THRESHOLDS)
    return kept.astype(np.float32), (np.clip(inside - low, 0.0, None) / (high - low)).astype(np.float32)


_KEPT, _COUNTED = _tables()


def expected_lddt(probability: mx.array, ca: mx.array, mask: mx.array) -> mx.array:
    """Return the lDDT of each residue, expected under a distogram.

    The ratio of the expected number of kept distances to the expected number of distances that count.

    Parameters
    ----------
    probability : mx.array
        (B, L, L, bins) of C-alpha distances.
    ca : mx.array
        (B, S, L, 3) C-alpha atoms of S structures, Angstrom.
    mask : mx.array
        (B, L) bool.

    Returns
    -------
    mx.array
        (B, S, L), 0 to 1.
    """
    length = mask.shape[1]
    apart = mx.linalg.norm(ca[:, :, :, None] - ca[:, :, None], axis=-1)  # (B, S, L, L)
    index = mx.clip((apart / _GRID + 0.5).astype(mx.int32), 0, len(_KEPT) - 1)
    kept = (mx.array(_KEPT)[index] * probability[:, None]).sum(axis=-1)  # (B, S, L, L)
    counted = probability @ mx.array(_COUNTED)  # (B, L, L)
    pairs = mask[:, :, None] & mask[:, None, :] & ~mx.eye(length, dtype=mx.bool_)
    return (kept * pairs[:, None]).sum(axis=-1) / mx.maximum((counted * pairs).sum(axis=-1), 1e-6)[:, None]


def confidence_features(folded: Folded, ensemble: Ensemble) -> mx.array:
    """Return what the calibration looks at: (B, S, L, F), in the order of `FEATURES`."""
    restraints = ensemble.restraints
    real = restraints.bonds.mask
    mask = real[:, None].astype(mx.float32)  # (B, 1, L)
    count = mask.sum(axis=-1, keepdims=True)

    def mean(values: mx.array) -> mx.array:
        return mx.broadcast_to((values * mask).sum(axis=-1, keepdims=True) / count, values.shape)

    ca = ensemble.coordinates[:, :, :, CA]
    by_distance = _logit(expected_lddt(ensemble.probability, ca, real))
    by_state = mx.broadcast_to(_logit(folded.plddt / 100.0)[:, None], by_distance.shape)
    mixture = restraints.mixture
    each = TorsionMixture(mixture.log_weights[:, None], mixture.centre, mixture.concentration)
    density = each.log_density(ensemble.torsions[..., :2], restraints.defined[:, None])
    density = mx.clip(density, -6.0, 3.0)
    apart = mx.linalg.norm(ca[:, :, :, None] - ca[:, :, None], axis=-1)
    tightness = restraints.tightness + restraints.tightness.swapaxes(1, 2)
    strain = (mx.square(apart - restraints.distance[:, None]) * tightness[:, None]).sum(axis=-1)
    features = {
        "expected_lddt": by_distance,
        "expected_lddt_mean": mean(by_distance),
        "state_plddt": by_state,
        "state_plddt_mean": mean(by_state),
        "torsion_density": density,
        "torsion_density_mean": mean(density),
        "strain_mean": mx.log(mean(strain) + 0.1),
        "log_length": mx.broadcast_to(mx.log(count / 20.0), by_distance.shape),
        "template_share": mx.broadcast_to(ensemble.template_share[:, None], by_distance.shape),
    }
    return mx.stack([features[name] for name in FEATURES], axis=-1)


def _logit(share: mx.array) -> mx.array:
    share = mx.clip(share, 0.02, 0.98)
    return mx.log(share) - mx.log(1.0 - share)
