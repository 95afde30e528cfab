"""Steps 2 to 4 of a fold, for a whole batch: draw starts, minimise them together, close stated bonds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.fold.closing import close_bonds
from betafold_mlx.fold.fitting import fit_together
from betafold_mlx.fold.linking import chi_columns, close_links
from betafold_mlx.fold.made_bonds import bond_misfit, finish_rings
from betafold_mlx.fold.minimise import (
    BONDED_STEPS,
    BONDED_STERICS_FROM,
    GENTLE,
    STEPS,
    USUAL,
    MinimiseSchedule,
    draw_starts,
    minimise,
)
from betafold_mlx.fold.restraints import Restraints, join, restraints_from, take, with_links
from betafold_mlx.fold.threads import Threads, blend, thread
from betafold_mlx.fold.traces import likelier_hand, trace_fit
from betafold_mlx.model.folding import Folded
from betafold_mlx.model.functions import softmax
from betafold_mlx.model.inputs import ModelInputs
from betafold_mlx.peptide.sequence import Peptide
from betafold_mlx.templates.search import Hits

TOGETHER = 256
"""Structures minimised at a time: more of them fall out of the processor's cache."""

MULTIPLE = 8
"""Fewer are filled up to a multiple of this, so that the same instructions work on one and on many."""

ATTEMPTS = 4
"""Draws of a start for a sample whose stated bonds are not made."""

NETWORK, NOTHING, TRACE = -1, -2, -3
"""Where a candidate comes from, if not from a template."""


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
        (B, L, L, bins) of C-alpha distances, from the distogram and the templates.
    template_share : mx.array
        (B, L) of each residue's distances that is of templates.
    source : numpy.ndarray
        (B, S) int: `NETWORK`, `TRACE` (`betafold_mlx.fold.traces`), the number of the hit that the candidate was
        threaded through, or `NOTHING`, where a peptide has fewer candidates than others of the batch.
    chi : numpy.ndarray or None
        (B, S, L, K) radians of residues with stated bonds, where a peptide has others than a ring and disulfides; NaN
        elsewhere.
    """

    torsions: mx.array
    coordinates: mx.array
    restraints: Restraints
    probability: mx.array
    template_share: mx.array
    source: np.ndarray
    chi: np.ndarray | None = None


def refine(
    folded: Folded,
    inputs: ModelInputs,
    seed: int,
    numbers: Sequence[int],
    effort: int = 1,
    templates: Hits | None = None,
    traced: bool = False,
    peptides: Sequence[Peptide] = (),
) -> Ensemble:
    """Draw structures of a batch of peptides and fit them to the network's answer and the stated chemistry.

    A sample whose stated bonds cannot be made is drawn anew, up to `ATTEMPTS` times; the nearest one stays.

    Parameters
    ----------
    folded : Folded
        The network's answer.
    inputs : ModelInputs
        Its input.
    seed : int
        0 to 2^31 - 1.
    numbers : sequence of int
        Numbers of the samples to make; sample i is the same whatever else is made.
    effort : int
        Multiple of the usual number of steps.
    templates : Hits, optional
        Known folds of the peptides: further candidates, behind those of the network.
    traced : bool
        Whether there is one more candidate that follows the distances from the start.
    peptides : sequence of Peptide
        The B peptides; without them no bonds are made but rings and disulfides.
    """
    probability = softmax(folded.distogram)
    restraints = with_links(restraints_from(folded, inputs, probability), peptides)
    share = mx.zeros(inputs.mask.shape)
    threads = None
    if templates is not None and any(templates):
        threads = thread(templates, restraints, seed)
        probability, share = blend(probability, templates)
        restraints = with_links(restraints_from(folded, inputs, probability), peptides)
    batch, samples = len(inputs.mask), len(numbers)
    rows = np.repeat(np.arange(batch), samples)  # the peptide of each candidate
    number = np.tile(np.asarray(numbers), batch)  # and which sample of it

    starts = draw_starts(restraints, rows, number, seed)  # 2. candidate starts; other sources may join here
    torsions, misfit = fit(starts, restraints, rows, effort, peptides=peptides)
    for attempt in range(1, ATTEMPTS):
        unmade = np.flatnonzero(misfit > 1.0)
        if not len(unmade):
            break
        starts = draw_starts(restraints, rows[unmade], number[unmade], seed, attempt)
        again, new_misfit = fit(starts, restraints, rows[unmade], effort, peptides=peptides)
        better = new_misfit < misfit[unmade]
        torsions[unmade[better]], misfit[unmade[better]] = again[better], new_misfit[better]

    grouped = torsions.reshape(batch, samples, *torsions.shape[1:])
    source = np.full((batch, samples), NETWORK)
    traced_rows, threaded = _shaped(restraints, threads, seed, effort, traced, peptides)
    if traced:
        grouped = np.concatenate([grouped, traced_rows[:, None]], axis=1)
        source = np.concatenate([source, np.full((batch, 1), TRACE)], axis=1)
    if threads is not None:
        grouped, source = _beside(grouped, source, threaded, threads.rows, threads.hits)
    candidates = grouped.shape[1]
    every = np.repeat(np.arange(batch), candidates)
    flat = mx.array(grouped[..., :3].reshape(len(every), -1, 3))
    finished, coordinates = finish_rings(flat, take(restraints, every).bonds)
    shape = (batch, candidates, -1)
    return Ensemble(
        finished.reshape(*shape, 3),
        coordinates.reshape(*shape, *coordinates.shape[2:]),
        restraints,
        probability,
        share,
        source,
        grouped[..., 3:] if grouped.shape[-1] > 3 else None,
    )


def _shaped(
    restraints: Restraints,
    threads: Threads | None,
    seed: int,
    effort: int,
    traced: bool,
    peptides: Sequence[Peptide],
) -> tuple[np.ndarray, np.ndarray]:
    """Return the candidates that start from a shape, those of traces and of threads, fitted and minimised together."""
    sources, fits, whose = [], [], list(peptides)
    if traced:
        sources.append(restraints)
        fits.append(trace_fit(restraints, seed))
    if threads is not None:
        sources.append(threads.restraints)
        fits.append(threads.fit)
        of_threads = [peptides[row] for row in threads.rows] if peptides else []
        whose = [*(peptides if traced else ()), *of_threads]
    if not fits:
        return np.zeros(0), np.zeros(0)
    fitted = fit_together(fits)
    starts = [mx.array(each.astype(np.float32)) for each in fitted]
    if traced:
        starts[0] = likelier_hand(fitted[0], restraints)
    number = len(starts[0]) if traced else 0
    every = np.arange(sum(map(len, starts)))
    torsions, _ = fit(mx.concatenate(starts), join(sources), every, effort, GENTLE, whose)
    return torsions[:number], torsions[number:]


def _beside(
    drawn: np.ndarray, source: np.ndarray, threaded: np.ndarray, rows: np.ndarray, hits: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Put threaded candidates (C, L, 3 + K) behind the drawn ones (B, S, L, 3 + K); repeat the first."""
    counts = np.bincount(rows, minlength=len(drawn))
    place = np.concatenate([np.arange(count) for count in counts])  # rows are in order
    more = np.repeat(drawn[:, :1], counts.max(), axis=1)
    numbers = np.full(more.shape[:2], NOTHING)
    more[rows, place], numbers[rows, place] = threaded, hits
    return np.concatenate([drawn, more], axis=1), np.concatenate([source, numbers], axis=1)


def fit(
    starts: mx.array,
    restraints: Restraints,
    rows: np.ndarray,
    effort: int = 1,
    schedule: MinimiseSchedule = USUAL,
    peptides: Sequence[Peptide] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """Minimise candidates from any source, `TOGETHER` at a time, and close their stated bonds.

    Parameters
    ----------
    starts : mx.array
        (n, L, 3) radians.
    restraints : Restraints
        Of B peptides.
    rows : numpy.ndarray
        (n,) int, the peptide of each candidate.
    effort : int
        Multiple of the usual number of steps.
    schedule : MinimiseSchedule
        Of the minimisation.
    peptides : sequence of Peptide
        The B peptides, where `restraints` has links.

    Returns
    -------
    torsions : numpy.ndarray
        (n, L, 3 + K) float32 radians. Where a peptide has stated bonds beside a ring and disulfides, K chi angles of
        bonded residues come behind phi, psi and omega, NaN where there is none; K = 0 otherwise.
    misfit : numpy.ndarray
        (n,) largest violation of a stated bond in units of its tolerance: above 1 it is not made.
    """
    linked = {row: peptide for row, peptide in enumerate(peptides) if peptide.other_bonds}
    chi = chi_columns(linked.values()) if linked else 0
    torsions = np.full((*starts.shape[:2], 3 + chi), np.nan, dtype=np.float32)
    misfit = np.zeros(len(rows))
    bonds = restraints.bonds
    stated = bonds.cyclic | bonds.bridges.any(axis=(1, 2))
    if bonds.reach is not None:
        stated = stated | bonds.reach.any(axis=(1, 2))
    bonded = np.array(stated)[rows]
    early = schedule._replace(sterics_from=min(schedule.sterics_from, BONDED_STERICS_FROM))
    kinds = (np.flatnonzero(~bonded), STEPS, schedule), (np.flatnonzero(bonded), BONDED_STEPS, early)
    for alike, steps, plan in kinds:
        for first in range(0, len(alike), TOGETHER):
            chosen = alike[first : first + TOGETHER]
            filled = chosen[np.minimum(np.arange(-(-len(chosen) // MULTIPLE) * MULTIPLE), len(chosen) - 1)]
            part = take(restraints, rows[filled])
            fitted = minimise(starts[mx.array(filled)], part, steps=effort * steps, schedule=plan)
            fitted = close_bonds(fitted, part.bonds)
            torsions[chosen, :, :3] = np.array(fitted)[: len(chosen)]
            misfit[chosen] = bond_misfit(fitted, part.bonds)[: len(chosen)]
    for row, peptide in linked.items():
        own = np.flatnonzero(rows == row)
        for first in range(0, len(own), MULTIPLE):
            chosen = own[first : first + MULTIPLE]
            closed, angles, off = close_links(
                peptide, torsions[chosen, :, :3], take(restraints, rows[chosen]).bonds
            )
            torsions[chosen, :, :3], misfit[chosen] = closed, off
            torsions[chosen, :, 3 : 3 + angles.shape[-1]] = angles
    return torsions, misfit
