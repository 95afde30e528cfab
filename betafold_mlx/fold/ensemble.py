"""The whole way from the network's answer to finished structures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.fold.closing import bond_misfit, close_bonds, finish_rings
from betafold_mlx.fold.minimise import BONDED_STEPS, STEPS, minimise
from betafold_mlx.fold.restraints import Restraints, restraints_from, take
from betafold_mlx.fold.starts import draw_starts
from betafold_mlx.model.folding import Folded
from betafold_mlx.model.functions import softmax
from betafold_mlx.model.inputs import ModelInputs

TOGETHER = 128
"""Structures minimised at a time: more of them fall out of the processor's cache."""

MULTIPLE = 8
"""Fewer are filled up to a multiple of this, so that the same instructions work on one and on many."""

ATTEMPTS = 4
"""Draws of a start for a sample whose stated bonds are not made."""


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
    torsions, misfit = _fitting(restraints, rows, drawn, seed, 0, effort)
    for attempt in range(1, ATTEMPTS):
        unmade = np.flatnonzero(misfit > 1.0)
        if not len(unmade):
            break
        again, new_misfit = _fitting(restraints, rows[unmade], drawn[unmade], seed, attempt, effort)
        better = new_misfit < misfit[unmade]
        torsions[unmade[better]], misfit[unmade[better]] = again[better], new_misfit[better]
    finished, coordinates = finish_rings(mx.array(torsions), take(restraints, rows).bonds)
    shape = (batch, samples, -1)
    return Ensemble(
        finished.reshape(*shape, 3),
        coordinates.reshape(*shape, *coordinates.shape[2:]),
        restraints,
        probability,
    )


def _fitting(
    restraints: Restraints, rows: np.ndarray, numbers: np.ndarray, seed: int, attempt: int, effort: int
) -> tuple[np.ndarray, np.ndarray]:
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
            fitted = minimise(starts, part, steps=effort * steps)
            fitted = close_bonds(fitted, part.bonds)
            torsions[chosen] = np.array(fitted)[: len(chosen)]
            misfit[chosen] = bond_misfit(fitted, part.bonds)[: len(chosen)]
    return torsions, misfit
