"""Restraints on a structure, from the network's answer and the stated chemistry, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.fold.joining import joined
from betafold_mlx.geometry import ideal
from betafold_mlx.geometry.links import link_reach
from betafold_mlx.model.folding import Folded
from betafold_mlx.model.functions import softmax
from betafold_mlx.model.heads import CENTRES
from betafold_mlx.model.inputs import ModelInputs
from betafold_mlx.model.ramachandran import TorsionMixture
from betafold_mlx.peptide.sequence import Peptide

CLOSE_IN_SEQUENCE = 2
"""Pairs nearer along the chain than this say nothing that the covalent geometry does not."""

CLASH_SEPARATION = 3
"""Residues along the chain from which on two atoms can clash."""

VARIANCE_FLOOR = 0.25
"""Angstrom^2, added to each variance: half a bin's width, squared."""


class Bonds(NamedTuple):
    """Stated bonds, beyond those of a chain, of B structures padded to L residues.

    Attributes
    ----------
    residues, mask : mx.array
        (B, L), as in `ModelInputs`.
    cyclic : mx.array
        (B,) bool.
    ring : mx.array
        (B, 4) distances across the bond that closes the ring, Angstrom (`ring_distances`); zero of an open chain.
    last : mx.array
        (B,) int, index of the last residue.
    bridges : mx.array
        (B, L, L) bool, stated disulfides, i < j.
    has_rings, has_bridges : bool
        Whether any peptide of the batch is a ring, or has a bridge.
    d_residues : mx.array or None
        (B, L), as in `ModelInputs`.
    reach : mx.array or None
        (B, L, L) how far apart the CA of two residues with another stated bond can be, Angstrom, i < j; 0 of all other
        pairs. None where there is no such bond.
    """

    residues: mx.array
    mask: mx.array
    cyclic: mx.array
    ring: mx.array
    last: mx.array
    bridges: mx.array
    has_rings: bool
    has_bridges: bool
    d_residues: mx.array | None = None
    reach: mx.array | None = None


class Restraints(NamedTuple):
    """Restraints on a batch of B peptides (or of structures, some of the same peptide), padded to L residues.

    Attributes
    ----------
    bonds : Bonds
        Residues and stated bonds.
    distance : mx.array
        (B, L, L) expected C-alpha distance, Angstrom.
    tightness : mx.array
        (B, L, L) 1 / variance, divided by the number of residues; zero where no pair is restrained.
    apart : mx.array
        (B, L, L) bool, i < j far enough along the chain (and around the ring) to clash.
    mixture : TorsionMixture
        (B, L) distributions of (phi, psi).
    defined : mx.array
        (B, L, 2) bool, which of phi and psi the network knows.
    omega : mx.array
        (B, L) radians.
    inside : mx.array
        (B, L) bool, True where omega belongs to a bond inside the chain.
    """

    bonds: Bonds
    distance: mx.array
    tightness: mx.array
    apart: mx.array
    mixture: TorsionMixture
    defined: mx.array
    omega: mx.array
    inside: mx.array


def distance_moments(probability: mx.array) -> tuple[mx.array, mx.array]:
    """Return the mean (..., L, L) and the variance of C-alpha distances, Angstrom, of bins (..., L, L, bins)."""
    moments = probability @ mx.array(np.stack([CENTRES, CENTRES**2], axis=-1).astype(np.float32))
    mean = moments[..., 0]
    return mean, mx.maximum(moments[..., 1] - mx.square(mean), 0.0) + VARIANCE_FLOOR


def restraints_from(folded: Folded, inputs: ModelInputs, probability: mx.array | None = None) -> Restraints:
    """Read the restraints off the network's answer for a batch.

    Parameters
    ----------
    folded : Folded
        The answer.
    inputs : ModelInputs
        What the network was asked.
    probability : mx.array, optional
        The softmax of the distogram, where it is at hand: computing it is expensive.
    """
    if probability is None:
        probability = softmax(folded.distogram)
    mask = inputs.mask
    count = mask.sum(axis=1)
    place = mx.arange(mask.shape[1])
    pairs = mask[:, :, None] & mask[:, None, :]
    separation = mx.broadcast_to((place[None, :] - place[:, None])[None], pairs.shape)
    around = mx.where(inputs.cyclic[:, None, None], count[:, None, None] - separation, separation)
    forward = pairs & (separation >= CLOSE_IN_SEQUENCE)

    mean, variance = distance_moments(probability)
    inside = mask & (place < count[:, None] - 1)
    bonds = Bonds(
        residues=inputs.residues,
        mask=mask,
        cyclic=inputs.cyclic,
        ring=_ring_of(inputs),
        last=count - 1,
        bridges=inputs.bonded & (separation > 0),
        has_rings=bool(inputs.cyclic.any().item()),
        has_bridges=bool(inputs.bonded.any().item()),
        d_residues=inputs.d_residues,
    )
    return Restraints(
        bonds=bonds,
        distance=mean,
        tightness=forward / (variance * mx.maximum(count, 1)[:, None, None]),
        apart=pairs & (mx.minimum(separation, around) >= CLASH_SEPARATION),
        mixture=folded.mixture,
        defined=mx.stack([mask & (place > 0), inside], axis=-1),
        omega=folded.torsions[..., 2],
        inside=inside,
    )


def take(restraints: Restraints, rows: np.ndarray) -> Restraints:
    """Return the restraints of some of the peptides; a row may be taken more than once."""
    index, bonds, mixture = mx.array(rows), restraints.bonds, restraints.mixture
    cyclic, bridges = bonds.cyclic[index], bonds.bridges[index]
    reach = None if bonds.reach is None else bonds.reach[index]
    return Restraints(
        Bonds(
            bonds.residues[index],
            bonds.mask[index],
            cyclic,
            bonds.ring[index],
            bonds.last[index],
            bridges,
            has_rings=bool(cyclic.any().item()),
            has_bridges=bool(bridges.any().item()),
            d_residues=None if bonds.d_residues is None else bonds.d_residues[index],
            reach=reach if reach is not None and reach.any().item() else None,
        ),
        restraints.distance[index],
        restraints.tightness[index],
        restraints.apart[index],
        TorsionMixture(mixture.log_weights[index], mixture.centre, mixture.concentration),
        restraints.defined[index],
        restraints.omega[index],
        restraints.inside[index],
    )


def with_links(restraints: Restraints, peptides: Sequence[Peptide]) -> Restraints:
    """Return the restraints of B peptides with those of their bonds that are neither a ring nor disulfides."""
    if not any(peptide.other_bonds for peptide in peptides):
        return restraints
    reach = np.zeros(restraints.distance.shape, dtype=np.float32)
    for row, peptide in enumerate(peptides):
        for bond in peptide.other_bonds:
            reach[row, bond.i - 1, bond.j - 1] = link_reach(peptide, bond)
    return restraints._replace(bonds=restraints.bonds._replace(reach=mx.array(reach)))


def ring_distances(last: int, first: int) -> tuple[float, float, float, float]:
    """Return the distances across the ideal trans peptide bond that closes a ring.

    Parameters
    ----------
    last, first : int
        Ids of the last and the first residue.

    Returns
    -------
    tuple of float
        C-N, CA-N, C-CA and CA-CA from the last to the first residue, Angstrom.
    """
    at_c = ideal.CA_C_N[last, int(first == ideal.PRO)]
    at_n = ideal.C_N_CA[first]
    # In the plane of the bond: C at the origin, N on the x axis, the two CA on opposite sides.
    n = np.array([ideal.C_N[first], 0.0])
    ca_before = ideal.CA_C[last] * np.array([np.cos(at_c), np.sin(at_c)])
    ca_after = n - ideal.N_CA[first] * np.array([np.cos(at_n), np.sin(at_n)])
    ends = (n, n - ca_before, ca_after, ca_after - ca_before)
    return tuple(float(np.linalg.norm(end)) for end in ends)  # type: ignore[return-value]


def _ring_of(inputs: ModelInputs) -> mx.array:
    distances = np.zeros((len(inputs.mask), 4), dtype=np.float32)
    closed = np.flatnonzero(np.array(inputs.cyclic))
    if len(closed):
        residues, last = np.array(inputs.residues), np.array(inputs.mask.sum(axis=1)) - 1
        for row in closed:
            distances[row] = ring_distances(int(residues[row, last[row]]), int(residues[row, 0]))
    return mx.array(distances)


def join(parts: Sequence[Restraints]) -> Restraints:
    """Return the restraints of several batches as those of one."""
    if any(part.bonds.reach is not None for part in parts):
        none = [mx.zeros(part.bonds.bridges.shape) for part in parts]
        reach = [
            zero if part.bonds.reach is None else part.bonds.reach
            for part, zero in zip(parts, none, strict=True)
        ]
        parts = [
            part._replace(bonds=part.bonds._replace(reach=each))
            for part, each in zip(parts, reach, strict=True)
        ]
    whole: Restraints = joined(parts)
    return whole
