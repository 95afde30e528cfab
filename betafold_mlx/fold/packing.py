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
from functools import cache, partial
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.fold.sterics import Contacts, clashes, contact_energy, contacts_of, squared_distances
from betafold_mlx.geometry.disulfides import GRID, IDEAL, place_sulfurs
from betafold_mlx.geometry.side_chains import SLOTS, SideChains, build_side_chains, side_chains
from betafold_mlx.geometry.torsions import backbone_torsions
from betafold_mlx.model.rotamers import Rotamers
from betafold_mlx.peptide.leaving import open_end
from betafold_mlx.peptide.residue_table import RESIDUES
from betafold_mlx.peptide.sequence import ALPHABET, THREE_LETTER, Peptide

DRAWN, KEPT = 12, 5
"""Rotamers of a residue that are tried against the backbone, and those of them that are tried against each other."""

NETWORK = 1.5
"""Weight of the network's log density against contacts; chosen on validation structures."""

TOGETHER = 32
"""Structures packed at a time: more of them fall out of the processor's cache."""

TEMPERATURES = (4.0, 2.0, 1.0, 0.7, 0.5)
"""Of the mean field, in nats, one after another."""

SWEEPS = 4
STEPS, RATE = 16, 0.06
"""Steps of the minimisation and the first one's size, radians."""

UNKNOWN = np.pi
"""Radians: a chi angle that no rotamer tells, as of a long modified side chain: extended."""


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
    """

    atoms: np.ndarray
    chi: np.ndarray
    clashes: list[list[tuple[str, str]]]


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
        problem = _problem(*places, chains, contacts, known, chi.shape[-1])
        candidates = _candidates(peptides, rows[some], log_weights[some], rotamers, problem, chi.shape[-1])
        found = _minimise(problem, candidates, _choose(problem, candidates))
        built = np.array(problem.build(found))
        there = np.array(chains.mask)[rows[some]]
        atoms[some] = np.where(there[..., None], built, np.nan)
        for row, pairs in zip(rows[some], clashes(built, problem.contacts), strict=True):
            name = partial(_name_of, peptides[row].residues, chains.names[row], built.shape[2])
            overlaps.append([(name(a), name(b)) for a, b, _ in pairs])
        own = _chi_counts(peptides, length)[rows[some]]
        chi[some] = np.where(np.arange(chi.shape[-1]) < own[..., None], np.array(found), np.nan)
    return Packed(atoms, chi, overlaps)


def clashing_atoms(peptide: Peptide, atoms: np.ndarray) -> list[list[tuple[str, str]]]:
    """Return for each of n structures (n, L, 5 + A, 3) the atoms that clash, as `Packed.clashes` has them."""
    count = len(atoms)
    chains = side_chains([peptide.residues] * count, [open_end(peptide)] * count, len(peptide))
    pairs = clashes(np.nan_to_num(atoms), contacts_of([peptide] * count, chains))
    name = partial(_name_of, peptide.residues, chains.names[0], atoms.shape[2])
    return [[(name(a), name(b)) for a, b, _ in each] for each in pairs]


def _name_of(codes: Sequence[str], names: Sequence[Sequence[str]], slots: int, place: int) -> str:
    residue, slot = divmod(place, slots)
    return f"{codes[residue]} {residue + 1} {names[residue][slot]}"


class _Problem(NamedTuple):
    """Structures whose side chains are wanted; arrays begin with (n,)."""

    backbone: mx.array
    phi: mx.array
    chains: SideChains
    contacts: Contacts
    fixed: np.ndarray  # (n, L, K) bool, which chi angles are given
    given: np.ndarray  # (n, L, K) radians

    def build(self, chi: mx.array) -> mx.array:
        """(n, L, K) radians -> (n, L, 5 + A, 3) Angstrom."""
        return build_side_chains(self.backbone, chi, self.chains, self.phi)


class _Candidates(NamedTuple):
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

    def take(self, which: mx.array) -> _Candidates:
        """Return those of an index (n, L, R')."""
        chi, stiffness = (
            mx.take_along_axis(array, which[..., None], axis=2) for array in (self.chi, self.stiffness)
        )
        return _Candidates(chi, stiffness, mx.take_along_axis(self.cost, which, axis=2))


def _problem(
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
) -> _Problem:
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
    return _Problem(
        mx.nan_to_num(points), torsions[..., 0], chains.take(index), contacts.take(index), fixed, given
    )


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


def _candidates(
    peptides: Sequence[Peptide],
    rows: np.ndarray,
    log_weights: np.ndarray,
    rotamers: Rotamers,
    problem: _Problem,
    columns: int,
) -> _Candidates:
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
    return _Candidates(*(mx.array(array.astype(np.float32)) for array in (chi, stiffness, cost)))


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


def _chi_counts(peptides: Sequence[Peptide], length: int) -> np.ndarray:
    """Return how many chi angles residues have (B, L): one where its sign tells the pucker of a ring."""
    counts = np.zeros((len(peptides), length), dtype=int)
    for row, peptide in enumerate(peptides):
        kinds = [RESIDUES[code] for code in peptide.residues]
        counts[row, : len(peptide)] = [len(kind.chi) or len(kind.placements) - 1 for kind in kinds]
    return counts


def _choose(problem: _Problem, candidates: _Candidates) -> _Candidates:
    """Return the rotamer (R = 1) of each residue that fits the others best."""
    count, length, drawn, _ = candidates.chi.shape
    contacts = problem.contacts
    atoms = contacts.side.shape[1]
    if not atoms:
        return candidates.take(mx.zeros((count, length, 1), dtype=mx.int32))
    of_residue = (contacts.residue[..., None] == mx.arange(length)) & (contacts.near > 0).any(
        -1, keepdims=True
    )
    of_residue = of_residue.astype(mx.float32)  # (n, Q, L)

    # Against the backbone.
    places = [_side_atoms(problem, candidates.chi[:, :, k]) for k in range(drawn)]  # of (n, Q, 3)
    backbone = problem.backbone.flatten(1, 2)
    is_backbone = contacts.all % problem.chains.mask.shape[-1] < SLOTS  # (n, P)
    at = contacts.all // problem.chains.mask.shape[-1] * SLOTS + contacts.all % problem.chains.mask.shape[-1]
    points = mx.take_along_axis(backbone, mx.where(is_backbone, at, 0)[..., None], axis=1)  # (n, P, 3)
    near = contacts.near * is_backbone[:, None]
    alone = mx.stack(
        [
            (contact_energy(squared_distances(place, points), near).sum(-1)[:, None] @ of_residue)[:, 0]
            for place in places
        ],
        axis=-1,
    )  # (n, L, R)
    alone = alone + candidates.cost
    kept = mx.argsort(alone, axis=-1)[..., :KEPT]
    candidates = candidates.take(kept)
    alone = mx.take_along_axis(alone, kept, axis=-1)
    kept_number = alone.shape[-1]

    # Against each other.
    sides = mx.stack([_side_atoms(problem, candidates.chi[:, :, k]) for k in range(kept_number)], axis=1)
    flat = sides.flatten(1, 2)  # (n, R Q, 3)
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


def _side_atoms(problem: _Problem, chi: mx.array) -> mx.array:
    """Return the atoms of side chains (n, Q, 3) at chi (n, L, K)."""
    return mx.take_along_axis(problem.build(chi).flatten(1, 2), problem.contacts.side[..., None], axis=1)


def _place_of(contacts: Contacts) -> mx.array:
    """Return where the atoms of side chains (n, Q) stand among all (n, P)."""
    return (contacts.all[:, None, :] == contacts.side[..., None]).argmax(axis=-1)


def _minimise(problem: _Problem, candidates: _Candidates, chosen: _Candidates) -> mx.array:
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
