"""The whole way from the network's answer to finished structures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.geometry import build_backbone, dihedral
from betafold_mlx.lanes import Work, finish
from betafold_mlx.model.folding import Folded
from betafold_mlx.model.functions import softmax
from betafold_mlx.model.inputs import ModelInputs
from betafold_mlx.refine.closing import BRIDGE_CB, close_bonds
from betafold_mlx.refine.gradient import CA, CB, RING_PAIRS, C, N
from betafold_mlx.refine.minimise import BONDED_STEPS, STEPS, minimising
from betafold_mlx.refine.restraints import Restraints, restraints_from, take
from betafold_mlx.refine.starts import draw_starts

TOGETHER = 128
"""Structures minimised at a time: more of them fall out of the processor's cache."""

MULTIPLE = 8
"""Fewer are filled up to a multiple of this, so that the same instructions work on one and on many."""

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
    probability : mx.array
        (B, L, L, bins) of C-alpha distances, from the distogram.
    """

    torsions: mx.array
    coordinates: mx.array
    restraints: Restraints
    probability: mx.array


def refine(
    folded: Folded, inputs: ModelInputs, seed: int, numbers: Sequence[int], effort: int = 1
) -> Ensemble:
    """Draw structures and fit them; `refining` does it step by step."""
    return finish(refining(folded, inputs, seed, numbers, effort))


def refining(
    folded: Folded, inputs: ModelInputs, seed: int, numbers: Sequence[int], effort: int = 1
) -> Work[Ensemble]:
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
    effort : int
        So many times the usual number of steps.

    Returns
    -------
    Ensemble
    """
    probability = softmax(folded.distogram)
    restraints = restraints_from(folded, inputs, probability)
    batch, samples = len(inputs.mask), len(numbers)
    rows = np.repeat(np.arange(batch), samples)
    drawn = np.tile(np.asarray(numbers), batch)
    torsions, misfit = yield from _fitting(restraints, rows, drawn, seed, 0, effort)
    for attempt in range(1, ATTEMPTS):
        unmade = np.flatnonzero(misfit > 1.0)
        if not len(unmade):
            break
        again, new_misfit = yield from _fitting(
            restraints, rows[unmade], drawn[unmade], seed, attempt, effort
        )
        better = new_misfit < misfit[unmade]
        torsions[unmade[better]], misfit[unmade[better]] = again[better], new_misfit[better]
    finished, coordinates = _finish(mx.array(torsions), take(restraints, rows))
    shape = (batch, samples, -1)
    return Ensemble(
        finished.reshape(*shape, 3),
        coordinates.reshape(*shape, *coordinates.shape[2:]),
        restraints,
        probability,
    )


def _fitting(
    restraints: Restraints, rows: np.ndarray, numbers: np.ndarray, seed: int, attempt: int, effort: int
) -> Work[tuple[np.ndarray, np.ndarray]]:
    """Fit sample `numbers[k]` of peptide `rows[k]`, `TOGETHER` of them at a time: torsions (n, L, 3), misfits (n,)."""
    torsions = np.zeros((len(rows), restraints.mask.shape[1], 3), dtype=np.float32)
    misfit = np.zeros(len(rows))
    bonded = np.array(restraints.cyclic | restraints.bridges.any(axis=(1, 2)))[rows]
    for alike, steps in ((np.flatnonzero(~bonded), STEPS), (np.flatnonzero(bonded), BONDED_STEPS)):
        for first in range(0, len(alike), TOGETHER):
            chosen = alike[first : first + TOGETHER]
            filled = chosen[np.minimum(np.arange(-(-len(chosen) // MULTIPLE) * MULTIPLE), len(chosen) - 1)]
            part = take(restraints, rows[filled])
            starts = draw_starts(part, seed, numbers[filled], attempt)
            fitted = yield from minimising(starts, part, steps=effort * steps)
            fitted = close_bonds(fitted, part)
            torsions[chosen] = np.array(fitted)[: len(chosen)]
            misfit[chosen] = bond_misfit(fitted, part)[: len(chosen)]
    return torsions, misfit


def bond_misfit(torsions: mx.array, restraints: Restraints) -> np.ndarray:
    """Return the largest violation of a stated bond in units of its tolerance: (B, L, 3) -> (B,), 0 with none."""
    misfit = np.zeros(len(torsions))
    if not restraints.has_rings and not restraints.has_bridges:
        return misfit
    atoms = np.array(build_backbone(torsions, restraints.residues, restraints.mask))  # (B, L, 5, 3)
    low, high = BRIDGE_CB
    for row, i, j in np.argwhere(np.array(restraints.bridges)):
        apart = np.linalg.norm(atoms[row, i, CB] - atoms[row, j, CB])
        misfit[row] = max(misfit[row], max(low - apart, apart - high, 0.0) / BRIDGE_TOLERANCE)
    wanted, last = np.array(restraints.ring), np.array(restraints.last)
    for row in np.flatnonzero(np.array(restraints.cyclic)):
        for (a, b), distance, tolerance in zip(RING_PAIRS, wanted[row], RING_TOLERANCES, strict=True):
            apart = np.linalg.norm(atoms[row, last[row], a] - atoms[row, 0, b])
            misfit[row] = max(misfit[row], abs(apart - distance) / tolerance)
    return misfit


def _finish(torsions: mx.array, restraints: Restraints) -> tuple[mx.array, mx.array]:
    """Put the O of a ring's last residue into the plane of its bond, and name the torsions across it."""
    atoms = build_backbone(torsions, restraints.residues, restraints.mask)  # (B, L, 5, 3)
    if not restraints.has_rings:
        return torsions, atoms
    end = mx.take_along_axis(atoms, restraints.last[:, None, None, None], axis=1)[:, 0]  # (B, 5, 3)
    start = atoms[:, 0]
    phi = dihedral(end[:, C], start[:, N], start[:, CA], start[:, C])  # (B,)
    psi = dihedral(end[:, N], end[:, CA], end[:, C], start[:, N])
    omega = dihedral(end[:, CA], end[:, C], start[:, N], start[:, CA])
    place, closed = mx.arange(torsions.shape[1]), restraints.cyclic[:, None]
    at_start = (place == 0) & closed  # (B, L)
    at_end = (place == restraints.last[:, None]) & closed
    columns = [
        mx.where(at_start, phi[:, None], torsions[..., 0]),
        mx.where(at_end, psi[:, None], torsions[..., 1]),
        mx.where(at_end, omega[:, None], torsions[..., 2]),
    ]
    torsions = mx.stack(columns, axis=-1)
    return torsions, build_backbone(torsions, restraints.residues, restraints.mask)
