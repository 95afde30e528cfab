"""From C-alpha traces to backbones with ideal geometry.

Bond lengths and angles are not among the unknowns, so they are ideal whatever the trace is; how far the trace is from
what ideal geometry can do, the RMSD says.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from betafold_mlx.errors import BetafoldError
from betafold_mlx.generate.mechanics import CA, C, N
from betafold_mlx.generate.problem import Backbones, Problem
from betafold_mlx.generate.regions import PLACEHOLDERS
from betafold_mlx.generate.rings import continued, once_around
from betafold_mlx.generate.starts import start_torsions
from betafold_mlx.generate.validity import CA_BOND, ca_bonds

SHORTEST_RING = 5
"""Residues: what is three apart in a smaller one is a neighbour the other way."""

MOST_RMSD = 1.0
"""Angstrom: farther from the trace a backbone has another shape than what was drawn. Of 256 windows of 24 residues of
the project's training chains none is farther than 0.36, with noise of 0.5 A on each coordinate five are."""

MOST_OVERLAP = 0.6
"""Angstrom: atoms deeper in one another than that clash."""

BOND_NOISE = 0.1
"""Angstrom of noise in a trace, for which it is taken half as seriously: `looseness`."""

_TOGETHER, _STEP = 256, 8  # traces at a time, padded to a multiple of so many residues


class Fit(NamedTuple):
    """A backbone that was fitted to a trace of L residues.

    Attributes
    ----------
    torsions : numpy.ndarray
        (L, 3) float32 radians: phi, psi, omega.
    coordinates : numpy.ndarray
        (L, 5, 3) float32 Angstrom: N, CA, C, O, CB, laid on the trace; CB is NaN for ``GLY``. All are NaN where a
        coordinate of the trace is not finite.
    rmsd : float
        Of its C-alphas to the trace, Angstrom.
    overlap : float
        The deepest clash, Angstrom.
    misfit : float
        Of the bond that closes a ring, in units of what is accepted; 0 of an open chain.
    """

    torsions: np.ndarray
    coordinates: np.ndarray
    rmsd: float
    overlap: float
    misfit: float = 0.0

    @property
    def whole(self) -> bool:
        """Whether there is a backbone, and all its bonds are good: that which closes a ring may be none."""
        return math.isfinite(self.rmsd) and self.misfit <= 1.0

    @property
    def problems(self) -> tuple[str, ...]:
        """Why this backbone must not be used; empty where there is no reason."""
        if not math.isfinite(self.rmsd):
            return ("the trace holds coordinates that are not numbers",)
        found = []
        if not self.misfit <= 1.0:
            found.append("the ring cannot be closed near the trace")
        if not self.rmsd <= MOST_RMSD:
            found.append(f"the trace is {self.rmsd:.2f} A from any ideal backbone (limit {MOST_RMSD:g})")
        if not self.overlap <= MOST_OVERLAP:
            found.append(f"atoms overlap by {self.overlap:.2f} A (limit {MOST_OVERLAP:g})")
        return tuple(found)


def fit_traces(
    traces: Sequence[np.ndarray],
    residue: str = "ALA",
    known: Sequence[np.ndarray | None] | None = None,
    *,
    rings: bool = False,
) -> list[Fit]:
    """Fit backbones to C-alpha traces, each by itself.

    A noisy trace is followed loosely (`looseness`), and by the word where that leads to no backbone without a problem.

    Parameters
    ----------
    traces : sequence of numpy.ndarray
        (L, 3) each, Angstrom, L >= 3 (rings: `SHORTEST_RING`); lengths may differ.
    residue : str
        ``ALA`` or ``GLY``: what all residues are.
    known : sequence of numpy.ndarray or None, optional
        For each trace (L, 3) torsions in radians to keep, NaN where nothing is known.
    rings : bool
        Whether the chains are rings: the last point stands before the first, and the bond between them is closed.

    Returns
    -------
    list of Fit
        In the order of the traces; of one with a coordinate that is not finite all is NaN, and it has a problem.

    Raises
    ------
    BetafoldError
        For a trace of another shape, or an unknown residue.
    """
    if residue not in PLACEHOLDERS:
        raise BetafoldError(f"{residue!r} is not one of {', '.join(PLACEHOLDERS)}")
    fewest = SHORTEST_RING if rings else 3
    for trace in traces:
        if trace.ndim != 2 or trace.shape[1] != 3 or len(trace) < fewest:
            raise BetafoldError(f"a trace of shape {trace.shape}: it needs {fewest} C-alphas or more")
    stated = [
        np.full((len(trace), 3), np.nan) if known is None or (torsions := known[row]) is None else torsions
        for row, trace in enumerate(traces)
    ]
    # A ring that is followed loosely closes far from its trace.
    loose = {
        row: 1.0 if rings else looseness(trace)
        for row, trace in enumerate(traces)
        if np.isfinite(trace).all()
    }

    def followed(how: dict[int, float]) -> Iterator[tuple[int, Fit]]:
        """Fit some rows, each as loosely as it says."""
        some, told = [traces[row] for row in how], [stated[row] for row in how]
        found = _fitted(some, told, np.array(list(how.values())), residue, rings)
        return zip(how, found, strict=True)

    fits = dict(followed(loose))
    by_the_word = {row: 1.0 for row, fit in fits.items() if fit.problems and loose[row] > 1.0}
    fits |= {row: fit for row, fit in followed(by_the_word) if not fit.problems}
    return [fits[row] if row in fits else _nothing(len(trace)) for row, trace in enumerate(traces)]


def _nothing(length: int) -> Fit:
    """Return what there is to fit to a trace that is not finite."""
    nan = float("nan")
    return Fit(np.full((length, 3), nan, np.float32), np.full((length, 5, 3), nan, np.float32), nan, nan)


def _fitted(
    traces: Sequence[np.ndarray], stated: Sequence[np.ndarray], loose: np.ndarray, residue: str, rings: bool
) -> list[Fit]:
    starts = _starts(traces, stated, loose, residue, rings)
    fits: list[Fit | None] = [None] * len(traces)
    lengths = np.array([len(trace) for trace in traces], dtype=np.int64)
    padded = -(-lengths // _STEP) * _STEP  # by its own length alone: a fit does not depend on its company
    for length in np.unique(padded):
        members = np.flatnonzero(padded == length)
        for first in range(0, len(members), _TOGETHER):
            rows = members[first : first + _TOGETHER].tolist()
            problem = Problem(
                _padded([traces[row][:, None] for row in rows], length, 0.0),
                (CA,),
                _padded([starts[row] for row in rows], length, math.pi),
                _padded([stated[row] for row in rows], length, np.nan),
                residue,
                lengths[rows],
                rings,
                loose[rows],
            )
            for row, fit in zip(rows, _fits(problem.solve(), lengths[rows]), strict=True):
                fits[row] = fit
    return [fit for fit in fits if fit is not None]


def fit_backbones(coordinates: np.ndarray, torsions: np.ndarray, residue: str = "ALA") -> list[Fit]:
    """Fit ideal backbones to real ones.

    Parameters
    ----------
    coordinates : numpy.ndarray
        (B, L, 3, 3) Angstrom: N, CA, C.
    torsions : numpy.ndarray
        (B, L, 3) radians: those of the backbones, to start from.
    residue : str
        ``ALA`` or ``GLY``.

    Returns
    -------
    list of Fit
        Their RMSD is over N, CA and C.
    """
    nothing = np.full(torsions.shape, np.nan)
    lengths = np.full(len(torsions), torsions.shape[1])
    targets, start = coordinates.astype(np.float64), torsions.astype(np.float64)
    return _fits(Problem(targets, (N, CA, C), start, nothing, residue, lengths).solve(), lengths)


def looseness(trace: np.ndarray) -> float:
    """Return how loosely a trace is followed: 1 + noise / `BOND_NOISE`.

    A C-alpha trace shows its noise: all its bonds should be 3.8 A long. A bond is the difference of two points, so its
    deviation is the square root of two times that of a coordinate. To follow a noisy trace by the word would bend
    torsions to where none is in nature.

    Parameters
    ----------
    trace : numpy.ndarray
        (L, 3) Angstrom.

    Examples
    --------
    >>> round(looseness(np.arange(5)[:, None] * np.array([3.8, 0.0, 0.0])), 6)
    1.0
    """
    return float(1.0 + np.sqrt(np.square(ca_bonds(trace) - CA_BOND).mean() / 2) / BOND_NOISE)


def _fits(found: Backbones, lengths: np.ndarray) -> list[Fit]:
    return [
        Fit(t[:length].astype(np.float32), x[:length].astype(np.float32), float(r), float(o), float(m))
        for t, x, r, o, m, length in zip(*found, lengths, strict=True)
    ]


def _starts(
    traces: Sequence[np.ndarray], stated: Sequence[np.ndarray], loose: np.ndarray, residue: str, rings: bool
) -> list[np.ndarray]:
    """Return the torsions (L, 3) that the fit of each trace starts from."""
    lengths = np.array([len(trace) for trace in traces])
    starts: list[np.ndarray] = [np.zeros((0, 3))] * len(traces)
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length).tolist()
        points, known = [traces[row] for row in rows], [stated[row][:, :2] for row in rows]
        if rings:
            points, known = [continued(trace) for trace in points], [continued(angles) for angles in known]
        chosen = start_torsions(np.stack(points), residue, np.stack(known), loose[rows])
        for row, found in zip(rows, chosen, strict=True):
            torsions = once_around(found) if rings else found
            starts[row] = np.concatenate([torsions, np.full((len(torsions), 1), math.pi)], axis=-1)
    return starts


def _padded(arrays: Sequence[np.ndarray], length: int, filler: float) -> np.ndarray:
    """Stack arrays (L, ...) of different L to (B, length, ...) float64."""
    stacked = np.full((len(arrays), length, *arrays[0].shape[1:]), filler)
    for row, array in enumerate(arrays):
        stacked[row, : len(array)] = array
    return stacked
