"""Models of one peptide: superposition, mirror image, RMSD, clusters; NumPy in double precision."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

ALIKE = 2.0
"""Backbone RMSD up to which two models are the same fold, Angstrom."""


class Spread(NamedTuple):
    """How M models of L residues differ.

    Attributes
    ----------
    clusters : tuple of int
        For each model the 1-based number of its cluster: that of the first leader within `ALIKE`. A model that is
        alike to no leader before it in rank leads a cluster of its own.
    rmsd_to_first : tuple of float
        Backbone RMSD of each model to the first, Angstrom.
    per_residue : tuple of float
        Root mean square deviation of each CA from its mean place, all models laid on the first, Angstrom.
    """

    clusters: tuple[int, ...]
    rmsd_to_first: tuple[float, ...]
    per_residue: tuple[float, ...]


def superpose_models(coordinates: np.ndarray) -> np.ndarray:
    """Return models (M, L, 5, 3) Angstrom, each moved so that its backbone lies best on the first's, which stays."""
    if len(coordinates) == 1:
        return coordinates
    atoms = coordinates.astype(np.float64)
    backbone = atoms[:, :, :3].reshape(len(atoms), -1, 3)
    middle = backbone.mean(axis=1)
    centred = backbone - middle[:, None]
    turn = rotations_onto(centred, centred[0])
    with np.errstate(invalid="ignore"):  # of an atom that is not there, or nowhere; some BLAS kernels tell
        laid = (atoms - middle[:, None, None]) @ turn[:, None] + middle[0]
    laid[0] = atoms[0]
    return laid.astype(coordinates.dtype)


def measure_spread(coordinates: np.ndarray) -> Spread:
    """Measure how models differ: (M, L, 5, 3) Angstrom, best first."""
    count, length = coordinates.shape[:2]
    if count == 1:
        return Spread((1,), (0.0,), (0.0,) * length)
    models = coordinates[:, :, :3].astype(np.float64).reshape(count, -1, 3)
    models -= models.mean(axis=1, keepdims=True)
    to_first = _apart(models, models[0])
    leaders: list[int] = []
    clusters = []
    for number in range(count):
        near = np.flatnonzero(_apart(models[leaders], models[number]) <= ALIKE).tolist()
        if not near:
            leaders.append(number)
            near = [len(leaders) - 1]
        clusters.append(near[0] + 1)
    ca = (models @ rotations_onto(models, models[0]))[:, 1::3]  # of N, CA, C
    deviation = np.sqrt(np.square(ca - ca.mean(axis=0)).sum(axis=-1).mean(axis=0))
    return Spread(tuple(clusters), tuple(to_first.tolist()), tuple(deviation.tolist()))


def measure_apart(coordinates: np.ndarray) -> np.ndarray:
    """Return the backbone RMSD of models (M, L, A, 3), N, CA, C first, to each other: (M, M) Angstrom."""
    models = coordinates[:, :, :3].astype(np.float64).reshape(len(coordinates), -1, 3)
    models -= models.mean(axis=1, keepdims=True)
    return np.stack([_apart(models, target) for target in models])


def _apart(models: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the RMSD (K,) of models (K, n, 3) to a target (n, 3), all of them centred, after superposition."""
    laid = models @ rotations_onto(models, target)
    return np.sqrt(np.square(laid - target).sum(axis=-1).mean(axis=-1))


def rotations_onto(models: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the rotations R (K, 3, 3) for which models @ R lie best on the target (Kabsch 1976, no reflection)."""
    left, _, right = np.linalg.svd(np.swapaxes(models, 1, 2) @ target)
    left[:, :, 2] *= np.sign(np.linalg.det(left) * np.linalg.det(right))[:, None]
    return left @ right


def mirror_image(coordinates: np.ndarray) -> np.ndarray:
    """Return coordinates (..., 3) reflected in the xy plane: z changes its sign and nothing is rounded.

    Distances and bond angles stay; torsions, and the hand of every centre, change their signs.
    """
    return coordinates * np.array([1.0, 1.0, -1.0], dtype=coordinates.dtype)
