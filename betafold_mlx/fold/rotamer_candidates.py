"""Rotamers that a packing chooses from: of each residue the most probable ones, and those that stated bonds leave.

A modified residue takes the rotamers of its parent as far as its side chain is like the parent's; a D residue their
mirror images.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.fold.sterics import Contacts
from betafold_mlx.geometry.disulfides import GRID, IDEAL, place_sulfurs
from betafold_mlx.geometry.side_chains import (
    Base,
    SideChains,
    base_of,
    place_groups,
    place_side_chains,
)
from betafold_mlx.geometry.torsions import backbone_torsions
from betafold_mlx.model.rotamers import Rotamers
from betafold_mlx.peptide.residue_table import RESIDUES
from betafold_mlx.peptide.sequence import ALPHABET, THREE_LETTER, Peptide

DRAWN = 12
"""Rotamers of a residue that are tried."""

NETWORK = 1.5
"""Weight of the network's log density against contacts; chosen on validation structures."""

UNKNOWN = np.pi
"""Radians: a chi angle that no rotamer tells, as of a long modified side chain: extended."""


class Problem(NamedTuple):
    """Structures whose side chains are wanted; arrays begin with (n,)."""

    backbone: mx.array  # (n, L, 5, 3)
    base: Base
    chains: SideChains
    contacts: Contacts
    fixed: np.ndarray  # (n, L, K) bool, which chi angles are given
    given: np.ndarray  # (n, L, K) radians

    def build(self, chi: mx.array) -> mx.array:
        """(n, L, K) radians -> (n, L, 5 + A, 3) Angstrom."""
        turned = chi.transpose(2, 1, 0)
        atoms = place_side_chains(place_groups(self.base, turned, self.chains), turned, self.chains)
        return mx.concatenate([self.backbone, atoms.transpose(3, 2, 1, 0)], axis=2)

    def side_atoms(self, chi: mx.array) -> mx.array:
        """Return the atoms of side chains (n, R, Q, 3) at R chi of each residue, (n, L, R, K)."""
        turned = chi.transpose(3, 2, 1, 0)  # (K, R, L, n)
        atoms = place_side_chains(place_groups(self.base, turned, self.chains), turned, self.chains)
        return self.contacts.take_sides(atoms)

    def backbone_atoms(self) -> mx.array:
        """Return the atoms of the backbone (n, P - Q, 3)."""
        return mx.take_along_axis(self.backbone.flatten(1, 2), self.contacts.backbone[..., None], axis=1)


class Candidates(NamedTuple):
    """R rotamers of each residue.

    Attributes
    ----------
    chi : mx.array
        (n, L, R, K) radians.
    stiffness : mx.array
        (n, L, R, K) concentrations; 0 of an angle that no rotamer tells.
    cost : mx.array
        (n, L, R) minus the log weights.
    """

    chi: mx.array
    stiffness: mx.array
    cost: mx.array

    def take(self, which: mx.array) -> Candidates:
        """Return those of an index (n, L, R')."""
        chi, stiffness = (
            mx.take_along_axis(array, which[..., None], axis=2) for array in (self.chi, self.stiffness)
        )
        return Candidates(chi, stiffness, mx.take_along_axis(self.cost, which, axis=2))


def problem_of(
    peptides: Sequence[Peptide],
    rows: np.ndarray,
    backbone: np.ndarray,
    log_weights: np.ndarray,
    rotamers: Rotamers,
    closed: bool,
    chains: SideChains,
    contacts: Contacts,
    angles: np.ndarray | None,
    columns: int,
) -> Problem:
    """Return the problem of n structures: the arguments are those of `betafold_mlx.fold.packing.pack`, of these alone.

    `angles` (n, L, K) are chi angles that are given, NaN of the others; `columns` is the K of what comes out.
    """
    index, points = mx.array(rows), mx.array(backbone)
    torsions, _ = backbone_torsions(mx.nan_to_num(points))
    fixed = np.zeros((*backbone.shape[:2], columns), dtype=bool)
    given = np.zeros(fixed.shape, dtype=np.float32)
    for number, row in enumerate(rows):
        peptide = peptides[row]
        if peptide.disulfides:
            i, j = np.array(peptide.disulfides).T - 1
            ends = np.stack([i, j], axis=1)
            prior = _sulfur_prior(log_weights[number][ends], peptide.d_residues[ends], rotamers)
            pair = backbone[number, i], backbone[number, j]
            chi1, misfit = place_sulfurs(*pair, prior=prior)
            if closed:
                nearest, least = place_sulfurs(*pair)
                opened = (np.abs(misfit) > IDEAL).any(axis=-1) & (np.abs(least) <= IDEAL).all(axis=-1)
                chi1 = np.where(opened[:, None], nearest, chi1)
            given[number, i, 0], given[number, j, 0] = chi1.T
            fixed[number, i, 0] = fixed[number, j, 0] = True
    if angles is not None:
        angles = np.pad(angles, ((0, 0), (0, 0), (0, columns)), constant_values=np.nan)[..., :columns]
        fixed |= np.isfinite(angles)
        given = np.where(np.isfinite(angles), angles, given)
    points = mx.nan_to_num(points)
    base = base_of(points, torsions[..., 0])
    return Problem(points, base, chains.take(index), contacts.take(index), fixed, given)


def _sulfur_prior(log_weights: np.ndarray, mirrored: np.ndarray, rotamers: Rotamers) -> np.ndarray:
    """Return the log density of chi1 (..., 2, 36) at `GRID` of pairs of cysteines with log weights (..., 2, K)."""
    chi = np.where(mirrored[..., None], -GRID, GRID)[..., None] * np.eye(1, 4)  # (..., 2, 36, 4)
    density = rotamers.log_density(
        mx.array(log_weights)[..., None, :],
        mx.full(chi.shape[:-1], ALPHABET.index("C")),
        mx.array(chi.astype(np.float32)),
        mx.broadcast_to(mx.arange(4) < 1, chi.shape),
    )
    return np.array(density)


def candidates_of(
    peptides: Sequence[Peptide],
    rows: np.ndarray,
    log_weights: np.ndarray,
    rotamers: Rotamers,
    problem: Problem,
    columns: int,
) -> Candidates:
    """Return the most probable rotamers of each residue; one of a residue with a chi angle that is given."""
    residues = np.zeros(log_weights.shape[:2], dtype=np.int64)
    told = np.zeros((*residues.shape, columns), dtype=bool)
    default = np.zeros((*residues.shape, columns), dtype=np.float32)
    hand = np.ones(residues.shape, dtype=np.float32)
    for number, row in enumerate(rows):
        peptide = peptides[row]
        residues[number, : len(peptide)] = peptide.ids
        hand[number, : len(peptide)] -= 2 * peptide.d_residues
        for place, code in enumerate(peptide.residues):
            mine, others = _told(code)
            told[number, place, : len(mine)], default[number, place, : len(others)] = mine, others
    best = np.argsort(-log_weights, axis=-1, kind="stable")[..., :DRAWN]  # (n, L, R)
    cost = -NETWORK * np.take_along_axis(log_weights, best, axis=-1)
    at = residues[..., None], best
    padding = [(0, 0)] * 3 + [(0, max(columns - 4, 0))]
    centre, concentration = (
        np.pad(np.array(array)[at], padding)[..., :columns]
        for array in (rotamers.centre, rotamers.concentration)
    )
    chi = np.where(told[..., None, :], centre * hand[..., None, None], default[..., None, :])
    stiffness = np.where(told[..., None, :], concentration, 0.0)
    chi = np.where(problem.fixed[..., None, :], problem.given[..., None, :], chi)
    stiffness = np.where(problem.fixed[..., None, :], 1e4, stiffness)
    cost[..., 1:] = np.where(problem.fixed.any(axis=-1, keepdims=True), 1e4, cost[..., 1:])
    return Candidates(*(mx.array(array.astype(np.float32)) for array in (chi, stiffness, cost)))


@cache
def _told(code: str) -> tuple[list[bool], list[float]]:
    """Return which chi angles of a residue its parent's rotamers tell, and values for the others, radians."""
    kind = RESIDUES[code]
    if kind.parent == "P":
        return [True], [0.0]
    parent = RESIDUES[THREE_LETTER[kind.parent]]
    told: list[bool] = []
    values: list[float] = []
    for number, chi in enumerate(kind.chi):
        flat = _flat(code, chi[2])
        like = number < len(parent.chi) and flat == _flat(parent.code, parent.chi[number][2])
        told.append(like and all(told))
        values.append(np.pi / 2 if flat else UNKNOWN)
    return told, values


def _flat(code: str, atom: str) -> bool:
    return any(order == 2 and atom in bond for *bond, order in RESIDUES[code].bonds)


def chi_counts(peptides: Sequence[Peptide], length: int) -> np.ndarray:
    """Return how many chi angles residues have (B, L): one where its sign tells the pucker of a ring."""
    counts = np.zeros((len(peptides), length), dtype=int)
    for row, peptide in enumerate(peptides):
        kinds = [RESIDUES[code] for code in peptide.residues]
        counts[row, : len(peptide)] = [len(kind.chi) or len(kind.placements) - 1 for kind in kinds]
    return counts
