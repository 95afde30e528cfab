"""Side chains from chi angles, with the ideal bond lengths and angles of the residue table.

A side chain is a tree of rigid groups, each turned by one chi angle against the one before it (Jumper et al. 2021,
suppl. 1.8.4). Group 0 is the backbone's frame; the frame of group k is that of its parent, moved to the end of its bond
and turned about the bond by chi k. Atoms stand still in the frame of their group. So a batch of structures takes a few
operations a chi angle, whatever its residues.

Two more angles are treated as chi: phi, which turns what N carries (a methyl), and the torsion of O, opposite to
which lies OXT.

Inside this file arrays are components first, then residues, then peptides, as in `betafold_mlx.geometry.nerf`:
rotations (3, 3, L, B) and points (3, A, L, B). Several chi angles of each residue (R of them, rotamers that are tried)
stand before these two.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.geometry.frames import from_three_points
from betafold_mlx.geometry.nerf import cross_first, multiply_first
from betafold_mlx.geometry.rigid_groups import RigidGroups, rigid_groups
from betafold_mlx.geometry.torsions import dihedral
from betafold_mlx.peptide.residue_table import BACKBONE, RESIDUES

FIRST_PHI = np.radians(-65.0)
"""Radians: phi of a first residue, which has none, for what its N carries."""

SLOTS = 5
"""Places of the backbone's atoms, N, CA, C, O, CB, before those of the side chain; one of them may be empty (Gly)."""


class SideChains(NamedTuple):
    """Side chains of B peptides, padded to L residues and A atoms beyond those of the backbone.

    Group 0 is the backbone's frame, group k = 1, ..., K is turned by chi k, the last two by phi and by O's torsion.

    Attributes
    ----------
    names : list of list of tuple of str
        Names of the atoms of each residue in their slots: N, CA, C, O, CB (empty where there is none), then others.
    mask : mx.array
        (B, L, 5 + A) bool, the atoms that there are.
    parents : list of dict of int to (mx.array or None)
        For each chi angle the groups that it is turned against, and of which residues, (L, B) 0 or 1; None where one
        group does for all.
    rotations, origins : mx.array
        (K + 2, 3, 3, L, B), (K + 2, 3, L, B): each group's frame in that of its parent, where its angle is zero.
    own : mx.array
        (K + 3, A, L, B) 1 where an atom is of a group, else 0.
    local : mx.array
        (2, 3, A, L, B) Angstrom, places in the groups' frames, for chi1 above and below zero.
    """

    names: list[list[tuple[str, ...]]]
    mask: mx.array
    parents: list[dict[int, mx.array | None]]
    rotations: mx.array
    origins: mx.array
    own: mx.array
    local: mx.array

    def take(self, rows: mx.array) -> SideChains:
        """Return the side chains of some of the peptides; a row may be taken more than once."""
        parents = [
            {group: None if where is None else where[..., rows] for group, where in each.items()}
            for each in self.parents
        ]
        rest = (array[..., rows] for array in (self.rotations, self.origins, self.own, self.local))
        numbers: list[int] = np.array(rows).tolist()
        return SideChains([self.names[row] for row in numbers], self.mask[rows], parents, *rest)


class Base(NamedTuple):
    """What side chains stand on: frames of residues (3, 3, L, B) and (3, L, B), phi and the torsion of O (L, B)."""

    rotation: mx.array
    origin: mx.array
    phi: mx.array
    o_torsion: mx.array


class Frames(NamedTuple):
    """Frames of the groups of side chains: the backbone's, those that chi angles turn, and the last two.

    Attributes
    ----------
    rotations : list of mx.array
        (3, 3, ..., L, B); x goes along the bond that is turned.
    origins : list of mx.array
        (3, ..., L, B) Angstrom, the end of that bond.
    """

    rotations: list[mx.array]
    origins: list[mx.array]


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
    kind = np.zeros((len(peptides), length), dtype=int)
    numbers: dict[tuple[str, bool], int] = {}
    for row, (codes, end) in enumerate(zip(peptides, open_end, strict=True)):
        for place, code in enumerate(codes):
            key = code, end and place == len(codes) - 1
            kind[row, place] = numbers.setdefault(key, len(numbers))
    groups = [rigid_groups(*key) for key in numbers]
    angles = max(sum(turn.startswith("chi") for turn in each.turns) for each in groups)
    atoms = max(len(each.group) for each in groups)
    table = [_padded(each, angles, atoms) for each in groups]
    parent, rotations, origins, own, local = (
        np.stack(column)[kind.T] for column in zip(*table, strict=True)
    )  # (L, B, ...)
    there = np.zeros((len(numbers), SLOTS + atoms), dtype=bool)
    for number, ((code, _), each) in enumerate(zip(numbers, groups, strict=True)):
        there[number, : SLOTS + len(each.group)] = True
        there[number, SLOTS - 1] = bool(RESIDUES[code].cb)
    counts = np.array(list(map(len, peptides)))
    mask = there[kind] & (np.arange(length) < counts[:, None])[..., None]
    parents: list[dict[int, mx.array | None]] = []
    for k in range(angles):
        found = np.unique(parent[..., k]).tolist()
        where = [mx.array((parent[..., k] == group).astype(np.float32)) for group in found]
        parents.append(dict(zip(found, where if len(found) > 1 else [None], strict=True)))
    names = [slot_names(codes, end) for codes, end in zip(peptides, open_end, strict=True)]
    arrays = (np.moveaxis(array, (0, 1), (-2, -1)) for array in (rotations, origins, own, local))
    arrays = (mx.array(np.ascontiguousarray(array, dtype=np.float32)) for array in arrays)
    return SideChains(names, mx.array(mask), parents, *arrays)


def _padded(groups: RigidGroups, angles: int, atoms: int) -> tuple[np.ndarray, ...]:
    """Return what `SideChains` has of a residue type with K angles and A atoms.

    parents (K,), rotations (K + 2, 3, 3), origins (K + 2, 3), own (K + 3, A), local (2, 3, A).
    """
    parent = np.arange(angles)
    rotations, origins = np.tile(np.eye(3), (angles + 2, 1, 1)), np.zeros((angles + 2, 3))
    own, local = np.zeros((angles + 3, atoms)), np.zeros((2, 3, atoms))
    number = [
        {"phi": angles, "o": angles + 1}.get(turn) or int(turn.removeprefix("chi")) - 1
        for turn in groups.turns
    ]
    place = [-1, *number]
    for k, at in enumerate(number):
        rotations[at], origins[at] = groups.rotations[k], groups.origins[k]
        if at < angles:
            parent[at] = place[groups.parents[k]] + 1
    for atom, group in enumerate(groups.group):
        own[place[group] + 1, atom] = 1.0
    local[..., : len(groups.group)] = groups.local.swapaxes(1, 2)
    return parent, rotations, origins, own, local


def slot_names(codes: Sequence[str], open_end: bool) -> list[tuple[str, ...]]:
    """Return the names of the atoms of a peptide's residues in their slots; empty for a CB that is not there."""
    last = len(codes) - 1
    return [_slots_of(code, open_end and place == last) for place, code in enumerate(codes)]


@cache
def _slots_of(code: str, open_end: bool) -> tuple[str, ...]:
    kind = RESIDUES[code]
    return (*BACKBONE, kind.cb, *(row.atom for row in kind.placements[0]), *(["OXT"] if open_end else []))


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
    turned = chi.transpose(2, 1, 0)
    frames = place_groups(base_of(backbone, phi), turned, chains)
    atoms = place_side_chains(frames, turned, chains)
    return mx.concatenate([backbone, atoms.transpose(3, 2, 1, 0)], axis=2)


def base_of(backbone: mx.array, phi: mx.array) -> Base:
    """Return what side chains stand on; the arguments are those of `build_side_chains`."""
    rotation, origin = from_three_points(*(backbone[:, :, atom] for atom in range(3)))
    o_torsion = dihedral(*(backbone[:, :, atom] for atom in range(4)))
    arrays = (rotation.transpose(2, 3, 1, 0), origin.transpose(2, 1, 0), phi.T, o_torsion.T)
    return Base(*map(mx.contiguous, arrays))


def place_groups(base: Base, chi: mx.array, chains: SideChains) -> Frames:
    """Return the frames of all groups of side chains with chi angles (K, ..., L, B)."""
    several = (1,) * (chi.ndim - 3)

    def spread(array: mx.array) -> mx.array:
        return array.reshape(*array.shape[:-2], *several, *array.shape[-2:])

    frames = Frames([spread(base.rotation)], [spread(base.origin)])
    angles = len(chains.parents)
    turns = [chi[k] if k < len(chi) else None for k in range(angles)] + [base.phi, base.o_torsion]
    local_rotations, local_origins = spread(chains.rotations), spread(chains.origins)
    for k, angle in enumerate(turns):
        parents: dict[int, mx.array | None] = chains.parents[k] if k < angles else {0: None}
        outer, start = (_chosen(arrays, parents) for arrays in frames)
        moved = multiply_first(outer, local_rotations[k])
        if angle is not None:
            c, s = mx.cos(angle), mx.sin(angle)
            y, z = moved[:, 1], moved[:, 2]
            y, z = y * c + z * s, z * c - y * s
            moved = mx.stack([mx.broadcast_to(moved[:, 0], y.shape), y, z], axis=1)
        frames.rotations.append(moved)
        frames.origins.append(multiply_first(outer, local_origins[k][:, None])[:, 0] + start)
    return frames


def _chosen(arrays: list[mx.array], parents: dict[int, mx.array | None]) -> mx.array:
    """Return for each residue the array of its own parent."""
    if len(parents) == 1:
        return arrays[next(iter(parents))]
    return sum(where * arrays[group] for group, where in parents.items())  # type: ignore


def place_side_chains(frames: Frames, chi: mx.array, chains: SideChains) -> mx.array:
    """Return the atoms of side chains in their frames, (3, A, ..., L, B) Angstrom; chi (K, ..., L, B)."""
    several = (1,) * (chi.ndim - 3)

    def spread(array: mx.array) -> mx.array:
        """(..., L, B) with as many axes before the last two as chi has."""
        return array.reshape(*array.shape[:-2], *several, *array.shape[-2:])

    local = spread(chains.local[0])
    other = spread(chains.local[1]) - local
    if len(chi):
        local = local + (chi[0] <= 0) * other
    own = spread(chains.own)
    placed = mx.zeros((1,))
    for group, (rotation, origin) in enumerate(zip(*frames, strict=True)):
        # Every group's atoms as if all were its own: A is small.
        x, y, z = (rotation[:, axis, None] * local[axis] for axis in range(3))
        placed = placed + own[group] * (x + y + z + origin[:, None])
    return placed


def turn_gradient(frames: Frames, chains: SideChains, atoms: mx.array, slope: mx.array) -> mx.array:
    """Return the gradient with respect to chi angles from that with respect to atoms, by torques.

    A chi angle turns its group and those turned against it about their bond, of direction u and end p; with g the
    gradient at their atoms x the derivative is u . sum (x - p) x g (`betafold_mlx.geometry.nerf.torsion_gradient`).

    Parameters
    ----------
    frames : Frames
        From `place_groups`.
    chains : SideChains
        The side chains.
    atoms, slope : mx.array
        (3, A, L, B) Angstrom, and the gradient at each atom; zero where there is none.

    Returns
    -------
    mx.array
        (K, L, B).
    """
    both = mx.concatenate([slope, cross_first(atoms, slope)])  # (6, A, L, B)
    angles = len(chains.parents)
    loads = [(chains.own[group] * both).sum(axis=1) for group in range(1, angles + 1)]  # (6, L, B)
    slopes = []
    for k in range(angles - 1, -1, -1):
        axis, end = frames.rotations[k + 1][:, 0], frames.origins[k + 1]
        slopes.append((axis * (loads[k][3:] - cross_first(end, loads[k][:3]))).sum(axis=0))
        for group, where in chains.parents[k].items():
            if group:
                loads[group - 1] = loads[group - 1] + (loads[k] if where is None else where * loads[k])
    return mx.stack(slopes[::-1]) if slopes else mx.zeros((0, *atoms.shape[2:]))
