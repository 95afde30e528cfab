"""The gradient of the energy of structures with respect to their torsions, derived by hand.

The energy of a structure is, in nats of one residue's worth each, the sum of

- distances: half the squared deviation of each C-alpha distance from the distogram's mean, over its variance and the
  number of residues;
- torsions: minus the log density of (phi, psi) under the network's mixture;
- omega: 1 - cos of the turn from the network's omega;
- clashes: ((c^2 - d^2) / 2c)^2 for each two atoms closer than their closest approach c, which is (c - d)^2 near c;
- ring: the squared deviations of four distances across the bond that closes it;
- bridges: of each stated disulfide the squared deviation of CB-CB, and of CA-CA from its range;
- links: of each other stated bond the square of what its residues' CA are farther apart than it can reach.

Derivatives are taken by hand: an order of magnitude cheaper than automatic ones through the reconstruction, and the
value itself is never needed. Arrays of atoms end in residues and structures, (..., L, B): sums run over leading axes,
one structure beside the other, so that none depends on its company. Those of pairs begin with structures, (B, n, m):
squared distances and the pulls that follow from weights w_ij on x_i - x_j are products of small matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from betafold_mlx.fold.restraints import CLASH_SEPARATION, Restraints
from betafold_mlx.geometry.nerf import place_atoms, residue_constants, torsion_gradient
from betafold_mlx.model.functions import exp_of_negative, reciprocal_root
from betafold_mlx.model.ramachandran import log_normaliser

N, CA, C, OXYGEN, CB = range(5)

RING_PAIRS = ((C, N), (CA, N), (C, CA), (CA, CA))
"""Atoms of the last and the first residue whose distances make a ring's bond, in the order of `Bonds.ring`."""

CONTACTS = (
    *(
        (CA, CA, 3.8),
        (CB, CB, 3.5),
        (CA, CB, 3.7),
        (OXYGEN, OXYGEN, 2.8),
        (N, OXYGEN, 2.7),
        (CA, OXYGEN, 3.1),
        (CB, OXYGEN, 3.0),
    ),
    *((C, OXYGEN, 3.0), (N, CB, 3.2), (C, CB, 3.4)),
)
"""Closest approach of atoms three residues apart or more, Angstrom."""

BRIDGE_CB, BRIDGE_CA = 3.85, (4.6, 6.4)
"""CB-CB of a disulfide, and the range of its CA-CA, Angstrom: middle and bulk of what Hazes & Dijkstra 1988 found."""

LINK_SLACK = 0.85
"""Share of its reach that a bond of side chains is drawn to: chi angles need room to turn."""


_GROUPS = (((CA, OXYGEN, CB), (CA, OXYGEN, CB)), ((N, C), (OXYGEN, CB)))
"""Each contact stands in one of these products of atoms: both ways in the first, one way in the second."""

_FAR = 1e6  # Angstrom^2, added to the squared distances of padding
_FEW = 1e-6


@dataclass(frozen=True)
class EnergyWeights:
    """Weights of the terms, chosen on the validation split."""

    distance: float = 1.0
    torsion: float = 0.1
    omega: float = 20.0
    clash: float = 0.5
    ring: float = 2.0
    bridge: float = 1.0


class EnergyGradient:
    """The gradient of the energy of B structures with respect to their torsions.

    Parameters
    ----------
    restraints : Restraints
        Of the B structures.
    weights : EnergyWeights
        Weights of the terms.
    """

    def __init__(self, restraints: Restraints, weights: EnergyWeights) -> None:
        self.weights = weights
        self._bonds = bonds = restraints.bonds
        self._constants = residue_constants(bonds.residues, bonds.mask, bonds.d_residues)
        self._distance = restraints.distance
        self._stiffness = weights.distance * _both_ways(restraints.tightness)
        self._padding = mx.where(bonds.mask, 0.0, _FAR)[..., None]  # (B, L, 1)
        place = mx.arange(bonds.mask.shape[1])
        apart = (mx.abs(place[:, None] - place) >= CLASH_SEPARATION)[None]
        if bonds.has_rings:
            apart = _both_ways(restraints.apart)
        self._contacts = [_closest(rows, columns, apart) for rows, columns in _GROUPS]
        if bonds.has_bridges:
            self._bridges = _places(bonds.bridges)
        if bonds.reach is not None:
            self._reach = LINK_SLACK * _last(_both_ways(bonds.reach))
        self._omega = _last(restraints.omega)
        self._inside = weights.omega * _last(restraints.inside).astype(mx.float32)

        mixture = restraints.mixture
        k, centre = mixture.concentration.T, mixture.centre.T  # (2, K)
        # cosine and sine factors of phi, then of psi: (4, K, 1, 1)
        factors = mx.stack([k * mx.cos(centre), k * mx.sin(centre)], axis=1)
        self._factors = factors.reshape(4, -1, 1, 1)
        self._known = _last(restraints.defined).astype(mx.float32)  # (2, L, B)
        normaliser = (log_normaliser(k)[..., None, None] * self._known[:, None]).sum(axis=0)
        self._log_weights = _last(mixture.log_weights) - normaliser  # (K, L, B)
        self._torsion_weight = weights.torsion * _last(bonds.mask).astype(mx.float32)

    def atoms(self, torsions: mx.array) -> mx.array:
        """Return the atoms of torsions (3, L, B): (3, 5, L, B) Angstrom."""
        return place_atoms(torsions, self._constants)

    def pull(self, torsions: mx.array) -> mx.array:
        """Return where the mixture pulls phi and psi, at torsions: (4, L, B).

        With the probabilities r_k of the mixture's states held, minus its log density is, up to a constant,
        -sum_k r_k kappa_k cos(x - mu_k) = -(a cos x + b sin x), a and b of phi, then of psi: an upper bound that
        touches it here, with the same slope (the expectation step of expectation-maximisation). Exponentials are
        expensive, so `__call__` takes the bound of some steps ago.
        """
        factors = self._factors
        logits = self._log_weights
        for number, angle in enumerate((mx.cos(torsions), mx.sin(torsions))):
            for which in (0, 1):
                logits = logits + factors[2 * which + number] * (angle[which] * self._known[which])
        probability = exp_of_negative(logits - logits.max(axis=0))
        probability = probability * (self._torsion_weight / probability.sum(axis=0))
        held = [(probability * factor).sum(axis=0) for factor in factors]
        return mx.stack(held) * mx.repeat(self._known, 2, axis=0)

    def __call__(
        self, torsions: mx.array, pull: mx.array, chemistry: float = 1.0, sterics: float = 1.0
    ) -> mx.array:
        """Return the gradient.

        Parameters
        ----------
        torsions : mx.array
            (3, L, B) radians.
        pull : mx.array
            (4, L, B), from `pull`.
        chemistry : float
            Factor on clashes, ring and bridges, raised during a minimisation.
        sterics : float
            Factor on clashes beside that; 0 saves most of the time.

        Returns
        -------
        mx.array
            (3, L, B); zero at padding.
        """
        weights, bonds = self.weights, self._bonds
        atoms = self.atoms(torsions)
        ca = atoms[:, CA]
        centred = (atoms - ca.mean(axis=1)[:, None, None]).transpose(3, 1, 2, 0)  # (B, 5, L, 3)
        pulls = [mx.zeros_like(ca) for _ in range(5)]  # on N, CA, C, O, CB: (3, L, B)
        pulls[CA] = self._distance_pull(centred[:, CA])
        if bonds.has_bridges:
            for atom, pulled in self._bridge_pulls(atoms):
                pulls[atom] = pulls[atom] + chemistry * weights.bridge * pulled
        if bonds.reach is not None:
            pulls[CA] = pulls[CA] + chemistry * weights.bridge * self._link_pull(ca)
        if sterics:
            for atom, pulled in self._clash_pulls(centred):
                pulls[atom] = pulls[atom] + chemistry * sterics * weights.clash * pulled
        if bonds.has_rings:
            for atom, pulled in self._ring_pulls(atoms):
                pulls[atom] = pulls[atom] + chemistry * weights.ring * pulled
        slope = torsion_gradient(atoms, mx.stack(pulls, axis=1))
        by_mixture = pull[::2] * mx.sin(torsions[:2]) - pull[1::2] * mx.cos(torsions[:2])
        by_omega = self._inside * mx.sin(torsions[2] - self._omega)
        return slope + mx.concatenate([by_mixture, by_omega[None]])

    def _distance_pull(self, ca: mx.array) -> mx.array:
        square = mx.maximum(-_minus_square(ca, ca, 0.0, 0.0), _FEW)
        # stiffness * (d - mean) / d
        weight = self._stiffness * (1.0 - self._distance * reciprocal_root(square))
        return _pulled(weight, ca, ca).transpose(2, 1, 0)

    def _bridge_pulls(self, atoms: mx.array) -> list[tuple[int, mx.array]]:
        low, high = BRIDGE_CA
        first, second, stated = self._bridges  # (K, B)
        place = mx.arange(atoms.shape[2])[:, None, None]
        ends = (place == second).astype(mx.float32) - (place == first)  # (L, K, B)
        pulls = []
        for atom, near, far in ((CB, BRIDGE_CB, BRIDGE_CB), (CA, low, high)):
            a, b = (mx.take_along_axis(atoms[:, atom], end[None], axis=1) for end in (first, second))
            apart = b - a  # (3, K, B)
            d = mx.sqrt(mx.square(apart).sum(axis=0) + 1e-6)
            outside = mx.maximum(d - far, 0.0) - mx.maximum(near - d, 0.0)
            pulls.append((atom, ((2 * stated * outside / d * apart)[:, None] * ends).sum(axis=2)))
        return pulls

    def _link_pull(self, ca: mx.array) -> mx.array:
        apart = _differences(ca, ca)
        d = mx.sqrt(mx.square(apart).sum(axis=0) + 1e-6)
        outside = mx.where(self._reach > 0, mx.maximum(d - self._reach, 0.0), 0.0)
        return (2 * outside / d * apart).sum(axis=2)

    def _clash_pulls(self, atoms: mx.array) -> list[tuple[int, mx.array]]:
        batch, _, length, _ = atoms.shape
        pulls = []
        for (rows, columns), (reach, share) in zip(_GROUPS, self._contacts, strict=True):
            both = [
                atoms[:, mx.array(kinds)].reshape(batch, -1, 3)  # (B, n L, 3)
                for kinds in ((rows,) if rows == columns else (rows, columns))
            ]
            far = mx.tile(self._padding, (1, len(rows), 1))
            weight = share * mx.maximum(_minus_square(both[0], both[-1], far, far) + reach, 0.0)
            sides = [(rows, _pulled(weight, both[0], both[-1]))]
            if rows != columns:
                sides.append((columns, _pulled(weight.swapaxes(1, 2), both[1], both[0])))
            for kinds, pulled in sides:
                of_kind = pulled.reshape(batch, len(kinds), length, 3).transpose(1, 3, 2, 0)
                pulls += list(zip(kinds, of_kind, strict=True))
        return pulls

    def _ring_pulls(self, atoms: mx.array) -> list[tuple[int, mx.array]]:
        bonds = self._bonds
        last = bonds.last[None, :]  # (1, B)
        place = mx.arange(atoms.shape[2])[:, None]
        at_end = (place == last).astype(mx.float32) * bonds.cyclic  # (L, B)
        end = mx.take_along_axis(atoms, mx.broadcast_to(last, (3, 5, 1, last.shape[1])), axis=2)
        start = atoms[:, :, :1]
        pulls = []
        for number, (a, b) in enumerate(RING_PAIRS):
            apart = end[:, a] - start[:, b]  # (3, 1, B)
            d = mx.sqrt(mx.square(apart).sum(axis=0) + 1e-6)
            pulled = 2 * (1.0 - bonds.ring[:, number] / d) * apart
            pulls.append((a, pulled * at_end))  # no torsion moves N and CA of the first residue
        return pulls


def _last(array: mx.array) -> mx.array:
    """Put structures last: (B, L) -> (L, B), (B, L, K) -> (K, L, B), symmetric (B, L, L) -> (L, L, B)."""
    return mx.contiguous(array.transpose())


def _both_ways(pairs: mx.array) -> mx.array:
    """Make symmetric what stands above the diagonal."""
    other = pairs.swapaxes(1, 2)
    return pairs | other if pairs.dtype == mx.bool_ else pairs + other


def _differences(a: mx.array, b: mx.array) -> mx.array:
    """(3, L, B), (3, L, B) -> (3, L, L, B)."""
    return a[:, :, None] - b[:, None]


def _minus_square(a: mx.array, b: mx.array, far_a: mx.array | float, far_b: mx.array | float) -> mx.array:
    """Return minus the squared distances of points (B, n, 3) and (B, m, 3) near the origin, less `far`: (B, n, m)."""
    of_a, of_b = (mx.square(points).sum(axis=-1, keepdims=True) for points in (a, b))
    ones = mx.ones_like(of_a)
    left = mx.concatenate([2.0 * a, -(of_a + far_a), -ones], axis=-1)
    return left @ mx.concatenate([b, mx.ones_like(of_b), of_b + far_b], axis=-1).swapaxes(1, 2)


def _pulled(weight: mx.array, a: mx.array, b: mx.array) -> mx.array:
    """Return the sums over j of w_ij (a_i - b_j): (B, n, m), (B, n, 3), (B, m, 3) -> (B, n, 3)."""
    sums = weight @ mx.concatenate([b, mx.ones_like(b[..., :1])], axis=-1)
    return sums[..., 3:] * a - sums[..., :3]


def _closest(rows: Sequence[int], columns: Sequence[int], apart: mx.array) -> tuple[mx.array, mx.array]:
    """Return c^2 of all pairs of atoms, (1 or B, n L, m L), -1 of those that cannot clash, and -1 / c^2, (n L, m L)."""
    closest = {frozenset((a, b)): distance for a, b, distance in CONTACTS}
    square = np.array([[closest[frozenset((a, b))] ** 2 for b in columns] for a in rows], dtype=np.float32)
    length = apart.shape[1]
    share = mx.array(-1.0 / np.kron(square, np.ones((length, length), dtype=np.float32)))
    reach = mx.where(apart[:, None, :, None], mx.array(square)[:, None, :, None], -1.0)
    return reach.reshape(-1, *share.shape), share


def _places(bridges: mx.array) -> tuple[mx.array, mx.array, mx.array]:
    """Return the two residues of each bridge of (B, L, L), and 1, or 0 where there is none: (K, B) each."""
    stated = [np.argwhere(one) for one in np.array(bridges)]
    table = np.zeros((3, max(map(len, stated)), len(stated)), dtype=np.int32)
    for column, pairs in enumerate(stated):
        table[:, : len(pairs), column] = [*pairs.T, np.ones(len(pairs))]
    first, second, real = map(mx.array, table)
    return first, second, real.astype(mx.float32)
