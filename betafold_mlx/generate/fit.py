"""From C-alpha traces to backbones with ideal geometry.

Bond lengths and angles are not among the unknowns, so they are ideal whatever the trace is; the RMSD says how far the
trace is from any chain of ideal geometry.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from betafold_mlx.errors import BetafoldError
from betafold_mlx.evaluate.batching import length_batches
from betafold_mlx.fold.gradient import CA
from betafold_mlx.generate.fit_problem import Fit, FitProblem
from betafold_mlx.generate.rings import continued, once_around
from betafold_mlx.generate.trace_states import PLACEHOLDERS, start_torsions
from betafold_mlx.generate.validity import CA_BOND, ca_bonds

MIN_RING = 5  # residues: what is three apart in a smaller one is a neighbour the other way
BOND_NOISE = 0.1  # Angstrom: with so much noise in a trace the targets get half the weight (`looseness`)


def fit_traces(
    traces: Sequence[np.ndarray],
    residue: str = "ALA",
    known: Sequence[np.ndarray] | None = None,
    *,
    rings: bool = False,
) -> list[Fit]:
    """Fit backbones to C-alpha traces (L, 3), Angstrom, L >= 3 (rings: `MIN_RING`), each by itself.

    A noisy trace is followed loosely (`looseness`), and exactly where that gives no backbone without a problem. The
    fit of a trace with a coordinate that is not finite is all NaN, and has a problem.

    All residues are of the type `residue`, ``ALA`` or ``GLY``. `known` are for each trace (L, 3) torsions in radians
    to keep, NaN where nothing is known. Of `rings` the last point stands before the first, and the bond between them
    is closed.
    """
    if residue not in PLACEHOLDERS:
        raise BetafoldError(f"{residue!r} is not one of {', '.join(PLACEHOLDERS)}")
    shortest = MIN_RING if rings else 3
    for trace in traces:
        if trace.ndim != 2 or trace.shape[1] != 3 or len(trace) < shortest:
            raise BetafoldError(f"a trace of shape {trace.shape}: it needs {shortest} C-alphas or more")
    if known is None:
        known = [np.full((len(trace), 3), np.nan) for trace in traces]
    # A ring that is followed loosely closes far from its trace.
    loose = {
        row: 1.0 if rings else looseness(trace)
        for row, trace in enumerate(traces)
        if np.isfinite(trace).all()
    }
    fits = _fit_rows(traces, known, loose, residue, rings)
    exactly = {row: 1.0 for row, fit in fits.items() if fit.problems and loose[row] > 1.0}
    again = _fit_rows(traces, known, exactly, residue, rings)
    fits |= {row: fit for row, fit in again.items() if not fit.problems}
    return [fits[row] if row in fits else _no_fit(len(trace)) for row, trace in enumerate(traces)]


def _no_fit(length: int) -> Fit:
    nothing = np.full((length, 8, 3), np.nan, np.float32)
    return Fit(nothing[:, 0], nothing[:, :5], np.nan, np.nan)


def _fit_rows(
    traces: Sequence[np.ndarray],
    known: Sequence[np.ndarray],
    loose: dict[int, float],
    residue: str,
    rings: bool,
) -> dict[int, Fit]:
    """Fit the traces whose indices are in `loose`, each with that looseness."""
    fits: dict[int, Fit] = {}
    every = list(loose)
    # Padded by its own length alone: a fit does not depend on what else is fitted.
    for places, length in length_batches([len(traces[row]) for row in every]):
        rows = [every[place] for place in places]
        starts = [_start(traces[row], known[row], loose[row], residue, rings) for row in rows]
        problem = FitProblem(
            _stack_padded([traces[row][:, None] for row in rows], length, 0.0),
            (CA,),
            _stack_padded(starts, length, math.pi),
            _stack_padded([known[row] for row in rows], length, np.nan),
            residue,
            np.array([len(traces[row]) for row in rows]),
            rings,
            np.array([loose[row] for row in rows]),
        )
        fits |= zip(rows, problem.solve(), strict=True)
    return fits


def _start(trace: np.ndarray, known: np.ndarray, loose: float, residue: str, rings: bool) -> np.ndarray:
    """Return the initial torsions (L, 3) of the fit of a trace; omega is planar trans."""
    if rings:
        angles = once_around(start_torsions(continued(trace), residue, continued(known[:, :2]), loose))
    else:
        angles = start_torsions(trace, residue, known[:, :2], loose)
    return np.concatenate([angles, np.full((len(angles), 1), math.pi)], axis=-1)


def _stack_padded(arrays: Sequence[np.ndarray], length: int, filler: float) -> np.ndarray:
    """Stack arrays (L, ...) of different L to (B, length, ...) float64."""
    stacked = np.full((len(arrays), length, *arrays[0].shape[1:]), filler)
    for row, array in enumerate(arrays):
        stacked[row, : len(array)] = array
    return stacked


def looseness(trace: np.ndarray) -> float:
    """Return how loosely a trace is followed: 1 + noise / `BOND_NOISE`.

    A C-alpha trace shows its noise: all its bonds should be 3.8 A long. A bond is the difference of two points, so its
    deviation is the square root of two times that of a coordinate. To follow a noisy trace exactly would bend torsions
    to values that do not occur in nature.

    >>> round(looseness(np.arange(5)[:, None] * np.array([3.8, 0.0, 0.0])), 6)
    1.0
    """
    return float(1.0 + np.sqrt(np.square(ca_bonds(trace) - CA_BOND).mean() / 2) / BOND_NOISE)
