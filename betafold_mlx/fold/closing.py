"""Closing of rings and disulfides by damped Gauss-Newton steps on the torsions.

A disulfide has its sulfurs here: chi1 of its two residues turns with the backbone's torsions. A torsion turns all that
lies behind its bond about that bond, so that all derivatives follow from the axes of the bonds and the points that
the constraints hold.
"""

from __future__ import annotations

from typing import NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.fold.fit_terms import chain_matrix
from betafold_mlx.fold.gradient import CA, CB, OXYGEN, RING_PAIRS, C, N
from betafold_mlx.fold.restraints import Bonds
from betafold_mlx.geometry import build_backbone
from betafold_mlx.geometry.disulfides import ACROSS, ROOM, SG_SG, place_sulfurs, sulfur

ROUNDS, ROOMY_ROUNDS = 18, 11
"""Rounds in all, and those in which sulfurs keep away from the other residue's backbone."""

EXACT = 1e-4
"""Angstrom: the largest misfit of a closed structure."""

MAX_STEP = 0.2
"""Radians a round, so that a step stays where the constraints are nearly linear."""

DAMPING = 1e-3

BRIDGE_CB, BRIDGE_CA = (3.55, 4.1), (4.0, 6.8)
"""Angstrom: CB-CB where chi3 is within about 20 degrees of +-90, and CA-CA of disulfides (Hazes & Dijkstra 1988)."""

OMEGA_STIFFNESS = 0.05
"""How readily omega turns, as against phi, psi and chi1."""

SHAPE = 1.0
"""Cost of a C-alpha that moves by an Angstrom, as against phi, psi or chi1 that turns by a radian, both squared. Of 922
candidates of 66 peptides 512 then have their bonds and do not run through themselves; with 0.3 it is 492, with 0 and an
omega three times as ready to turn 306."""

_SG = 5
_FAR = 1e6
_PHI, _PSI, _OMEGA, _CHI = range(4)


class _Constraints(NamedTuple):
    """Constraints of B structures, K each: distances within a range, and planar ring bonds.

    Attributes
    ----------
    residues, atoms : numpy.ndarray
        (B, K, 2) int, the two ends.
    limits : numpy.ndarray
        (B, K, 2) Angstrom.
    stated : numpy.ndarray
        (B, K) bool; the rest is padding.
    bridges : numpy.ndarray
        (n, 3) int: structure and two residues of each disulfide.
    rings : numpy.ndarray
        (B,) bool.
    last : numpy.ndarray
        (B,) int.
    """

    residues: np.ndarray
    atoms: np.ndarray
    limits: np.ndarray
    stated: np.ndarray
    bridges: np.ndarray
    rings: np.ndarray
    last: np.ndarray

    def take(self, keep: np.ndarray) -> _Constraints:
        """Return those of some of the structures: `keep` is (B,) bool."""
        bridges = self.bridges[keep[self.bridges[:, 0]]]
        bridges[:, 0] = (np.cumsum(keep) - 1)[bridges[:, 0]]
        return _Constraints(
            self.residues[keep],
            self.atoms[keep],
            self.limits[keep],
            self.stated[keep],
            bridges,
            self.rings[keep],
            self.last[keep],
        )


def close_bonds(torsions: mx.array, bonds: Bonds) -> mx.array:
    """Close rings and disulfides.

    Each round takes the shortest step that would meet all constraints if they were linear, the damped Gauss-Newton
    step H J^T (J H J^T + damping)^-1 r. A step is as long as it turns the angles and moves the C-alphas: the fewest
    turns would be those in the middle of a chain, which move its ends through all else. Structures without stated
    bonds are returned as they are; those whose bonds cannot be made end as near as they came.

    Parameters
    ----------
    torsions : mx.array
        (B, L, 3) radians.
    bonds : Bonds
        Of the B structures.

    Returns
    -------
    mx.array
        (B, L, 3) radians.
    """
    if not bonds.has_rings and not bonds.has_bridges:
        return torsions
    constraints, hands = _constraints_of(bonds), bonds.d_residues
    batch, length, _ = torsions.shape
    closed = np.zeros((batch, length, 4))
    closed[..., :3] = np.array(torsions)
    going, smallest = np.arange(batch), np.full(batch, np.inf)
    angles = closed.copy()
    for number in range(ROUNDS + 1):
        rows, (_, first, second) = mx.array(going), constraints.bridges.T
        of = constraints.bridges[:, 0]
        built = build_backbone(
            mx.array(angles[..., :3].astype(np.float32)),
            bonds.residues[rows],
            bonds.mask[rows],
            None if hands is None else hands[rows],
        )
        backbone = np.array(built, np.float64)
        if number == 0:
            freedom = _freedom(backbone, np.array(bonds.mask))
            chi1, _ = place_sulfurs(backbone[of, first], backbone[of, second], roomy=True)
            angles[of, first, _CHI], angles[of, second, _CHI] = chi1.T
        atoms = np.concatenate([backbone, np.zeros((len(going), length, 1, 3))], axis=2)
        for end in (first, second):
            atoms[of, end, _SG] = sulfur(backbone[of, end], angles[of, end, _CHI])
        if number == ROOMY_ROUNDS:  # where there is no room, the bonds come first
            constraints = constraints._replace(
                stated=constraints.stated & (constraints.limits[..., 1] < _FAR)
            )
            smallest[going] = np.inf
        misfit, jacobian = _linearise(atoms, constraints)  # (B, K + 1), (B, K + 1, 4 L)
        worst = np.abs(misfit).max(axis=1)
        better = worst < smallest[going]
        closed[going[better]], smallest[going[better]] = angles[better], worst[better]
        left = worst >= EXACT  # what is closed stays, whatever its neighbours need
        if not left.any():
            break
        if not left.all():
            going, angles, freedom, constraints = (
                going[left],
                angles[left],
                freedom[left],
                constraints.take(left),
            )
            misfit, jacobian = misfit[left], jacobian[left]
        pulled = jacobian @ freedom
        square = pulled @ jacobian.swapaxes(-1, -2) + DAMPING * np.eye(misfit.shape[1])
        step = (pulled.swapaxes(-1, -2) @ np.linalg.solve(square, misfit[..., None]))[..., 0]
        step = step.reshape(-1, length, 4)
        longest = np.abs(step).max(axis=(1, 2), keepdims=True)
        angles -= step * np.minimum(1.0, MAX_STEP / np.maximum(longest, 1e-9))
    return mx.array(closed[..., :3].astype(np.float32))


def _freedom(backbone: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return H (B, 4 L, 4 L), the inverse of what turns of the angles of backbones (B, L, 5, 3) cost."""
    batch, length = mask.shape
    by_angle = np.zeros((batch, length, 4, length, 4))
    moved = SHAPE * chain_matrix(backbone, [CA], mask[..., None].astype(np.float64))
    by_angle[:, :, :3, :, :3] = moved.reshape(batch, length, 3, length, 3)
    stiffness: np.ndarray = by_angle.reshape(batch, 4 * length, -1)
    diagonal = np.arange(4 * length)
    stiffness[:, diagonal, diagonal] += np.tile([1.0, 1.0, OMEGA_STIFFNESS**-2, 1.0], length)
    freedom: np.ndarray = np.linalg.inv(stiffness)
    return freedom


def _constraints_of(bonds: Bonds) -> _Constraints:
    rings, last = np.array(bonds.cyclic), np.array(bonds.last)
    bridges = np.argwhere(np.array(bonds.bridges))
    batch = len(rings)
    rows: list[list[tuple[int, int, int, int, float, float]]] = [[] for _ in range(batch)]
    wanted = np.array(bonds.ring)
    for row in np.flatnonzero(rings).tolist():
        end = int(last[row])
        for (a, b), distance in zip(RING_PAIRS[:3], wanted[row], strict=False):
            rows[row].append((end, a, 0, b, float(distance), float(distance)))
    for row, i, j in bridges.tolist():
        rows[row] += [
            (i, _SG, j, _SG, SG_SG, SG_SG),
            (i, _SG, j, CB, ACROSS, ACROSS),
            (i, CB, j, _SG, ACROSS, ACROSS),
            (i, CB, j, CB, *BRIDGE_CB),
            (i, CA, j, CA, *BRIDGE_CA),
        ]
        for atom, room in enumerate(ROOM.values()):
            rows[row] += [(i, _SG, j, atom, room, _FAR), (i, atom, j, _SG, room, _FAR)]
    count = max(map(len, rows))
    table = np.zeros((batch, count, 6))
    table[..., 2], table[..., 5] = 1, _FAR  # two different residues at any distance
    for number, entries in enumerate(rows):
        if entries:
            table[number, : len(entries)] = entries
    whole = table[..., :4].astype(int)
    stated = np.arange(count) < np.array([len(entries) for entries in rows])[:, None]
    return _Constraints(whole[..., [0, 2]], whole[..., [1, 3]], table[..., 4:], stated, bridges, rings, last)


def _linearise(atoms: np.ndarray, constraints: _Constraints) -> tuple[np.ndarray, np.ndarray]:
    """Return the misfits of all constraints, the planes of the rings last, and their derivatives by the angles.

    `atoms` (B, L, 6, 3): N, CA, C, O, CB, SG. Returns (B, K + 1) and (B, K + 1, 4 L).
    """
    axes, on_axis = _axes(atoms)
    row = np.arange(len(atoms))[:, None]
    ends = [atoms[row, constraints.residues[..., k], constraints.atoms[..., k]] for k in (0, 1)]  # (B, K, 3)
    between = ends[1] - ends[0]
    distance = np.linalg.norm(between, axis=-1)
    low, high = constraints.limits[..., 0], constraints.limits[..., 1]
    misfit = np.maximum(distance - high, 0.0) - np.maximum(low - distance, 0.0)
    misfit = np.where(constraints.stated, misfit, 0.0)
    direction = between / np.maximum(distance, 1e-6)[..., None] * (misfit != 0)[..., None]
    slopes = _turned(
        ends[1], direction, constraints.residues[..., 1], constraints.atoms[..., 1], axes, on_axis
    )
    slopes -= _turned(
        ends[0], direction, constraints.residues[..., 0], constraints.atoms[..., 0], axes, on_axis
    )

    # A planar ring bond: the volume of CA, C | N, CA over the product of its bonds is a sine of omega.
    last, first = constraints.last[:, None], np.zeros_like(constraints.last)[:, None]
    places = [(last, CA), (last, C), (first, N), (first, CA)]
    points = [atoms[row, residue, atom][:, 0] for residue, atom in places]
    a, b, c = (points[k + 1] - points[k] for k in range(3))
    size = np.maximum(np.linalg.norm(np.cross(a, b), axis=-1) * np.linalg.norm(c, axis=-1), 1e-3)
    scale = (constraints.rings / size)[:, None]
    flat = (np.cross(a, b) * c).sum(-1) * scale[:, 0]
    by = (np.cross(b, c) * scale, np.cross(c, a) * scale, np.cross(a, b) * scale)
    pulls = (-by[0], by[0] - by[1], by[1] - by[2], by[2])
    plane = sum(
        _turned(point[:, None], pull[:, None], residue, np.full_like(residue, atom), axes, on_axis)
        for point, pull, (residue, atom) in zip(points, pulls, places, strict=True)
    )
    return np.concatenate([misfit, flat[:, None]], axis=1), np.concatenate([slopes, plane], axis=1)


def _axes(atoms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the unit axes of phi, psi, omega and chi1, and a point on each: (B, L, 4, 3) twice."""
    n, ca, c, cb = (atoms[:, :, atom] for atom in (N, CA, C, CB))
    next_n = np.concatenate([n[:, 1:], c[:, -1:]], axis=1)
    ends = np.stack([ca, c, next_n, cb], axis=2)
    along = ends - np.stack([n, ca, c, ca], axis=2)
    return along / np.maximum(np.linalg.norm(along, axis=-1, keepdims=True), 1e-6), ends


def _turned(
    points: np.ndarray,
    pulls: np.ndarray,
    residues: np.ndarray,
    atoms: np.ndarray,
    axes: np.ndarray,
    on_axis: np.ndarray,
) -> np.ndarray:
    """Return how far each angle moves points (B, K, 3) along their pulls (B, K, 3): (B, K, 4 L).

    An angle moves a point by u x (x - p) where the point, atom `atoms` of residue `residues` (B, K), lies behind its
    bond, which has direction u and goes through p.
    """
    batch, length = axes.shape[:2]
    u, p = axes.reshape(batch, -1, 3), on_axis.reshape(batch, -1, 3)
    moved = np.cross(points, pulls) @ u.swapaxes(1, 2) - pulls @ np.cross(u, p).swapaxes(1, 2)
    here = np.arange(length) == residues[..., None]  # (B, K, L)
    behind = np.zeros((*residues.shape, length, 4), dtype=bool)
    behind[..., :3] = (np.arange(length) < residues[..., None])[..., None]
    after_ca = ~np.isin(atoms, (N, CA))[..., None]
    behind[..., _PHI] |= here & after_ca & (np.arange(length) > 0)
    behind[..., _PSI] |= here & (atoms == OXYGEN)[..., None]
    behind[..., _CHI] = here & (atoms == _SG)[..., None]
    behind[..., 0, _PHI] = False  # phi of the first residue moves nothing (`build_backbone`)
    return moved * behind.reshape(batch, residues.shape[1], -1)
