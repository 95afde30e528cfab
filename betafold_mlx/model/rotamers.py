"""Rotamers: the few conformations that the side chain of each residue type has, as mixtures on circles.

A rotamer is a product of von Mises distributions (the normal distribution of the circle), one for each chi angle, as
the regions of the Ramachandran plot are (`betafold_mlx.model.ramachandran`). Symmetric ends are the same after half a
turn: their distribution is one of the doubled angle.
"""

from __future__ import annotations

import math
from itertools import product

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from betafold_mlx.model.ramachandran import MAX_CONCENTRATION, log_normaliser
from betafold_mlx.peptide.residue_table import RESIDUES
from betafold_mlx.peptide.sequence import ALPHABET, THREE_LETTER

ROTAMERS = 36
"""The most rotamers of a residue type. Lys and Arg have 81 staggered ones, most of which are never seen."""

_STAGGERED, _AROUND = (-60, 60, 180), (-150, -90, -30, 30, 90, 150)
_GRIDS: dict[str, tuple[tuple[int, ...], ...]] = {
    **dict.fromkeys("AG", ()),
    **dict.fromkeys("CSTV", (_STAGGERED,)),
    **dict.fromkeys("IL", (_STAGGERED,) * 2),
    "M": (_STAGGERED,) * 3,
    **dict.fromkeys("KR", (_STAGGERED,) * 4),
    "D": (_STAGGERED, (-60, 0, 60)),
    "E": (_STAGGERED, _STAGGERED, (-60, 0, 60)),
    **dict.fromkeys("FY", (_STAGGERED, (-30, 30, 90))),
    **dict.fromkeys("NH", (_STAGGERED, _AROUND)),
    "Q": (_STAGGERED, _STAGGERED, (-60, 0, 60, 180)),
    "W": (_STAGGERED, (-90, -10, 90, 170)),
}
_STARTS = {letter: list(product(*grid)) for letter, grid in _GRIDS.items()} | {"P": [(27, -37), (-27, 37)]}
"""Angles in degrees that the fit starts from: staggered ones of tetrahedral carbons, even ones about a bond to a planar
group. Pro has two puckers of its ring."""

CHI_COUNT = np.array([len(_STARTS[letter][0]) for letter in ALPHABET])
"""(20,) chi angles of each residue type; of Pro those of its ring, which the residue table counts as none."""

FOLD = np.ones((20, 4))
for _row, _letter in enumerate(ALPHABET):
    _symmetric = RESIDUES[THREE_LETTER[_letter]].symmetric
    FOLD[_row, : len(_symmetric)] += _symmetric
"""(20, 4): 2 where the chi angle is the same after half a turn, else 1."""


HAS_CHI = mx.array((np.arange(4) < CHI_COUNT[:, None]).astype(np.float32))
_FOLD = mx.array(FOLD.astype(np.float32))

_PLANAR = {letter: CHI_COUNT[ALPHABET.index(letter)] - 1 for letter in "DEFHNQWY"}
MIN_CONCENTRATION = np.array(
    [[3.0 if _PLANAR.get(letter) == place else 10.0 for place in range(4)] for letter in ALPHABET]
)
"""(20, 4) of the fit: 18 degrees, 33 about a bond to a planar group (half of it where that is symmetric). What is wider
is not a rotamer but what lies between them."""

OUTLIERS = 0.02
"""Share of the residues that are in no rotamer, or are wrong in their file: any angle is as likely. Without them a few
would widen or pull the rotamers (`fit_rotamers`), and count more than all others in a likelihood."""


class Rotamers(nn.Module):
    """The rotamers of the 20 residue types. Nothing of it is trained by gradients.

    Attributes
    ----------
    centre : mx.array
        (20, K, 4) radians; 0 for a chi angle that the residue has not.
    concentration : mx.array
        (20, K, 4), of the angle times its `FOLD`; 0 for a chi angle that the residue has not.
    weight : mx.array
        (20, K) how frequent each is whatever the backbone; 0 where there is none. Ala and Gly have one, without angles.
    """

    def __init__(self) -> None:
        super().__init__()
        self.centre = mx.zeros((20, ROTAMERS, 4))
        self.concentration = mx.zeros((20, ROTAMERS, 4))
        self.weight = mx.zeros((20, ROTAMERS))
        self.freeze()

    @property
    def valid(self) -> mx.array:
        """(20, K) bool, which there are."""
        return self.weight > 0

    def start_from(self, centre: np.ndarray, concentration: np.ndarray, weight: np.ndarray) -> None:
        """Take over what `fit_rotamers` found."""
        self.centre = mx.array(centre.astype(np.float32))
        self.concentration = mx.array(concentration.astype(np.float32))
        self.weight = mx.array(weight.astype(np.float32))

    def log_densities(self, residues: mx.array, chi: mx.array, defined: mx.array) -> mx.array:
        """Return the log density of chi angles in each rotamer, (..., K), in nats per radian each.

        Of residue ids (...) and angles (..., 4) in radians; what is undefined is integrated out. Where there is no
        rotamer it is whatever.
        """
        fold = _FOLD[residues]
        known = defined * HAS_CHI[residues]
        turned = chi * fold
        point = mx.concatenate(
            [mx.cos(turned) * known, mx.sin(turned) * known, -known.astype(mx.float32)], axis=-1
        )
        centre = self.centre * _FOLD[:, None]
        factors = mx.concatenate(
            [
                self.concentration * mx.cos(centre),
                self.concentration * mx.sin(centre),
                log_normaliser(self.concentration),
            ],
            axis=-1,
        )  # (20, K, 12)
        return (factors[residues] @ point[..., None])[..., 0]

    def log_density(
        self, log_weights: mx.array, residues: mx.array, chi: mx.array, defined: mx.array
    ) -> mx.array:
        """Return the log density (...) of chi angles under mixtures with log weights (..., K), and `OUTLIERS`."""
        inside = mx.logsumexp(log_weights + self.log_densities(residues, chi, defined), axis=-1)
        outside = -math.log(2 * math.pi) * (defined * HAS_CHI[residues]).sum(axis=-1)
        return mx.logaddexp(inside + math.log(1 - OUTLIERS), outside + math.log(OUTLIERS))


CORRECT = math.radians(40)
"""Error of a chi angle that counts as correct, the usual limit."""


def correct_angles(predicted: np.ndarray, native: np.ndarray, residues: np.ndarray) -> np.ndarray:
    """Return which chi angles (..., 4) are correct: those within `CORRECT`, up to half a turn of symmetric ends.

    (..., 2) float: chi1, and chi1 and chi2 both; 1 or 0, NaN where the residue has none or it is not known.
    """
    period = 2 * math.pi / FOLD[residues]
    error = (predicted - native + period / 2) % period - period / 2
    within = np.where(np.isfinite(native), np.abs(error) <= CORRECT, np.nan)
    within = np.where(np.arange(4) < CHI_COUNT[residues][..., None], within, np.nan)
    return np.stack([within[..., 0], within[..., 0] * within[..., 1]], axis=-1)


def fit_rotamers(residues: np.ndarray, chi: np.ndarray, rounds: int = 40) -> tuple[np.ndarray, ...]:
    """Fit the rotamers of each residue type to observed chi angles by expectation-maximisation.

    Of residue ids (N,) and angles (N, 4) in radians, NaN where undefined; residues that lack one of their angles are
    passed over. Return centres and concentrations, (20, K, 4), and weights (20, K).
    """
    centre, concentration = np.zeros((2, 20, ROTAMERS, 4))
    weight = np.zeros((20, ROTAMERS))
    weight[CHI_COUNT == 0, 0] = 1
    for residue in np.flatnonzero(CHI_COUNT):
        count, fold = CHI_COUNT[residue], FOLD[residue]
        angles = chi[residues == residue][:, :count].astype(np.float64) * fold[:count]
        angles = angles[np.isfinite(angles).all(axis=1)]
        starts = np.radians(_STARTS[ALPHABET[residue]]) * fold[:count]
        found = _fit(angles, starts, MIN_CONCENTRATION[residue, :count], rounds)
        k = len(found[2])
        centre[residue, :k, :count] = found[0] / fold[:count]
        concentration[residue, :k, :count], weight[residue, :k] = found[1:]
    return centre, concentration, weight


def _fit(
    angles: np.ndarray, starts: np.ndarray, least: np.ndarray, rounds: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit a mixture to angles (N, A) from the starts (M, A) that most of them are nearest to."""
    points = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)  # (N, 2 A)
    nearest = (points @ np.concatenate([np.cos(starts), np.sin(starts)], axis=1).T).argmax(axis=1)
    counts = np.bincount(nearest, minlength=len(starts))
    centre = starts[np.argsort(-counts, kind="stable")[:ROTAMERS]]
    concentration = np.full(centre.shape, 1.0) * least
    weight = np.full(len(centre), 1 / len(centre))
    outside = math.log(OUTLIERS / (1 - OUTLIERS)) - math.log(2 * math.pi) * centre.shape[1]
    for _ in range(rounds if len(angles) else 0):
        factors = np.concatenate([concentration * np.cos(centre), concentration * np.sin(centre)], axis=1)
        normaliser = np.log(2 * math.pi * np.i0(concentration)).sum(axis=1)
        log_p = points @ factors.T - normaliser + np.log(weight)  # (N, K)
        top = log_p.max(axis=1, keepdims=True)
        p = np.exp(log_p - top)
        p /= p.sum(axis=1, keepdims=True) + np.exp(outside - top)
        total = p.sum(axis=0) + 1e-9
        mean = (p.T @ points / total[:, None]).reshape(len(centre), 2, -1)
        length = np.clip(np.linalg.norm(mean, axis=1), 0.05, 0.999)
        centre = np.arctan2(mean[:, 1], mean[:, 0])
        # Banerjee et al. 2005, eq. 4.4, on the circle
        concentration = np.clip(length * (2 - length**2) / (1 - length**2), least, MAX_CONCENTRATION / 2)
        weight = np.maximum(total / total.sum(), 1e-4)
        weight /= weight.sum()
    return centre, concentration, weight
