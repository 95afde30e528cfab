"""The rigid groups of a residue type: which atoms move together, and where they stand, from the residue table."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from betafold_mlx.geometry import ideal
from betafold_mlx.peptide.residue_table import BACKBONE, RESIDUES, Placement
from betafold_mlx.peptide.sequence import ALPHABET

OXT_LENGTH, OXT_ANGLE = 1.249, np.radians(117.0)
"""Angstrom, C-OXT of a carboxylate (Engh and Huber 1991, C-OM); CA-C-OXT that goes with the backbone's CA-C-O."""


class RigidGroups(NamedTuple):
    """Rigid groups of a residue type: T turns (chi angles, then those of phi and O), A atoms beyond the backbone.

    Attributes
    ----------
    turns : list of str
        What turns each group: ``chi1``, ..., ``phi``, ``o``.
    parents : list of int
        The group that each is turned against.
    rotations, origins : numpy.ndarray
        (T, 3, 3), (T, 3): each group's frame in that of its parent, where its angle is zero.
    group : numpy.ndarray
        (A,) int, the group of each atom.
    local : numpy.ndarray
        (2, A, 3) Angstrom, its place in the group's frame, for chi1 above and below zero.
    """

    turns: list[str]
    parents: list[int]
    rotations: np.ndarray
    origins: np.ndarray
    group: np.ndarray
    local: np.ndarray


@cache
def rigid_groups(code: str, open_end: bool) -> RigidGroups:
    """Return the rigid groups of a residue type, with OXT where it ends an open chain."""
    kind = RESIDUES[code]
    sets = [list(rows) for rows in kind.placements]
    if open_end:
        for rows in sets:
            rows.append(Placement("OXT", "N", "CA", "C", OXT_LENGTH, OXT_ANGLE, np.pi, "o"))
    turns = list(dict.fromkeys(row.turn for row in sets[0] if row.turn))
    number = {turn: k for k, turn in enumerate(turns, start=1)}
    at = [_ideal_atoms(kind.parent, kind.cb, rows) for rows in sets]
    group_of = dict.fromkeys((*BACKBONE, kind.cb), 0)
    parents, frames = [0] * len(turns), {0: (np.eye(3), np.zeros(3))}
    for row in sets[0]:
        own = number.get(row.turn, group_of[row.parent])
        group_of[row.atom] = own
        if own not in frames:
            parents[own - 1] = group_of[row.parent]
            frames[own] = _frame(*(at[0][name] for name in (row.great, row.grand, row.parent)))
    rotations, origins = np.zeros((len(turns), 3, 3)), np.zeros((len(turns), 3))
    for k, parent in enumerate(parents):
        (outer, start), (inner, end) = frames[parent], frames[k + 1]
        rotations[k], origins[k] = outer.T @ inner, outer.T @ (end - start)
    names = [row.atom for row in sets[0]]
    local = np.zeros((2, len(names), 3))
    for pucker in range(2):
        places = at[min(pucker, len(at) - 1)]
        for k, name in enumerate(names):
            rotation, origin = frames[group_of[name]]
            local[pucker, k] = rotation.T @ (places[name] - origin)
    groups = np.array([group_of[name] for name in names], dtype=np.int32)
    if kind.hand == "D":  # the mirror image; chi1 above zero is then below
        mirror = np.diag([1.0, 1.0, -1.0])
        rotations, origins = mirror @ rotations @ mirror, origins @ mirror
        local = (local @ mirror)[::-1]
    return RigidGroups(turns, parents, rotations, origins, groups, local)


def _ideal_atoms(parent: str, cb: str, rows: Sequence[Placement]) -> dict[str, np.ndarray]:
    """Return the atoms of a residue in the frame of its backbone where chi angles, phi and O's torsion are zero."""
    residue = ALPHABET.index(parent)
    angle = ideal.N_CA_C[residue]
    c = np.array([ideal.CA_C[residue], 0.0, 0.0])
    n = ideal.N_CA[residue] * np.array([np.cos(angle), np.sin(angle), 0.0])
    x = np.cos(ideal.C_CA_CB[residue])
    y = (np.cos(ideal.N_CA_CB[residue]) - x * np.cos(angle)) / np.sin(angle)
    at = {"N": n, "CA": np.zeros(3), "C": c, "O": c + np.array([1.0, 1.0, 0.0])}
    if cb:
        # L residues have CB at negative z (`betafold_mlx.geometry.nerf`).
        at[cb] = ideal.CA_CB[residue] * np.array([x, y, -np.sqrt(1.0 - x**2 - y**2)])
    for row in rows:
        axes, origin = _frame(*(at[name] for name in (row.great, row.grand, row.parent)))
        turned = np.array([np.cos(row.torsion), np.sin(row.torsion)]) * np.sin(row.angle)
        at[row.atom] = origin + row.length * axes @ np.array([-np.cos(row.angle), *turned])
    return at


def _frame(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the frame at c: x along b-c, y towards a torsion a-b-c-d of zero, z a quarter turn on."""
    x = (c - b) / np.linalg.norm(c - b)
    y = (a - b) - ((a - b) @ x) * x
    y /= np.linalg.norm(y)
    return np.stack([x, y, np.cross(x, y)], axis=1), c
