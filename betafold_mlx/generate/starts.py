"""The torsions that a C-alpha trace all but says: where its fit starts.

With planar trans peptides the angle CA(i-1)-CA(i)-CA(i+1) is a function of phi and psi of residue i, and the dihedral
of four C-alphas one of phi and psi of the two in the middle. Both are tabulated for the states of
`betafold_mlx.generate.regions` from chains of ideal geometry; the sequence of states that agrees best with the trace,
and is not improbable, is found exactly by dynamic programming (A. J. Viterbi, IEEE Trans. Inf. Theory 13, 260
(1967)). A dihedral has a hand, so a mirrored trace gets other states, of L residues still.
"""

from __future__ import annotations

import functools
import math

import mlx.core as mx
import numpy as np

from betafold_mlx.generate.regions import PLACEHOLDERS, regions_of
from betafold_mlx.geometry import build_backbone
from betafold_mlx.peptide.sequence import residue_ids

ANGLE_WIDTH, DIHEDRAL_WIDTH = math.radians(6.0), math.radians(20.0)
"""Deviations that cost half a nat: what a cell of 20 degrees, and a trace that is not ideal, bring with them."""

SHARE_WEIGHT = 0.5
"""What the share of residues in a state counts, beside the trace."""

_CHUNK = 64  # traces at a time: bounds the memory of K x K tables


def trace_angles(traces: np.ndarray) -> np.ndarray:
    """Return the angles at the inner C-alphas of traces (..., L, 3): (..., L - 2) radians."""
    back, forth = traces[..., :-2, :] - traces[..., 1:-1, :], traces[..., 2:, :] - traces[..., 1:-1, :]
    sine = np.linalg.norm(np.cross(back, forth), axis=-1)
    return np.arctan2(sine, (back * forth).sum(axis=-1))


def trace_dihedrals(traces: np.ndarray) -> np.ndarray:
    """Return the dihedrals of four C-alphas in a row of traces (..., L, 3): (..., L - 3) radians."""
    bonds = np.diff(traces, axis=-2)
    b1, b2, b3 = bonds[..., :-2, :], bonds[..., 1:-1, :], bonds[..., 2:, :]
    normal = np.cross(b2, b3)
    y = np.linalg.norm(b2, axis=-1) * (b1 * normal).sum(axis=-1)
    return np.arctan2(y, (np.cross(b1, b2) * normal).sum(axis=-1))


def start_torsions(
    traces: np.ndarray,
    residue: str,
    known: np.ndarray | None = None,
    looseness: np.ndarray | None = None,
) -> np.ndarray:
    """Return the (phi, psi) of the states that agree best with traces.

    Parameters
    ----------
    traces : numpy.ndarray
        (B, L, 3) C-alpha positions, Angstrom.
    residue : str
        ``ALA`` or ``GLY``.
    known : numpy.ndarray, optional
        (B, L, 2) phi, psi in radians that a residue must be near, NaN where nothing is known.
    looseness : numpy.ndarray, optional
        (B,) what the widths are multiplied by, for traces that are not to be taken by the word; 1 if not given.

    Returns
    -------
    numpy.ndarray
        (B, L, 2) radians. phi of the first and psi of the last residue are those of the state, and mean nothing.
    """
    states = regions_of(residue)
    angle, dihedral = _tables(residue)
    found = []
    loose = np.ones(len(traces)) if looseness is None else looseness
    for first in range(0, len(traces), _CHUNK):
        wider = loose[first : first + _CHUNK, None, None].astype(np.float32)
        chunk = traces[first : first + _CHUNK].astype(np.float32)
        own = np.broadcast_to(
            -SHARE_WEIGHT * states.log_share.astype(np.float32), (*chunk.shape[:2], len(angle))
        ).copy()
        if chunk.shape[1] > 2:
            bend = (trace_angles(chunk)[..., None] - angle) / (np.float32(ANGLE_WIDTH) * wider)
            own[:, 1:-1] += 0.5 * np.square(bend)
        if known is not None:
            stated = known[first : first + _CHUNK, :, None, :]
            turn = (1.0 - np.cos(stated - states.centres)) / ANGLE_WIDTH**2
            own += np.where(np.isnan(turn), 0.0, turn).sum(axis=-1).astype(np.float32)
        wanted = trace_dihedrals(chunk) if chunk.shape[1] > 3 else np.zeros((len(chunk), 0), np.float32)
        found.append(_cheapest(own, wanted, dihedral, np.float32(DIHEDRAL_WIDTH) * wider))
    return states.centres[np.concatenate(found)]


@functools.cache
def _tables(residue: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the angle (K,) of each state, and the dihedral (K, K) of each two in a row, float32 radians."""
    centres = regions_of(residue).centres
    count = len(centres)
    first, second = np.divmod(np.arange(count * count), count)
    torsions = np.full((count * count, 4, 3), math.pi)
    torsions[:, 1, :2], torsions[:, 2, :2] = centres[first], centres[second]
    residues = mx.array(np.tile(residue_ids(4 * PLACEHOLDERS[residue]), (count * count, 1)))
    ca = np.array(build_backbone(mx.array(torsions.astype(np.float32)), residues))[:, :, 1].astype(np.float64)
    angle = trace_angles(ca)[::count, 0]  # at the second residue: by the first of the two states
    dihedral = trace_dihedrals(ca)[:, 0].reshape(count, count)
    return angle.astype(np.float32), dihedral.astype(np.float32)


def _cheapest(own: np.ndarray, wanted: np.ndarray, dihedral: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Return the states (B, L) of the lowest cost, by their own costs (B, L, K) and dihedrals (B, L - 3).

    The dihedrals that are wanted count by their widths (B, 1, 1).
    """
    batch, length, _ = own.shape
    total = own[:, 0]  # (B, K): the ends are in no dihedral, so each takes its own cheapest state
    came = []
    for place in range(1, length):
        inner = 2 <= place <= length - 2
        if inner:
            away = wanted[:, place - 2, None, None] - dihedral  # (B, K, K), from the state before to this one
            away -= np.float32(2 * math.pi) * np.round(away / np.float32(2 * math.pi))
            cost = total[:, :, None] + 0.5 * np.square(away / width)
        else:
            cost = np.broadcast_to(total[:, :, None], (*total.shape, total.shape[1]))
        best = cost.argmin(axis=1)  # (B, K)
        came.append(best)
        total = np.take_along_axis(cost, best[:, None], axis=1)[:, 0] + own[:, place]
    states = np.zeros((batch, length), dtype=np.int64)
    states[:, -1] = total.argmin(axis=1)
    for place in range(length - 1, 0, -1):
        states[:, place - 1] = came[place - 1][np.arange(batch), states[:, place]]
    return states
