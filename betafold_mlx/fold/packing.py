"""Side chains of finished backbones: rotamers chosen together, then chi angles minimised.

1. Each residue gets its most probable rotamers from the side-chain network, as coordinates.
2. Energies: a rotamer by itself (minus its log weight, contacts with the backbone), and two rotamers of two residues.
3. Mean field (P. Koehl and M. Delarue, J. Mol. Biol. 239, 249 (1994)), cooled, then each residue in turn takes the best
   rotamer given the others', until nothing changes. The exact optimum (dead-end elimination) would be one of energies
   that are rough themselves, and its time depends on the peptide.
4. All chi angles together give way to what overlaps, held by their rotamers.

Disulfides are placed before, where the bond is good and the network finds chi1 likely
(`betafold_mlx.geometry.disulfides`). So are the side chains of other stated bonds (`betafold_mlx.fold.linking`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.fold.rotamer_candidates import Candidates, Problem, candidates_of, chi_counts, problem_of
from betafold_mlx.fold.sterics import (
    CLASH,
    atoms_of,
    clashes,
    contact_energy,
    contact_slope,
    contacts_of,
    near_pairs,
    squared_distances,
)
from betafold_mlx.geometry.side_chains import (
    SLOTS,
    Frames,
    place_groups,
    place_side_chains,
    side_chains,
    slot_names,
    turn_gradient,
)
from betafold_mlx.model.rotamers import Rotamers
from betafold_mlx.peptide.leaving import open_end
from betafold_mlx.peptide.residue_table import ACETYL, CAP_MARK, RESIDUES
from betafold_mlx.peptide.sequence import Peptide

KEPT = 5
"""Rotamers of a residue, the best ones on the backbone, that are tried against each other."""

TOGETHER = 64
"""Structures packed at a time: more of them fall out of the processor's cache."""

TEMPERATURES = (4.0, 2.0, 1.0, 0.7, 0.5)
"""Of the mean field, in nats, one after another."""

SWEEPS = 4
STEPS, RATE = 8, 0.06
"""Steps of the minimisation and the first one's size, radians."""


class Packed(NamedTuple):
    """Side chains of n structures.

    Attributes
    ----------
    atoms : numpy.ndarray
        (n, L, 5 + A, 3) float32 Angstrom, NaN where there is no atom.
    chi : numpy.ndarray
        (n, L, K) float32 radians, as the types of residues count them, and chi1 of Pro; NaN where there is none.
    clashes : list of list of (str, str)
        For each structure the atoms that clash, as ``TRP 6 CZ2``, one or both of a side chain.
    crowded : numpy.ndarray
        (n,) bool, whether any two atoms clash, be they of the backbone.
    """

    atoms: np.ndarray
    chi: np.ndarray
    clashes: list[list[tuple[str, str]]]
    crowded: np.ndarray


def pack(
    peptides: Sequence[Peptide],
    rows: np.ndarray,
    backbone: np.ndarray,
    log_weights: np.ndarray,
    rotamers: Rotamers,
    closed: bool = True,
    given: np.ndarray | None = None,
) -> Packed:
    """Place the side chains of structures.

    Parameters
    ----------
    peptides : sequence of Peptide
        B peptides.
    rows : numpy.ndarray
        (n,) int, the peptide of each structure.
    backbone : numpy.ndarray
        (n, L, 5, 3) Angstrom: N, CA, C, O, CB; L residues, padded.
    log_weights : numpy.ndarray
        (n, L, K) of the rotamers of each residue's parent; of D residues those of the mirror image.
    rotamers : Rotamers
        The rotamers.
    closed : bool
        The backbones were bent for ideal disulfides (`betafold_mlx.fold.closing`): they are to be so, whatever chi1 is
        the more probable.
    given : numpy.ndarray, optional
        (n, L, K) radians: chi angles that have no choice, NaN of the others.
    """
    length = backbone.shape[1]
    chains = side_chains(
        [peptide.residues for peptide in peptides],
        list(map(open_end, peptides)),
        length,
    )
    atoms = np.full((len(rows), length, chains.mask.shape[-1], 3), np.nan, dtype=np.float32)
    most = max((len(RESIDUES[code].chi) for peptide in peptides for code in peptide.residues), default=0)
    chi = np.full((len(rows), length, max(most, 1)), np.nan, dtype=np.float32)
    contacts = contacts_of(peptides, chains)
    overlaps: list[list[tuple[str, str]]] = []
    crowded = np.zeros(len(rows), dtype=bool)
    for first in range(0, len(rows), TOGETHER):
        some = slice(first, first + TOGETHER)
        places = peptides, rows[some], backbone[some], log_weights[some], rotamers, closed
        known = None if given is None else given[some]
        problem = problem_of(*places, chains, contacts, known, chi.shape[-1])
        candidates = candidates_of(peptides, rows[some], log_weights[some], rotamers, problem, chi.shape[-1])
        found = _minimise(problem, _choose(problem, candidates))
        built = np.array(problem.build(found))
        there = np.array(chains.mask)[rows[some]]
        atoms[some] = np.where(there[..., None], built, np.nan)
        pairs = clashes(built, problem.contacts)
        crowded[some] = list(map(bool, pairs))
        overlaps += [
            _named(peptides[row].residues, chains.names[row], built.shape[2], mine)
            for row, mine in zip(rows[some], pairs, strict=True)
        ]
        own = chi_counts(peptides, length)[rows[some]]
        chi[some] = np.where(np.arange(chi.shape[-1]) < own[..., None], np.array(found), np.nan)
    return Packed(atoms, chi, overlaps, crowded)


def clashing_atoms(peptide: Peptide, atoms: np.ndarray) -> list[list[tuple[str, str]]]:
    """Return for each of n structures (n, L, 5 + A, 3) the atoms that clash, as `Packed.clashes` has them."""
    names = slot_names(peptide.residues, open_end(peptide))
    table = atoms_of(peptide, names)
    limit = np.triu(np.where(table.bonded, 0.0, table.apart - CLASH), 1)
    flat, slots = table.residue * atoms.shape[2] + table.slot, atoms.shape[2]
    found = []
    for points in atoms[:, table.residue, table.slot].astype(np.float64):
        pairs = flat[np.stack(near_pairs(points, limit), axis=-1)].tolist()
        found.append(_named(peptide.residues, names, slots, pairs))
    return found


def _named(
    codes: Sequence[str], names: Sequence[Sequence[str]], slots: int, pairs: Sequence[tuple[int, int]]
) -> list[tuple[str, str]]:
    """Return pairs of atoms by name, those of the backbone left out."""

    def name(place: int) -> str:
        residue, slot = divmod(place, slots)
        atom = names[residue][slot]
        if atom.endswith(CAP_MARK):
            return f"{ACETYL[:-1]} 0 {atom.removesuffix(CAP_MARK)}"
        return f"{codes[residue].removeprefix(ACETYL)} {residue + 1} {atom}"

    return [(name(a), name(b)) for a, b in pairs if a % slots >= SLOTS]


def _choose(problem: Problem, candidates: Candidates) -> Candidates:
    """Return the rotamer (R = 1) of each residue that fits the others best."""
    count, length = candidates.chi.shape[:2]
    contacts = problem.contacts
    sides = contacts.side.shape[1]
    if not sides:
        return candidates.take(mx.zeros((count, length, 1), dtype=mx.int32))
    of_residue = (contacts.residue[:, None] == mx.arange(length)[:, None]).astype(mx.float32)  # (n, L, Q)

    # Against the backbone.
    places = problem.side_atoms(candidates.chi)  # (n, R, Q, 3)
    back = problem.backbone_atoms()[:, None]
    touching = contact_energy(squared_distances(places, back), contacts.inverse[:, None, :sides, sides:])
    alone = of_residue @ touching.sum(-1).swapaxes(1, 2) + candidates.cost  # (n, L, R)
    kept = mx.argsort(alone, axis=-1)[..., :KEPT]
    candidates = candidates.take(kept)
    alone = mx.take_along_axis(alone, kept, axis=-1)

    # Against each other.
    places = problem.side_atoms(candidates.chi)
    inverse = mx.contiguous(contacts.inverse[:, :sides, :sides])
    of_atom = of_residue.swapaxes(1, 2)
    blocks = {}
    for first, second in combinations_with_replacement(range(kept.shape[-1]), 2):
        energy = contact_energy(squared_distances(places[:, first], places[:, second]), inverse)
        blocks[first, second] = of_residue @ energy @ of_atom  # (n, L, L)
        blocks[second, first] = blocks[first, second].swapaxes(1, 2)
    every = range(kept.shape[-1])
    rows = [mx.stack([blocks[first, second] for second in every], axis=-1) for first in every]
    pair = np.array(mx.stack(rows, axis=2))  # (n, L, R, L', R')
    own = np.array(alone)

    chance = _softmax(-own / TEMPERATURES[0])
    for temperature in TEMPERATURES:
        for _ in range(2):
            field = np.einsum("nlrms,nms->nlr", pair, chance, optimize=True)
            chance = 0.5 * chance + 0.5 * _softmax(-(own + field) / temperature)
    choice = chance.argmax(axis=-1)
    every_row = np.arange(count)
    for _ in range(SWEEPS):
        before = choice.copy()
        for residue in range(length):
            others = np.take_along_axis(pair[:, residue], choice[:, None, :, None], axis=3)[..., 0].sum(
                axis=-1
            )
            choice[every_row, residue] = (own[:, residue] + others).argmin(axis=-1)
        if (choice == before).all():
            break
    return candidates.take(mx.array(choice[..., None].astype(np.int32)))


def _minimise(problem: Problem, chosen: Candidates) -> mx.array:
    """Return chi (n, L, K) that give way to overlaps, held near the chosen rotamers."""
    centre, stiffness = (array[:, :, 0].transpose(2, 1, 0) for array in (chosen.chi, chosen.stiffness))
    contacts, chains = problem.contacts, problem.chains
    sides = contacts.side.shape[1]
    if not sides:
        return chosen.chi[:, :, 0]
    free = mx.array(np.where(problem.fixed, 0.0, 1.0).astype(np.float32)).transpose(2, 1, 0)
    stiffness = mx.minimum(stiffness, 50.0)
    back, inverse = problem.backbone_atoms(), contacts.inverse[:, :sides]

    def build(chi: mx.array) -> tuple[Frames, mx.array, mx.array]:
        frames = place_groups(problem.base, chi, chains)
        atoms = place_side_chains(frames, chi, chains)
        return frames, atoms, contacts.take_sides(atoms)

    def energy(chi: mx.array) -> mx.array:
        side = build(chi)[2]
        pairs = contact_energy(squared_distances(side, mx.concatenate([side, back], axis=1)), inverse)
        touching = pairs[..., :sides].sum(axis=(1, 2)) / 2 + pairs[..., sides:].sum(axis=(1, 2))
        return touching + (stiffness * (1.0 - mx.cos(chi - centre))).sum(axis=(0, 1))

    chi, first, second = centre, mx.zeros_like(centre), mx.zeros_like(centre)
    for step in range(1, STEPS + 1):
        frames, atoms, side = build(chi)
        slope = contact_slope(side, mx.concatenate([side, back], axis=1), inverse)
        by_chi = turn_gradient(frames, chains, atoms, contacts.in_slots(slope))
        by_chi = mx.pad(by_chi, [(0, len(chi) - len(by_chi)), (0, 0), (0, 0)])
        gradient = free * (by_chi + stiffness * mx.sin(chi - centre))
        first, second = 0.8 * first + 0.2 * gradient, 0.9 * second + 0.1 * mx.square(gradient)
        move = (first / (1 - 0.8**step)) / (mx.sqrt(second / (1 - 0.9**step)) + 0.3)
        chi = chi - RATE * (1.0 - (step - 1) / STEPS) * move
        mx.async_eval(chi, first, second)
    better = energy(chi) < energy(centre)
    return mx.where(better, chi, centre).transpose(2, 1, 0)


def _softmax(values: np.ndarray) -> np.ndarray:
    shifted = np.exp(values - values.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)
