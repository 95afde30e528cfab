"""The whole way from the network's answer to finished structures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.geometry.torsions import dihedral
from betafold_mlx.model.folding import Folded
from betafold_mlx.model.inputs import ModelInputs
from betafold_mlx.refine.closing import BRIDGE_CB, close_bonds
from betafold_mlx.refine.energy import CA, CB, RING_PAIRS, C, N, place_atoms
from betafold_mlx.refine.minimise import minimise
from betafold_mlx.refine.restraints import Restraints, restraints_from, take
from betafold_mlx.refine.starts import draw_starts

TOGETHER = 64
"""Structures minimised at a time: more of them fall out of the processor's cache."""

ATTEMPTS = 4
"""Draws of a start for a sample whose stated bonds are not made."""

RING_TOLERANCES, BRIDGE_TOLERANCE = (0.015, 0.04, 0.04, 0.06), 0.08
"""Angstrom, in the order of `RING_PAIRS` and for CB-CB: tighter than what `betafold_mlx.closure` accepts."""


class Ensemble(NamedTuple):
    """Structures of B peptides, S each.

    Attributes
    ----------
    torsions : mx.array
        (B, S, L, 3) radians. In a ring phi of the first, psi and omega of the last residue are those across its bond.
    coordinates : mx.array
        (B, S, L, 5, 3) Angstrom; zero at padding.
    restraints : Restraints
        What they were fitted to.
    """

    torsions: mx.array
    coordinates: mx.array
    restraints: Restraints


def refine(folded: Folded, inputs: ModelInputs, seed: int, numbers: Sequence[int]) -> Ensemble:
    """Draw structures of a batch of peptides and fit them to the network's answer and the stated chemistry.

    Parameters
    ----------
    folded : Folded
        The network's answer.
    inputs : ModelInputs
        What it was asked.
    seed : int
        0 to 2^31 - 1.
    numbers : sequence of int
        Numbers of the samples to make; sample i is the same whatever else is made.

    Returns
    -------
    Ensemble
    """
    restraints = restraints_from(folded, inputs)
    torsions, misfit = _fit_all(restraints, seed, numbers, 0)
    for attempt in range(1, ATTEMPTS):
        rows = np.flatnonzero((misfit > 1.0).any(axis=1))
        if not len(rows):
            break
        again, new_misfit = _fit_all(take(restraints, rows), seed, numbers, attempt)
        # A sample whose bonds are made stays as it is, whatever its neighbours need.
        better = (misfit[rows] > 1.0) & (new_misfit < misfit[rows])
        torsions[rows] = np.where(better[..., None, None], again, torsions[rows])
        misfit[rows] = np.where(better, new_misfit, misfit[rows])
    finished, coordinates = _finish(mx.array(torsions), restraints)
    return Ensemble(finished, coordinates, restraints)


def _fit_all(
    restraints: Restraints, seed: int, numbers: Sequence[int], attempt: int
) -> tuple[np.ndarray, np.ndarray]:
    """Fit S samples of B peptides, `TOGETHER` structures at a time: torsions (B, S, L, 3) and misfits (B, S)."""
    batch, length = restraints.mask.shape
    torsions = np.zeros((batch, len(numbers), length, 3), dtype=np.float32)
    misfit = np.zeros((batch, len(numbers)))
    each = min(len(numbers), TOGETHER)
    rows = max(1, TOGETHER // each)
    for first in range(0, batch, rows):
        chosen = slice(first, first + rows)
        part = take(restraints, np.arange(batch)[chosen])
        for start in range(0, len(numbers), each):
            some = slice(start, start + each)
            fitted, misfit[chosen, some] = _fit(part, seed, numbers[some], attempt)
            torsions[chosen, some] = np.array(fitted)
    return torsions, misfit


def _fit(
    restraints: Restraints, seed: int, numbers: Sequence[int], attempt: int
) -> tuple[mx.array, np.ndarray]:
    torsions = minimise(draw_starts(restraints, seed, numbers, attempt), restraints)
    torsions = close_bonds(torsions, restraints)
    return torsions, bond_misfit(torsions, restraints)


def bond_misfit(torsions: mx.array, restraints: Restraints) -> np.ndarray:
    """Return the largest violation of a stated bond in units of its tolerance: (B, S); 0 with nothing stated."""
    atoms = np.array(place_atoms(torsions, restraints)).transpose(2, 0, 1, 3, 4)  # (B, 5, 3, S, L)
    cb = np.linalg.norm(atoms[:, CB, :, :, :, None] - atoms[:, CB, :, :, None], axis=1)  # (B, S, L, L)
    low, high = BRIDGE_CB
    outside = np.maximum(np.maximum(low - cb, cb - high), 0.0) * np.array(restraints.bridges)[:, None]
    misfit = outside.max(axis=(2, 3)) / BRIDGE_TOLERANCE
    wanted, last = np.array(restraints.ring), np.array(restraints.last)
    for row in np.flatnonzero(np.array(restraints.cyclic)):
        for (a, b), distance, tolerance in zip(RING_PAIRS, wanted[row], RING_TOLERANCES, strict=True):
            apart = np.linalg.norm(atoms[row, a, :, :, last[row]] - atoms[row, b, :, :, 0], axis=0)
            misfit[row] = np.maximum(misfit[row], np.abs(apart - distance) / tolerance)
    return misfit


def _finish(torsions: mx.array, restraints: Restraints) -> tuple[mx.array, mx.array]:
    """Put the O of a ring's last residue into the plane of its bond, and name the torsions across it."""
    atoms = place_atoms(torsions, restraints)
    _, _, batch, samples, length = atoms.shape
    last = mx.broadcast_to(restraints.last[None, None, :, None, None], (5, 3, batch, samples, 1))
    end = mx.take_along_axis(atoms, last, axis=-1)[..., 0].transpose(0, 2, 3, 1)  # (5, B, S, 3)
    start = atoms[..., 0].transpose(0, 2, 3, 1)
    phi = dihedral(end[C], start[N], start[CA], start[C])  # (B, S)
    psi = dihedral(end[N], end[CA], end[C], start[N])
    omega = dihedral(end[CA], end[C], start[N], start[CA])
    place = mx.arange(length)
    at_start = (place == 0) & restraints.cyclic[:, None, None]  # (B, 1, L)
    at_end = (place == restraints.last[:, None, None]) & restraints.cyclic[:, None, None]
    columns = [
        mx.where(at_start, phi[..., None], torsions[..., 0]),
        mx.where(at_end, psi[..., None], torsions[..., 1]),
        mx.where(at_end, omega[..., None], torsions[..., 2]),
    ]
    torsions = mx.stack(columns, axis=-1)
    return torsions, place_atoms(torsions, restraints).transpose(2, 3, 4, 0, 1)
