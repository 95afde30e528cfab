"""Disulfide bonds: from sulfur positions or, where a file has none, from the backbone."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import numpy as np

from betafold_mlx.peptide.bonds import Disulfides

SULFUR_LIMITS = (1.5, 2.5)
"""Angstrom, SG-SG of a disulfide. In the project's original files the 131 bonds measure 1.98 to 2.13 A and
the closest sulfurs that are not bonded 3.26 A."""

CB_SG, SG_SG = 1.82, 2.03
CA_CB_SG, CB_SG_SG = np.radians(114.0), np.radians(104.0)
"""Bond lengths (Angstrom) and angles of cystine: medians of the same 131 bonds."""

VIRTUAL_CB_LIMITS = (2.5, 5.2)
"""Angstrom. Outside these limits two CB atoms cannot carry a disulfide of near-ideal geometry."""

MAX_STRAIN = 5.0
"""A guessed disulfide is accepted below this `_strain`; 140 of 147 peptides of the project's data then have
exactly the stated pairs. The strain is a sum of squares in units of `_TOLERANCES`."""

_TOLERANCES = (0.2, 0.3)
"""Angstrom: errors of SG-SG and of CB...SG that a virtual CB and 5 degree steps of chi1 bring with them."""

_MAX_CLUSTER = 12  # cysteines matched jointly: 2**12 subsets; a small peptide or a knot has fewer


def sulfur_disulfides(sulfurs: np.ndarray) -> Disulfides:
    """Pair sulfurs (K, 3) at bond length, the closest first, each at most once; one that is not finite stays alone.

    The pairs of rows are 0-based, i < j, sorted.
    """
    distance = np.linalg.norm(sulfurs[:, None] - sulfurs[None], axis=-1)  # (K, K)
    rows, columns = np.nonzero(np.triu((distance >= SULFUR_LIMITS[0]) & (distance < SULFUR_LIMITS[1]), k=1))
    pairs: list[tuple[int, int]] = []
    used: set[int] = set()
    for k in np.argsort(distance[rows, columns], kind="stable"):
        pair = int(rows[k]), int(columns[k])
        if used.isdisjoint(pair):
            pairs.append(pair)
            used.update(pair)
    return tuple(sorted(pairs))


def infer_disulfides(sequence: str, coordinates: np.ndarray) -> Disulfides:
    """Guess the disulfides of a chain, 1-based and sorted, from its backbone (L, >=3, 3), N, CA, C first, Angstrom.

    Every cysteine gets a virtual CB and a ring of possible SG positions around it (all chi1). Two cysteines
    fit when some pair of these positions makes a disulfide of ideal lengths and angles within tolerance. Of
    all ways to pair the cysteines, each at most once, the one with most and best fits is taken: in cystine
    knots the closest CB atoms are often not the bonded ones.

    Cysteines that bind a metal (zinc fingers) fit too and come out as disulfides.
    """
    cysteines = [i for i, letter in enumerate(sequence) if letter == "C"]
    if len(cysteines) < 2:
        return ()
    backbone = np.asarray(coordinates, np.float64)[cysteines]  # (K, >=3, 3)
    cb = virtual_cb(backbone)
    sulfurs = _sulfur_rings(backbone, cb)
    distance = np.linalg.norm(cb[:, None] - cb[None], axis=-1)
    near = np.triu((distance >= VIRTUAL_CB_LIMITS[0]) & (distance <= VIRTUAL_CB_LIMITS[1]), k=1)
    strains = {(int(i), int(j)): _strain(cb[i], sulfurs[i], cb[j], sulfurs[j]) for i, j in np.argwhere(near)}
    pairs = _best_pairs({pair: strain for pair, strain in strains.items() if strain < MAX_STRAIN})
    return tuple((cysteines[i] + 1, cysteines[j] + 1) for i, j in pairs)


def virtual_cb(coordinates: np.ndarray) -> np.ndarray:
    """Place CB (L, 3) by N, CA and C of residues (L, >=3, 3) with ideal tetrahedral geometry, Angstrom.

    The linear form and its coefficients are those in use since trRosetta (Yang et al., PNAS 117:1496, 2020).
    """
    n, ca, c = (np.asarray(coordinates[:, atom], np.float64) for atom in range(3))
    b, c = ca - n, c - ca
    return -0.58273431 * np.cross(b, c) + 0.56802827 * b - 0.54067466 * c + ca


def _sulfur_rings(backbone: np.ndarray, cb: np.ndarray) -> np.ndarray:
    """Return (K, 72, 3) SG positions around the CA-CB axis, 5 degrees apart."""
    axis = _unit(cb - backbone[:, 1])
    side = backbone[:, 0] - backbone[:, 1]
    side = _unit(side - (side * axis).sum(-1, keepdims=True) * axis)
    up = np.cross(axis, side)
    chi = np.radians(np.arange(0, 360, 5))[None, :, None]
    ring = np.cos(chi) * side[:, None] + np.sin(chi) * up[:, None]
    return cb[:, None] + CB_SG * (np.sin(CA_CB_SG) * ring - np.cos(CA_CB_SG) * axis[:, None])


def _strain(cb_i: np.ndarray, sg_i: np.ndarray, cb_j: np.ndarray, sg_j: np.ndarray) -> float:
    """Return the smallest misfit of a disulfide between two residues over all chi1 of both."""
    ideal = np.sqrt(CB_SG**2 + SG_SG**2 - 2 * CB_SG * SG_SG * np.cos(CB_SG_SG))  # CB...SG across the bond
    sulfur = np.linalg.norm(sg_i[:, None] - sg_j[None], axis=-1)  # (72, 72)
    across_i = np.linalg.norm(cb_i - sg_j, axis=-1)[None, :]
    across_j = np.linalg.norm(cb_j - sg_i, axis=-1)[:, None]
    near, far = _TOLERANCES
    misfit = (
        ((sulfur - SG_SG) / near) ** 2 + ((across_i - ideal) / far) ** 2 + ((across_j - ideal) / far) ** 2
    )
    return float(misfit.min())


def _best_pairs(strains: dict[tuple[int, int], float]) -> list[tuple[int, int]]:
    """Choose disjoint pairs of greatest total ``MAX_STRAIN - strain``, exactly, cluster by cluster."""
    cluster: dict[int, set[int]] = {}
    edges: dict[tuple[int, int], float] = {}
    for (i, j), strain in sorted(strains.items(), key=lambda item: item[1]):
        joined = cluster.get(i, {i}) | cluster.get(j, {j})
        if len(joined) <= _MAX_CLUSTER:  # beyond (no real chain) the worst fits are left out
            edges[i, j] = MAX_STRAIN - strain
            cluster.update(dict.fromkeys(joined, joined))
    clusters = {min(members): members for members in cluster.values()}
    return sorted(pair for members in clusters.values() for pair in _matching(members, edges))


def _matching(members: Iterable[int], gains: dict[tuple[int, int], float]) -> Disulfides:
    @cache
    def best(free: frozenset[int]) -> tuple[float, Disulfides]:
        if len(free) < 2:
            return 0.0, ()
        i = min(free)
        options = [best(free - {i})]
        for j in sorted(free - {i}):
            if (i, j) in gains:
                total, pairs = best(free - {i, j})
                options.append((total + gains[i, j], ((i, j), *pairs)))
        return max(options, key=lambda option: option[0])

    return best(frozenset(members))[1]


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
