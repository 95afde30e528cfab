"""Templates in a fold: their distances, a blended distogram, and backbones threaded through them."""

from __future__ import annotations

import math
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.fold.fitting import TARGET_WIDTH, Fit, FitTargets
from betafold_mlx.fold.minimise import draw_starts
from betafold_mlx.fold.restraints import VARIANCE_FLOOR, Restraints, take
from betafold_mlx.model.heads import EDGES, OUTERMOST
from betafold_mlx.templates.search import MIN_TRUST, Hit, Hits

DISTANCE_WIDTH = 1.0
"""Angstrom: standard deviation of a distance about that of a template that is right."""

KNOWN_FREEDOM, UNKNOWN_FREEDOM, OMEGA_FREEDOM = math.radians(12.0), math.radians(40.0), math.radians(6.0)
"""How readily torsions turn that the template has, and those that it lacks."""


THREADS = 2
"""Candidates threaded through a template that counts: they differ where it is silent. Through others it is one."""


class Threads(NamedTuple):
    """C candidates threaded through templates, of peptides padded to L residues.

    Attributes
    ----------
    rows : numpy.ndarray
        (C,) int, the peptide of each candidate.
    hits : numpy.ndarray
        (C,) int, the number of its hit among those of the peptide.
    fit : Fit
        That lays their chains on the templates.
    restraints : Restraints
        Of the C candidates: distances of the template where it is aligned, of the network elsewhere.
    """

    rows: np.ndarray
    hits: np.ndarray
    fit: Fit
    restraints: Restraints


def template_distances(hit: Hit, length: int) -> np.ndarray:
    """Return the C-alpha distances of a template between the residues it is aligned to: (L, L) Angstrom, else NaN."""
    distances = np.full((length, length), np.nan, dtype=np.float32)
    distances[np.ix_(hit.query, hit.query)] = np.linalg.norm(hit.ca[:, None] - hit.ca[None], axis=-1)
    return distances


def blend(probability: mx.array, hits: Hits) -> tuple[mx.array, mx.array]:
    """Blend the distances of templates into a distogram.

    Each template is right with the probability of its trust, or else the next one, or else the network.

    Parameters
    ----------
    probability : mx.array
        (B, L, L, bins), from the network.
    hits : Hits
        Of the B peptides; those below `MIN_TRUST` do not count.

    Returns
    -------
    probability : mx.array
        (B, L, L, bins).
    share : mx.array
        (B, L) of each residue's distances that is of templates.
    """
    length = probability.shape[1]
    share = np.ones((len(hits), length, length), dtype=np.float32)  # of the network
    known = np.zeros((len(hits), length, length, probability.shape[-1]), dtype=np.float32)
    for row, found in enumerate(hits):
        for hit in (hit for hit in found if hit.trust >= MIN_TRUST):
            distances = template_distances(hit, length)
            weight = np.where(np.isnan(distances), 0.0, hit.trust * share[row])
            known[row] += weight[..., None] * _bins_around(np.nan_to_num(distances))
            share[row] -= weight
    blended = mx.array(share)[..., None] * probability + mx.array(known)
    count = np.maximum((share < 1).any(axis=-1).sum(axis=-1), 1)  # aligned residues
    return blended, mx.array((1 - share).sum(axis=-1) / count[:, None])


def _bins_around(distances: np.ndarray) -> np.ndarray:
    """Return the probabilities of the bins under a normal distribution about each distance: (...) -> (..., bins)."""
    edges = np.concatenate([OUTERMOST[:1], EDGES, OUTERMOST[1:]])
    away = (edges - np.clip(distances, *OUTERMOST)[..., None]) / DISTANCE_WIDTH
    below = 1 / (1 + np.exp(-1.702 * away))  # the normal distribution's to 0.01 (W. G. Cochran's logistic)
    inside = np.diff(below, axis=-1)
    return inside / inside.sum(axis=-1, keepdims=True)


def thread(hits: Hits, restraints: Restraints, seed: int) -> Threads | None:
    """Thread peptides through their templates.

    Where a template is aligned a candidate starts from its torsions and is fitted to its C-alphas; elsewhere it starts
    from a draw of the network's torsions.

    Parameters
    ----------
    hits : Hits
        Of the B peptides of a batch.
    restraints : Restraints
        Of the B peptides, from the network.
    seed : int
        Of the draws.

    Returns
    -------
    Threads or None
        None where no peptide has a hit.
    """
    jobs = [
        (row, number, k)
        for row, found in enumerate(hits)
        for number, hit in enumerate(found)
        for k in range(THREADS if hit.trust >= MIN_TRUST else 1)
    ]
    if not jobs:
        return None
    rows = np.array([row for row, _, _ in jobs])
    length = restraints.bonds.mask.shape[1]
    start = np.array(draw_starts(restraints, rows, np.array([k for _, _, k in jobs]), seed))
    freedom = np.full(start.shape, UNKNOWN_FREEDOM)
    freedom[..., 2] = OMEGA_FREEDOM
    ca = np.zeros(start.shape)
    weight = np.zeros(start.shape[:2])
    own = take(restraints, rows)
    distance, tightness = np.array(own.distance), np.array(own.tightness)
    omega = np.array(own.omega)
    count = np.array(own.bonds.mask).sum(axis=1)
    for c, (row, number, _) in enumerate(jobs):
        hit = hits[row][number]
        torsions = hit.torsions.astype(np.float64)  # (A, 3)
        known = ~np.isnan(torsions) & _beside_aligned(hit)
        start[c, hit.query] = np.where(known, torsions, start[c, hit.query])
        freedom[c, hit.query, :2] = np.where(known[:, :2], KNOWN_FREEDOM, UNKNOWN_FREEDOM)
        omega[c, hit.query] = np.where(known[:, 2], torsions[:, 2], omega[c, hit.query])
        ca[c, hit.query] = hit.ca
        weight[c, hit.query] = 1.0
        between = template_distances(hit, length)
        told = ~np.isnan(between)
        distance[c][told] = between[told]
        tightness[c][told & (tightness[c] > 0)] = 1.0 / ((DISTANCE_WIDTH**2 + VARIANCE_FLOOR) * count[c])
    laid = Fit(start, freedom, FitTargets(ca, weight, TARGET_WIDTH), own.bonds)
    told_restraints = own._replace(
        distance=mx.array(distance), tightness=mx.array(tightness), omega=mx.array(omega)
    )
    numbers = np.array([number for _, number, _ in jobs])
    return Threads(rows, numbers, laid, told_restraints)


def _beside_aligned(hit: Hit) -> np.ndarray:
    """Tell which torsions (A, 3) of a template are between residues that are aligned side by side."""
    follows = (np.diff(hit.query) == 1) & (np.diff(hit.template) == 1)
    before, after = np.append(False, follows), np.append(follows, False)
    return np.stack([before, after, after], axis=1)  # phi, psi, omega
