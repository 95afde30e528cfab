"""Side chains from chi angles, with the ideal bond lengths and angles of the residue table.

A side chain is a tree of rigid groups, each turned by one chi angle against the one before it (Jumper et al. 2021,
suppl. 1.8.4). Group 0 is the backbone's frame; the frame of group k is that of its parent, moved to the end of its bond
and turned about the bond by chi k. Atoms stand still in the frame of their group. So a batch of structures takes a few
operations a chi angle, whatever its residues.

Two more angles are treated as chi: phi, which turns what N carries (a methyl), and the torsion of O, opposite to
which lies OXT.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.geometry import ideal
from betafold_mlx.geometry.frames import apply, compose, from_three_points
from betafold_mlx.geometry.torsions import dihedral
from betafold_mlx.peptide.residue_table import BACKBONE, RESIDUES, Placement
from betafold_mlx.peptide.sequence import ALPHABET

OXT_LENGTH, OXT_ANGLE = 1.249, np.radians(117.0)
"""Angstrom, C-OXT of a carboxylate (Engh and Huber 1991, C-OM); CA-C-OXT that goes with the backbone's CA-C-O."""

FIRST_PHI = np.radians(-65.0)
"""Radians: phi of a first residue, which has none, for what its N carries."""

SLOTS = 5
"""Places of the backbone's atoms, N, CA, C, O, CB, before those of the side chain; one of them may be empty (Gly)."""


class _Groups(NamedTuple):
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


class SideChains(NamedTuple):
    """Side chains of B peptides, padded to L residues, T turns, and A atoms beyond those of the backbone.

    Attributes
    ----------
    names : list of list of tuple of str
        Names of the atoms of each residue in their slots: N, CA, C, O, CB (empty where there is none), then others.
    mask : mx.array
        (B, L, 5 + A) bool, the atoms that there are.
    turns : mx.array
        (B, L, T) int: 0, 1, ... the chi angle that turns each group; `PHI` and `O` the other two.
    parents : mx.array
        (B, L, T) int, 0 the backbone's frame.
    rotations, origins : mx.array
        (B, L, T, 3, 3), (B, L, T, 3).
    group : mx.array
        (B, L, A) int.
    local : mx.array
        (2, B, L, A, 3) Angstrom.
    """

    names: list[list[tuple[str, ...]]]
    mask: mx.array
    turns: mx.array
    parents: mx.array
    rotations: mx.array
    origins: mx.array
    group: mx.array
    local: mx.array

    def take(self, rows: mx.array) -> SideChains:
        """Return the side chains of some of the peptides; a row may be taken more than once."""
        arrays = (self.mask, self.turns, self.parents, self.rotations, self.origins, self.group)
        taken = (array[rows] for array in arrays)
        return SideChains([self.names[row] for row in rows.tolist()], *taken, self.local[:, rows])  # type: ignore


PHI, O = 98, 99  # noqa: E741
"""Turns that are no chi angles."""


def side_chains(peptides: Sequence[Sequence[str]], open_end: Sequence[bool], length: int) -> SideChains:
    """Return the side chains of peptides, to be built by `build_side_chains`.

    Parameters
    ----------
    peptides : sequence of sequence of str
        B peptides: the codes of their residues (`betafold_mlx.peptide.residue_table.RESIDUES`).
    open_end : sequence of bool
        Which of them ends in a carboxylate, and so has an OXT.
    length : int
        L, to which they are padded.
    """
    rows = [
        [_groups(code, end and place == len(codes) - 1) for place, code in enumerate(codes)]
        for codes, end in zip(peptides, open_end, strict=True)
    ]
    flat = [groups for row in rows for groups in row]
    turns = max((len(groups.turns) for groups in flat), default=0)
    atoms = max((len(groups.group) for groups in flat), default=0)
    batch = len(rows)
    arrays = {
        "mask": np.zeros((batch, length, SLOTS + atoms), dtype=bool),
        "turns": np.zeros((batch, length, turns), dtype=np.int32),
        "parents": np.zeros((batch, length, turns), dtype=np.int32),
        "rotations": np.tile(np.eye(3, dtype=np.float32), (batch, length, turns, 1, 1)),
        "origins": np.zeros((batch, length, turns, 3), dtype=np.float32),
        "group": np.zeros((batch, length, atoms), dtype=np.int32),
        "local": np.zeros((2, batch, length, atoms, 3), dtype=np.float32),
    }
    names = []
    for row, (codes, residues, end) in enumerate(zip(peptides, rows, open_end, strict=True)):
        names.append(slot_names(codes, end))
        for place, (code, groups) in enumerate(zip(codes, residues, strict=True)):
            t, a = len(groups.turns), len(groups.group)
            at = row, place
            arrays["mask"][at][: SLOTS + a] = True
            arrays["mask"][at][4] = bool(RESIDUES[code].cb)
            arrays["turns"][at][:t] = [_number(turn) for turn in groups.turns]
            arrays["parents"][at][:t] = groups.parents
            arrays["rotations"][at][:t] = groups.rotations
            arrays["origins"][at][:t] = groups.origins
            arrays["group"][at][:a] = groups.group
            arrays["local"][:, row, place, :a] = groups.local
    return SideChains(names, **{name: mx.array(array) for name, array in arrays.items()})


def slot_names(codes: Sequence[str], open_end: bool) -> list[tuple[str, ...]]:
    """Return the names of the atoms of a peptide's residues in their slots; empty for a CB that is not there."""
    names = []
    for place, code in enumerate(codes):
        kind = RESIDUES[code]
        end = ("OXT",) if open_end and place == len(codes) - 1 else ()
        names.append((*BACKBONE, kind.cb, *(row.atom for row in kind.placements[0]), *end))
    return names


def build_side_chains(backbone: mx.array, chi: mx.array, chains: SideChains, phi: mx.array) -> mx.array:
    """Return all heavy atoms of structures; differentiable in all its arrays.

    Parameters
    ----------
    backbone : mx.array
        (B, L, 5, 3) Angstrom: N, CA, C, O, CB, as `betafold_mlx.geometry.build_backbone` makes them.
    chi : mx.array
        (B, L, K) radians, as the types of residues count them; K may be larger or smaller than any of them has. Of a
        ring of two puckers, the sign of the first says which.
    chains : SideChains
        The side chains.
    phi : mx.array
        (B, L) radians, for what N carries.

    Returns
    -------
    mx.array
        (B, L, 5 + A, 3) float32 Angstrom in the order of `SideChains.names`; where there is no atom they mean nothing.
    """
    frame = from_three_points(*(backbone[:, :, atom] for atom in range(3)))
    rotations, origins = [frame[0]], [frame[1]]
    o_torsion = dihedral(*(backbone[:, :, atom] for atom in range(4)))
    columns = [chi[..., k] for k in range(chi.shape[-1])]
    for number in range(chains.turns.shape[-1]):
        which, parent = chains.turns[..., number], chains.parents[..., number]
        angle = mx.where(which == PHI, phi, mx.where(which == O, o_torsion, 0.0))
        for k, column in enumerate(columns):
            angle = mx.where(which == k, column, angle)
        outer = _pick(rotations, parent), _pick(origins, parent)
        moved, origin = compose(outer, (chains.rotations[..., number, :, :], chains.origins[..., number, :]))
        x, y, z = moved[..., 0], moved[..., 1], moved[..., 2]
        c, s = mx.cos(angle)[..., None], mx.sin(angle)[..., None]
        rotations.append(mx.stack([x, y * c + z * s, z * c - y * s], axis=-1))
        origins.append(origin)
    if not chains.group.shape[-1]:
        return backbone
    local = mx.where((chi[..., 0] > 0)[..., None, None], chains.local[0], chains.local[1])
    # Every group's atoms as if all were its own, then each atom from its group: A is small.
    placed = mx.zeros(local.shape)
    for number, (rotation, origin) in enumerate(zip(rotations, origins, strict=True)):
        own = (chains.group == number)[..., None]
        placed = mx.where(own, apply((rotation, origin), local), placed)
    return mx.concatenate([backbone, placed], axis=2)


def _pick(arrays: list[mx.array], index: mx.array) -> mx.array:
    """Return of a list of arrays (B, L, ...) for each residue the one of its index (B, L)."""
    chosen = arrays[0]
    for number, array in enumerate(arrays[1:], start=1):
        own = (index == number).reshape(*index.shape, *(1,) * (array.ndim - index.ndim))
        chosen = mx.where(own, array, chosen)
    return chosen


@cache
def _groups(code: str, open_end: bool) -> _Groups:
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
    return _Groups(turns, parents, rotations, origins, groups, local)


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


def _number(turn: str) -> int:
    return {"phi": PHI, "o": O}.get(turn) or int(turn.removeprefix("chi")) - 1
