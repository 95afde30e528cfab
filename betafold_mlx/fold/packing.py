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
from functools import partial
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.fold.rotamer_candidates import Candidates, Problem, candidates_of, chi_counts, problem_of
from betafold_mlx.fold.sterics import Contacts, clashes, contact_energy, contacts_of, squared_distances
from betafold_mlx.geometry.side_chains import SLOTS, SideChains, build_side_chains, side_chains
from betafold_mlx.model.rotamers import Rotamers
from betafold_mlx.peptide.leaving import open_end
from betafold_mlx.peptide.residue_table import ACETYL, CAP_MARK, RESIDUES
from betafold_mlx.peptide.sequence import Peptide

KEPT = 5
"""Rotamers of a residue, the best ones on the backbone, that are tried against each other."""

TOGETHER = 32
"""Structures packed at a time: more of them fall out of the processor's cache."""

TEMPERATURES = (4.0, 2.0, 1.0, 0.7, 0.5)
"""Of the mean field, in nats, one after another."""

SWEEPS = 4
STEPS, RATE = 16, 0.06
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
        For each structure the atoms that clash, as ``TRP 6 CZ2``.
    chains : SideChains
        Of the peptides.
    """

    atoms: np.ndarray
    chi: np.ndarray
    clashes: list[list[tuple[str, str]]]
    chains: SideChains


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
    for first in range(0, len(rows), TOGETHER):
        some = slice(first, first + TOGETHER)
        places = peptides, rows[some], backbone[some], log_weights[some], rotamers, closed
        known = None if given is None else given[some]
        problem = problem_of(*places, chains, contacts, known, chi.shape[-1])
        candidates = candidates_of(peptides, rows[some], log_weights[some], rotamers, problem, chi.shape[-1])
        found = _minimise(problem, candidates, _choose(problem, candidates))
        built = np.array(problem.build(found))
        there = np.array(chains.mask)[rows[some]]
        atoms[some] = np.where(there[..., None], built, np.nan)
        for row, pairs in zip(rows[some], clashes(built, problem.contacts), strict=True):
            name = partial(_name_of, peptides[row].residues, chains.names[row], built.shape[2])
            overlaps.append([(name(a), name(b)) for a, b, _ in pairs])
        own = chi_counts(peptides, length)[rows[some]]
        chi[some] = np.where(np.arange(chi.shape[-1]) < own[..., None], np.array(found), np.nan)
    return Packed(atoms, chi, overlaps, chains)


def clashing_atoms(peptide: Peptide, atoms: np.ndarray) -> list[list[tuple[str, str]]]:
    """Return for each of n structures (n, L, 5 + A, 3) the atoms that clash, as `Packed.clashes` has them."""
    count = len(atoms)
    chains = side_chains([peptide.residues] * count, [open_end(peptide)] * count, len(peptide))
    pairs = clashes(np.nan_to_num(atoms), contacts_of([peptide] * count, chains))
    name = partial(_name_of, peptide.residues, chains.names[0], atoms.shape[2])
    return [[(name(a), name(b)) for a, b, _ in each] for each in pairs]


def _name_of(codes: Sequence[str], names: Sequence[Sequence[str]], slots: int, place: int) -> str:
    residue, slot = divmod(place, slots)
    atom = names[residue][slot]
    if atom.endswith(CAP_MARK):
        return f"{ACETYL[:-1]} 0 {atom.removesuffix(CAP_MARK)}"
    return f"{codes[residue].removeprefix(ACETYL)} {residue + 1} {atom}"


def _choose(problem: Problem, candidates: Candidates) -> Candidates:
    """Return the rotamer (R = 1) of each residue that fits the others best."""
    count, length = candidates.chi.shape[:2]
    contacts = problem.contacts
    atoms = contacts.side.shape[1]
    if not atoms:
        return candidates.take(mx.zeros((count, length, 1), dtype=mx.int32))
    of_residue = (contacts.residue[..., None] == mx.arange(length)) & (contacts.near > 0).any(
        -1, keepdims=True
    )
    of_residue = of_residue.astype(mx.float32)  # (n, Q, L)

    # Against the backbone.
    places = _side_atoms(problem, candidates.chi)  # (n, R, Q, 3)
    backbone = problem.backbone.flatten(1, 2)
    is_backbone = contacts.all % problem.chains.mask.shape[-1] < SLOTS  # (n, P)
    at = contacts.all // problem.chains.mask.shape[-1] * SLOTS + contacts.all % problem.chains.mask.shape[-1]
    points = mx.take_along_axis(backbone, mx.where(is_backbone, at, 0)[..., None], axis=1)  # (n, P, 3)
    near = contacts.near * is_backbone[:, None]
    touching = contact_energy(squared_distances(places, points[:, None]), near[:, None]).sum(-1)  # (n, R, Q)
    alone = (touching @ of_residue).swapaxes(1, 2) + candidates.cost  # (n, L, R)
    kept = mx.argsort(alone, axis=-1)[..., :KEPT]
    candidates = candidates.take(kept)
    alone = mx.take_along_axis(alone, kept, axis=-1)
    kept_number = alone.shape[-1]

    # Against each other.
    flat = _side_atoms(problem, candidates.chi).flatten(1, 2)  # (n, R Q, 3)
    order = _place_of(contacts)
    between = mx.take_along_axis(contacts.near, order[:, None], axis=2)  # (n, Q, Q)
    energy = contact_energy(
        squared_distances(flat, flat).reshape(count, kept_number, atoms, kept_number, atoms),
        between[:, None, :, None],
    )
    energy = energy @ of_residue[:, None, None]  # (n, R, Q, R, L)
    energy = energy.transpose(0, 1, 3, 4, 2) @ of_residue[:, None, None]  # (n, R, R, L', L)
    pair = np.array(energy.transpose(0, 4, 1, 3, 2))  # (n, L, R, L', R')
    own = np.array(alone)

    chance = _softmax(-own / TEMPERATURES[0])
    for temperature in TEMPERATURES:
        for _ in range(2):
            field = np.einsum("nlrms,nms->nlr", pair, chance, optimize=True)
            chance = 0.5 * chance + 0.5 * _softmax(-(own + field) / temperature)
    choice = chance.argmax(axis=-1)
    every = np.arange(count)
    for _ in range(SWEEPS):
        before = choice.copy()
        for residue in range(length):
            others = np.take_along_axis(pair[:, residue], choice[:, None, :, None], axis=3)[..., 0].sum(
                axis=-1
            )
            choice[every, residue] = (own[:, residue] + others).argmin(axis=-1)
        if (choice == before).all():
            break
    return candidates.take(mx.array(choice[..., None].astype(np.int32)))


def _side_atoms(problem: Problem, chi: mx.array) -> mx.array:
    """Return the atoms of side chains (n, R, Q, 3) at R chi of each residue, (n, L, R, K)."""
    count, length, several, columns = chi.shape
    each = mx.repeat(mx.arange(count), several)
    built = build_side_chains(
        problem.backbone[each],
        chi.swapaxes(1, 2).reshape(count * several, length, columns),
        problem.chains.take(each),
        problem.phi[each],
    )
    found = mx.take_along_axis(built.flatten(1, 2), problem.contacts.side[each][..., None], axis=1)
    return found.reshape(count, several, -1, 3)


def _place_of(contacts: Contacts) -> mx.array:
    """Return where the atoms of side chains (n, Q) stand among all (n, P)."""
    return (contacts.all[:, None, :] == contacts.side[..., None]).argmax(axis=-1)


def _minimise(problem: Problem, candidates: Candidates, chosen: Candidates) -> mx.array:
    """Return chi (n, L, K) that give way to overlaps, held near the chosen rotamers."""
    centre, stiffness = chosen.chi[:, :, 0], chosen.stiffness[:, :, 0]
    contacts = problem.contacts
    if not contacts.side.shape[1]:
        return centre
    free = mx.where(mx.array(problem.fixed), 0.0, 1.0)
    own = _place_of(contacts)
    between = mx.zeros(contacts.all.shape)
    between = mx.put_along_axis(
        between, own, mx.ones(own.shape), axis=1
    )  # 1 where an atom of all is of a side chain
    near = contacts.near

    def energy(chi: mx.array) -> mx.array:
        atoms = problem.build(chi).flatten(1, 2)
        side = mx.take_along_axis(atoms, contacts.side[..., None], axis=1)
        every = mx.take_along_axis(atoms, contacts.all[..., None], axis=1)
        touching = contact_energy(squared_distances(side, every), near)
        touching = (touching * (1.0 - 0.5 * between[:, None])).sum(axis=(1, 2))  # two side chains count twice
        return touching + (mx.minimum(stiffness, 50.0) * (1.0 - mx.cos(chi - centre))).sum(axis=(1, 2))

    slope = mx.value_and_grad(lambda chi: energy(chi).sum())
    chi, first, second = centre, mx.zeros_like(centre), mx.zeros_like(centre)
    for step in range(1, STEPS + 1):
        gradient = slope(chi)[1] * free
        first, second = 0.8 * first + 0.2 * gradient, 0.9 * second + 0.1 * mx.square(gradient)
        move = (first / (1 - 0.8**step)) / (mx.sqrt(second / (1 - 0.9**step)) + 0.3)
        chi = chi - RATE * (1.0 - (step - 1) / STEPS) * move
        mx.async_eval(chi, first, second)
    better = energy(chi) < energy(centre)
    return mx.where(better[:, None, None], chi, centre)


def _softmax(values: np.ndarray) -> np.ndarray:
    shifted = np.exp(values - values.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)
