"""The energy that `betafold_mlx.fold.gradient` holds the derivative of, term by term, differentiable by MLX.

Lower is better; every term is a sum over arrays of S structures for each of B peptides.
"""

from __future__ import annotations

import mlx.core as mx

from betafold_mlx.fold.gradient import BRIDGE_CA, BRIDGE_CB, CA, CB, CONTACTS, RING_PAIRS, EnergyWeights
from betafold_mlx.fold.restraints import Restraints
from betafold_mlx.geometry import build_backbone
from betafold_mlx.geometry.frames import norm
from betafold_mlx.model.ramachandran import TorsionMixture


def place_atoms(torsions: mx.array, restraints: Restraints) -> mx.array:
    """Return the atoms of S structures a peptide: (B, S, L, 3) radians -> (5, 3, B, S, L) Angstrom."""
    batch, samples, length, _ = torsions.shape
    shape = (batch, samples, length)
    residues = mx.broadcast_to(restraints.bonds.residues[:, None], shape).reshape(-1, length)
    mask = mx.broadcast_to(restraints.bonds.mask[:, None], shape).reshape(-1, length)
    atoms = build_backbone(torsions.reshape(-1, length, 3), residues, mask)
    return atoms.transpose(2, 3, 0, 1).reshape(5, 3, *shape)


def energy(
    torsions: mx.array,
    restraints: Restraints,
    weights: EnergyWeights,
    chemistry: float = 1.0,
    sterics: bool = True,
) -> mx.array:
    """Return the energy of structures.

    Parameters
    ----------
    torsions : mx.array
        (B, S, L, 3) radians.
    restraints : Restraints
        Of the B peptides.
    weights : EnergyWeights
        What each term counts.
    chemistry : float
        Factor on clashes, ring and bridges, raised during a minimisation.
    sterics : bool
        Whether to count clashes: half of the time, and of no use far from the end.

    Returns
    -------
    mx.array
        (B, S).
    """
    atoms = place_atoms(torsions, restraints)
    ca = _distances(atoms[CA], atoms[CA])
    total = weights.distance * distance_energy(ca, restraints)
    total = total + weights.torsion * torsion_energy(torsions, restraints)
    total = total + weights.omega * omega_energy(torsions, restraints)
    if restraints.bonds.has_bridges:
        total = total + chemistry * weights.bridge * bridge_energy(atoms, ca, restraints)
    if restraints.bonds.has_rings:
        total = total + chemistry * weights.ring * ring_energy(atoms, restraints)
    if sterics:
        total = total + chemistry * weights.clash * clash_energy(atoms, restraints)
    return total


def distance_energy(ca: mx.array, restraints: Restraints) -> mx.array:
    """Return the misfit of C-alpha distances (B, S, L, L) to the distogram's mean and variance, a residue: (B, S)."""
    deviation = mx.square(ca - restraints.distance[:, None])
    return 0.5 * (deviation * restraints.tightness[:, None]).sum(axis=(2, 3))


def torsion_energy(torsions: mx.array, restraints: Restraints) -> mx.array:
    """Return minus the log density of phi and psi: (B, S, L, 3) -> (B, S)."""
    mixture = restraints.mixture
    each = TorsionMixture(mixture.log_weights[:, None], mixture.centre, mixture.concentration)
    log_density = each.log_density(torsions[..., :2], restraints.defined[:, None])
    return -(log_density * restraints.bonds.mask[:, None]).sum(axis=-1)


def omega_energy(torsions: mx.array, restraints: Restraints) -> mx.array:
    """Return how far peptide bonds are turned from the network's omega: (B, S, L, 3) -> (B, S)."""
    bend = 1 - mx.cos(torsions[..., 2] - restraints.omega[:, None])
    return (bend * restraints.inside[:, None]).sum(axis=-1)


def clash_energy(atoms: mx.array, restraints: Restraints) -> mx.array:
    """Return the overlap of backbone atoms and CB: (5, 3, B, S, L) -> (B, S)."""
    first, second = ([pair[end] for pair in CONTACTS] for end in (0, 1))
    closest = mx.array([pair[2] for pair in CONTACTS]).reshape(-1, 1, 1, 1, 1)
    # All pairs of atoms in one array (P, B, S, L, L): few large operations instead of many small ones.
    a, b = (mx.stack([atoms[atom] for atom in end], axis=1) for end in (first, second))
    squared = _squared_distances(a, b)
    overlap = mx.square(mx.maximum(mx.square(closest) - squared, 0.0) / (2 * closest))
    # Pairs of unlike atoms count both ways round; of like atoms every pair is there twice.
    share = mx.array([0.5 if x == y else 1.0 for x, y in zip(first, second, strict=True)]).reshape(-1, 1, 1)
    apart = restraints.apart | restraints.apart.swapaxes(-1, -2)  # (B, L, L)
    return ((overlap * apart[:, None]).sum(axis=(3, 4)) * share).sum(axis=0)


def bridge_energy(atoms: mx.array, ca: mx.array, restraints: Restraints) -> mx.array:
    """Return how far stated disulfides are from bonding distance: (B, S), Angstrom^2."""
    cb = _distances(atoms[CB], atoms[CB])
    low, high = BRIDGE_CA
    outside = mx.maximum(mx.maximum(low - ca, ca - high), 0.0)
    misfit = mx.square(cb - BRIDGE_CB) + mx.square(outside)
    return (misfit * restraints.bonds.bridges[:, None]).sum(axis=(2, 3))


def ring_energy(atoms: mx.array, restraints: Restraints) -> mx.array:
    """Return how far rings are from closed by a trans peptide bond: (B, S), Angstrom^2; zero for open chains."""
    _, _, batch, samples, _ = atoms.shape
    last = mx.broadcast_to(restraints.bonds.last[None, None, :, None, None], (5, 3, batch, samples, 1))
    end, start = mx.take_along_axis(atoms, last, axis=-1)[..., 0], atoms[..., 0]  # (5, 3, B, S)
    misfit = mx.zeros((batch, samples))
    for number, (a, b) in enumerate(RING_PAIRS):
        distance = norm((end[a] - start[b]).transpose(1, 2, 0))
        misfit = misfit + mx.square(distance - restraints.bonds.ring[:, number : number + 1])
    return misfit * restraints.bonds.cyclic[:, None]


def _squared_distances(a: mx.array, b: mx.array) -> mx.array:
    """(3, ..., L), (3, ..., L) -> (..., L, L)."""
    x, y, z = (a[axis][..., :, None] - b[axis][..., None, :] for axis in range(3))
    return x * x + y * y + z * z


def _distances(a: mx.array, b: mx.array) -> mx.array:
    # 1e-6: the square root has a gradient on the diagonal too
    return mx.sqrt(_squared_distances(a, b) + 1e-6)
