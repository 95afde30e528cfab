"""Initial torsions of the fit: the (phi, psi) states that agree best with a C-alpha trace.

With planar trans peptides the angle CA(i-1)-CA(i)-CA(i+1) is a function of phi and psi of residue i, and the dihedral
of four C-alphas one of phi and psi of the two in the middle. Both are tabulated for the common cells of the
Ramachandran plot from chains of ideal geometry; the most probable sequence of states given the trace is found exactly
by dynamic programming (A. J. Viterbi, IEEE Trans. Inf. Theory 13, 260 (1967)). A dihedral has a hand, so a mirrored
trace gets other states, of L residues still.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.geometry import build_backbone
from betafold_mlx.peptide.sequence import residue_ids
from betafold_mlx.structure.secondary import trace_angles, trace_dihedrals

CELL = 20  # degrees
MIN_COUNT = 2  # per 10,000: cells with fewer residues are no states
PLACEHOLDERS = {"ALA": "A", "GLY": "G"}
"""Residues that a generated backbone may be written with, and their letters, in the order of ``torsion_counts.txt``."""
ANGLE_WIDTH, DIHEDRAL_WIDTH = math.radians(6.0), math.radians(20.0)
"""Deviations that cost half a nat; they come from the width of a cell, and from traces that are not ideal."""
SHARE_WEIGHT = 0.5  # weight of the share of residues in a state


class TorsionStates(NamedTuple):
    """The K states of a residue: cells of the Ramachandran plot."""

    centres: np.ndarray  # (K, 2) phi, psi in radians
    log_share: np.ndarray  # (K,) log of the share of residues in each


@functools.cache
def torsion_states(residue: str) -> TorsionStates:
    """Return the states of ``ALA`` (any residue but Gly and Pro) or ``GLY``."""
    every = np.loadtxt(Path(__file__).with_name("torsion_counts.txt")).reshape(2, 360 // CELL, -1)
    counts = every[list(PLACEHOLDERS).index(residue)]
    phi, psi = np.nonzero(counts >= MIN_COUNT)
    centres = np.radians(np.stack([phi, psi], axis=-1) * CELL + CELL / 2 - 180.0)
    return TorsionStates(centres, np.log(counts[phi, psi] / counts.sum()))


def start_torsions(trace: np.ndarray, residue: str, known: np.ndarray, looseness: float) -> np.ndarray:
    """Return the (phi, psi) of the states that agree best with a trace (L, 3), Angstrom, L >= 3: (L, 2) radians.

    `known` are phi and psi (L, 2) that a residue must be near, NaN where nothing is known; `looseness` is a factor on
    the widths, for a noisy trace. Phi of the first and psi of the last residue mean nothing.
    """
    states = torsion_states(residue)
    angle, dihedral = _angle_tables(residue)
    trace, factor = trace.astype(np.float32), np.float32(looseness)
    cost = np.tile(-SHARE_WEIGHT * states.log_share.astype(np.float32), (len(trace), 1))  # (L, K)
    bend = (trace_angles(trace)[:, None] - angle) / (np.float32(ANGLE_WIDTH) * factor)
    cost[1:-1] += 0.5 * np.square(bend)
    turn = (1.0 - np.cos(known[:, None] - states.centres)) / ANGLE_WIDTH**2  # (L, K, 2)
    cost += np.where(np.isnan(turn), 0.0, turn).sum(axis=-1).astype(np.float32)
    width = np.float32(DIHEDRAL_WIDTH) * factor
    return states.centres[_cheapest(cost, trace_dihedrals(trace), dihedral, width)]


@functools.cache
def _angle_tables(residue: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the angle (K,) of each state, and the dihedral (K, K) of each two in a row, float32 radians."""
    centres = torsion_states(residue).centres
    count = len(centres)
    first, second = np.divmod(np.arange(count * count), count)
    torsions = np.full((count * count, 4, 3), math.pi)
    torsions[:, 1, :2], torsions[:, 2, :2] = centres[first], centres[second]
    residues = mx.array(np.tile(residue_ids(4 * PLACEHOLDERS[residue]), (count * count, 1)))
    ca = np.array(build_backbone(mx.array(torsions.astype(np.float32)), residues))[:, :, 1].astype(np.float64)
    angle = trace_angles(ca)[::count, 0]  # at the second residue: by the first of the two states
    dihedral = trace_dihedrals(ca)[:, 0].reshape(count, count)
    return angle.astype(np.float32), dihedral.astype(np.float32)


def _cheapest(cost: np.ndarray, wanted: np.ndarray, dihedral: np.ndarray, width: np.float32) -> np.ndarray:
    """Return the states (L,) of the lowest total cost, from (L, K) of each alone and the wanted dihedrals (L - 3,)."""
    length = len(cost)
    total = cost[0]  # (K,): the ends are in no dihedral, so each takes its own cheapest state
    came = []
    for place in range(1, length):
        path = np.broadcast_to(total[:, None], dihedral.shape)  # (K, K), from the state before to this one
        if 2 <= place <= length - 2:
            away = wanted[place - 2] - dihedral
            away -= np.float32(2 * math.pi) * np.round(away / np.float32(2 * math.pi))
            path = path + 0.5 * np.square(away / width)
        best = path.argmin(axis=0)  # (K,)
        came.append(best)
        total = path[best, np.arange(len(best))] + cost[place]
    states = [int(total.argmin())]
    for best in reversed(came):
        states.append(int(best[states[-1]]))
    return np.array(states[::-1])
