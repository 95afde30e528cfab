"""Closing of stated bonds of side chains and ends: torsions and chi angles together, until the bonds are exact.

As in `betafold_mlx.fold.closing`, by damped Gauss-Newton steps, with all stated bonds of a peptide as the terms of
`betafold_mlx.geometry.links`. A side chain reaches its place by many ways: each structure starts from several rotamers,
makes room first, and the way that leaves most room and bends the backbone least is taken.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.fold.closing import DAMPING, MAX_STEP
from betafold_mlx.fold.foreign import is_mirrored
from betafold_mlx.fold.restraints import Bonds
from betafold_mlx.fold.sterics import near_along_bonds
from betafold_mlx.geometry import build_backbone
from betafold_mlx.geometry.links import (
    Atom,
    Term,
    flat_slopes,
    link_terms,
    linked_atoms,
    linked_residues,
    misfits,
)
from betafold_mlx.geometry.spread import mirror_image
from betafold_mlx.peptide.leaving import leaving_atoms
from betafold_mlx.peptide.residue_table import BACKBONE, RESIDUES
from betafold_mlx.peptide.sequence import Peptide

DRAWN, STARTS = 64, 8
"""Rotamers that are tried on the backbone as it is, and those of them that are closed."""

ROOM_ROUNDS, ROUNDS = 12, 30
"""Rounds in which atoms that are too near count beside the bonds, and in which the bonds count alone."""
ROOM_DAMPING = 0.3

EXACT = 1e-3
"""Of the tolerances: the largest misfit of a closed structure."""

STILL = 1e-4
"""Radians: where no angle turns by more, terms that do not agree with each other are met as well as can be."""

EASE, OMEGA_EASE = 0.4, 0.06
"""How readily phi and psi turn, and omega, as against chi angles."""

ROTAMERS = np.radians((-60.0, 180.0, 60.0))
NEAR, NEAR_POLAR = 3.2, 2.7
"""Angstrom: atoms of bonded side chains, and of N and O two, have no room nearer to others."""

CROWDED, TURNED = 2.0, 1.0
"""Cost of an Angstrom^2 of that, and of a radian^2 by which closing has turned the backbone."""


class _Angles(NamedTuple):
    """The angles that close the bonds of a peptide, and the U atoms that they move.

    Attributes
    ----------
    atoms : list of Atom
        The backbone, and the atoms of residues with stated bonds that stay.
    chi : list of (int, int)
        Residue, from 0, and number of each chi angle.
    axes : list of (Atom, Atom)
        The bond that each chi angle is about.
    behind : numpy.ndarray
        (U, 3 L + X): 1 where an angle moves an atom; phi, psi and omega of L residues first.
    ease : numpy.ndarray
        (3 L + X,) how readily each turns.
    limit : numpy.ndarray
        (U, U) Angstrom, how near two atoms may come: 0 within three bonds.
    """

    atoms: list[Atom]
    chi: list[tuple[int, int]]
    axes: list[tuple[Atom, Atom]]
    behind: np.ndarray
    ease: np.ndarray
    limit: np.ndarray


def close_links(
    peptide: Peptide, torsions: np.ndarray, bonds: Bonds
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Close all stated bonds of structures of a peptide that has others than a ring and disulfides.

    Parameters
    ----------
    peptide : Peptide
        The peptide.
    torsions : numpy.ndarray
        (n, L, 3) radians, L padded, of the peptide as the network reads it.
    bonds : Bonds
        Of the n structures.

    Returns
    -------
    torsions : numpy.ndarray
        (n, L, 3) float32 radians.
    chi : numpy.ndarray
        (n, L, K) float32 radians of the bonded residues, of the peptide as it is; NaN elsewhere.
    misfit : numpy.ndarray
        (n,) largest violation of a stated bond in units of its tolerance.
    """
    count, length = torsions.shape[:2]
    terms = [term for bond in peptide.bonds for term in link_terms(peptide, bond)]
    angles = _angles_of(peptide, terms, length)
    chi = np.full((count, length, chi_columns([peptide])), np.nan)

    # The rotamers that come nearest as the backbone is: the same are tried on all structures.
    draws = np.random.default_rng(0).choice(ROTAMERS, (DRAWN, len(angles.chi)))
    each = np.repeat(np.arange(count), DRAWN)
    tried = _with_chi(chi[each], angles, np.tile(draws, (count, 1)))
    points = linked_atoms(peptide, _backbone(peptide, torsions, bonds)[each], tried)
    far = np.square(misfits(terms, points)).sum(axis=-1).reshape(count, DRAWN)
    best = np.argsort(far, axis=1, kind="stable")[:, :STARTS]  # (n, S)

    rows = np.repeat(np.arange(count), STARTS)
    before = torsions[rows].reshape(len(rows), -1)
    values = np.concatenate([before, draws[best.ravel()]], axis=1)
    values, misfit, crowding = _solve(peptide, terms, angles, values, chi[rows], _take(bonds, rows))
    turned = np.square(values[:, : 3 * length] - before).sum(axis=1)
    cost = 1e3 * np.maximum(misfit - 1.0, 0.0) + CROWDED * crowding + TURNED * turned
    chosen = cost.reshape(best.shape).argmin(axis=1) + np.arange(count) * STARTS
    made, chi = _split(values[chosen], angles, chi)
    chi = (chi + np.pi) % (2 * np.pi) - np.pi
    return made.astype(np.float32), chi.astype(np.float32), misfit[chosen]


def chi_columns(peptides: Iterable[Peptide]) -> int:
    """Return how many columns chi angles of peptides take: those of the residue that has most, or one."""
    return max(1, *(len(RESIDUES[code].chi) for peptide in peptides for code in peptide.residues))


def _solve(
    peptide: Peptide,
    terms: list[Term],
    angles: _Angles,
    values: np.ndarray,
    chi: np.ndarray,
    bonds: Bonds,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return angles (n, 3 L + X) that meet the terms, the largest misfit of each structure, and its crowding."""
    tolerance = np.array([term.tolerance for term in terms])
    number = {atom: row for row, atom in enumerate(angles.atoms)}
    places = [[number[atom] for atom in term.atoms] for term in terms]
    signed = angles.ease.copy()
    if is_mirrored(peptide):
        signed[: len(signed) - len(angles.chi)] *= -1.0  # the backbone turns as its mirror image
    best, smallest, crowding = values.copy(), np.full(len(values), np.inf), np.zeros(len(values))
    for step_number in range(ROOM_ROUNDS + ROUNDS + 1):
        torsions, all_chi = _split(values, angles, chi)
        backbone = _backbone(peptide, torsions, bonds)
        points = _points(peptide, backbone, all_chi, angles.atoms)  # (n, U, 3)
        off = misfits(terms, {atom: points[:, row] for atom, row in number.items()})  # (n, K)
        crowded, away = _crowding(points, angles)
        making_room = step_number < ROOM_ROUNDS
        worst = np.abs(off / tolerance).max(axis=1)
        better = (worst < smallest) & (not making_room)
        best[better], smallest[better], crowding[better] = values[better], worst[better], crowded[better] ** 2
        pulls = np.zeros((len(values), len(terms) + 1, *points.shape[1:]))
        for row, ends in enumerate(places):
            for atom, pull in zip(ends, _pulls([points[:, atom] for atom in ends]), strict=True):
                pulls[:, row, atom] = pull * (off[:, row] != 0)[:, None]
        if making_room:
            pulls[:, -1] = away
        jacobian = _by_angles(points, pulls, backbone, angles, number) * signed  # (n, K + 1, A)
        square = jacobian @ jacobian.swapaxes(-1, -2) + np.diag([*[DAMPING] * len(terms), ROOM_DAMPING])
        wanted = np.concatenate([off, crowded[:, None] * making_room], axis=1)
        step = (jacobian.swapaxes(-1, -2) @ np.linalg.solve(square, wanted[..., None]))[..., 0]
        step *= angles.ease
        longest = np.abs(step).max(axis=1, keepdims=True)
        going = making_room | ((smallest[:, None] >= EXACT) & (longest > STILL))
        if not going.any():
            break
        values = values - going * step * np.minimum(1.0, MAX_STEP / np.maximum(longest, 1e-9))
    return best, smallest, crowding


def _angles_of(peptide: Peptide, terms: list[Term], length: int) -> _Angles:
    linked, gone = linked_residues(peptide), leaving_atoms(peptide)
    kinds = {place: RESIDUES[code] for place, code in enumerate(peptide.residues, start=1)}
    atoms = [
        (place, name)
        for place, kind in kinds.items()
        for name in (kind.atoms if place in linked else (*BACKBONE, *filter(None, [kind.cb])))
        if (place, name) not in gone
    ]
    held = {atom for term in terms for atom in term.atoms}
    chi, axes, columns = [], [], []
    for place in linked:
        turns = {row.turn for row in kinds[place].placements[0]}
        for number, (_, start, end, _) in enumerate(kinds[place].chi):
            moved = {(place, name) for name in kinds[place].turned(number)}
            if f"chi{number + 1}" in turns and not moved.isdisjoint(held):
                chi.append((place - 1, number))
                axes.append(((place, start), (place, end)))
                columns.append([atom in moved for atom in atoms])
    behind = np.zeros((len(atoms), length, 3))
    for row, (place, name) in enumerate(atoms):
        turn = {each.atom: each.turn for each in kinds[place].placements[0]}.get(name)
        behind[row, : place - 1] = 1.0
        behind[row, place - 1, 0] = name not in ("N", "CA") and turn != "phi"
        behind[row, place - 1, 1] = name == "O"
    behind[:, 0, 0] = 0.0  # phi of the first residue moves nothing (`build_backbone`)
    ease = np.concatenate([np.tile([EASE, EASE, OMEGA_EASE], length), np.ones(len(chi))])
    by_chi = np.array(columns, dtype=float).reshape(len(chi), len(atoms)).T
    return _Angles(
        atoms,
        chi,
        axes,
        np.concatenate([behind.reshape(len(atoms), -1), by_chi], axis=1),
        ease,
        _limits(peptide, atoms),
    )


def _limits(peptide: Peptide, atoms: list[Atom]) -> np.ndarray:
    """Return how near atoms may come to each other, (U, U) Angstrom.

    It is 0 within three bonds, and of backbones less than three residues apart: torsions see to these.
    """
    places = np.array([place for place, _ in atoms])
    bonded = near_along_bonds(peptide, {(place - 1, name): row for row, (place, name) in enumerate(atoms)})
    polar = np.array([name[0] in "NO" for _, name in atoms])
    limit = np.where(polar[:, None] & polar, NEAR_POLAR, NEAR)
    chain = np.array([name in (*BACKBONE, "CB") for _, name in atoms])
    near = chain[:, None] & chain & (np.abs(places[:, None] - places) < 3)
    return np.where(near | bonded, 0.0, limit)


def _points(peptide: Peptide, backbone: np.ndarray, chi: np.ndarray, atoms: list[Atom]) -> np.ndarray:
    """Return atoms as an array (n, U, 3)."""
    found = linked_atoms(peptide, backbone, chi)
    slots = {name: slot for slot, name in enumerate(BACKBONE)}  # and CB, whatever its name
    return np.stack(
        [found[a] if a in found else backbone[:, a[0] - 1, slots.get(a[1], 4)] for a in atoms], axis=1
    )


def _crowding(points: np.ndarray, angles: _Angles) -> tuple[np.ndarray, np.ndarray]:
    """Return the root of the sum of squares by which atoms are too near, (n,), and its slope by atoms (n, U, 3)."""
    squares = np.square(points).sum(axis=-1)
    apart = squares[:, :, None] + squares[:, None] - 2.0 * points @ points.swapaxes(1, 2)
    apart = np.sqrt(np.maximum(apart, 1e-6))
    lacking = np.maximum(angles.limit - apart, 0.0)  # (n, U, U)
    total = np.sqrt(0.5 * np.square(lacking).sum(axis=(1, 2)))
    force = -lacking / apart / np.maximum(total, 1e-6)[:, None, None]
    return total, force.sum(axis=2)[..., None] * points - force @ points


def _pulls(points: list[np.ndarray]) -> list[np.ndarray]:
    """Return the derivatives of a term's value by its atoms, (n, 3) each."""
    if len(points) == 2:
        apart = points[1] - points[0]
        along = apart / np.maximum(np.linalg.norm(apart, axis=-1, keepdims=True), 1e-6)
        return [-along, along]
    return flat_slopes(points)


def _by_angles(
    points: np.ndarray,
    pulls: np.ndarray,
    backbone: np.ndarray,
    angles: _Angles,
    number: dict[Atom, int],
) -> np.ndarray:
    """Return derivatives by the angles (n, K, A) from those by the atoms, `pulls` (n, K, U, 3).

    An angle about the direction u through p turns the atoms x behind it: the derivative is u . sum (x - p) x pull.
    """
    n, ca, c = (backbone[:, :, atom] for atom in range(3))
    following = np.concatenate([n[:, 1:], c[:, -1:]], axis=1)
    starts = np.stack([n, ca, c], axis=2).reshape(len(n), -1, 3)
    ends = np.stack([ca, c, following], axis=2).reshape(len(n), -1, 3)
    bonds = [[number[atom] for atom in axis] for axis in angles.axes]
    first, second = np.array(bonds, dtype=int).reshape(-1, 2).T
    starts = np.concatenate([starts, points[:, first]], axis=1)
    ends = np.concatenate([ends, points[:, second]], axis=1)
    along = ends - starts
    along /= np.maximum(np.linalg.norm(along, axis=-1, keepdims=True), 1e-6)
    torque = np.cross(points[:, None], pulls).swapaxes(-1, -2) @ angles.behind  # (n, K, 3, A)
    force = pulls.swapaxes(-1, -2) @ angles.behind
    lever = np.cross(along, ends).swapaxes(-1, -2)[:, None]
    return (along.swapaxes(-1, -2)[:, None] * torque - lever * force).sum(axis=2)


def _backbone(peptide: Peptide, torsions: np.ndarray, bonds: Bonds) -> np.ndarray:
    """Return the backbones (n, L, 5, 3) of torsions, of the peptide's own hand."""
    built = build_backbone(
        mx.array(torsions.astype(np.float32)), bonds.residues, bonds.mask, bonds.d_residues
    )
    atoms = np.array(built).astype(np.float64)
    return mirror_image(atoms) if is_mirrored(peptide) else atoms


def _with_chi(chi: np.ndarray, angles: _Angles, values: np.ndarray) -> np.ndarray:
    """Return chi angles (n, L, K) with those that close bonds, (n, X) or (X,), in their places."""
    if not angles.chi:
        return chi
    residues, numbers = np.array(angles.chi).T
    filled = chi.copy()
    filled[:, residues, numbers] = values
    return filled


def _split(values: np.ndarray, angles: _Angles, chi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the torsions (n, L, 3) and the chi angles (n, L, K) of angles (n, 3 L + X)."""
    backbone = values.shape[1] - len(angles.chi)
    torsions = values[:, :backbone].reshape(len(values), -1, 3)
    return torsions, _with_chi(chi, angles, values[:, backbone:])


def _take(bonds: Bonds, rows: np.ndarray) -> Bonds:
    """Return the residues of some structures; what else there is of them is not needed here."""
    index = mx.array(rows)
    hands = None if bonds.d_residues is None else bonds.d_residues[index]
    return bonds._replace(residues=bonds.residues[index], mask=bonds.mask[index], d_residues=hands)
