"""Room for side chains: backbone and chi angles of crowded models move together, as little as they must.

Packing leaves the backbone as it is, and where that brings two side chains, or two carbonyl oxygens, into one place,
no rotamer helps. Here all torsions and chi angles of such a model give way to its contacts, held where they were, with
the distances between C-alphas held too: a turn in the middle of a chain would move its ends.

Models with stated bonds are left as they are: their torsions are not free.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from betafold_mlx.fold.sterics import contact_energy, contacts_of, squared_distances
from betafold_mlx.geometry import build_backbone, dihedral
from betafold_mlx.geometry.frames import distances
from betafold_mlx.geometry.side_chains import SideChains, build_side_chains
from betafold_mlx.geometry.torsions import backbone_torsions
from betafold_mlx.peptide.sequence import Peptide

STEPS, RATE = 40, 0.03
"""Steps of Adam, and the first one's size, radians."""

TORSIONS, OMEGA, CHI, SHAPE = 8.0, 80.0, 6.0, 1.0
"""Nats: of a turn of phi or psi, of omega, and of a chi angle by 1 - cos; of C-alpha distances by A^2 a residue."""

FEW = 8
"""Structures at a time: their pairs of atoms are many."""


class Relieved(NamedTuple):
    """Structures that gave way: backbone (n, L, 5, 3) Angstrom, chi (n, L, K) and torsions (n, L, 3) in radians."""

    backbone: np.ndarray
    chi: np.ndarray
    torsions: np.ndarray


def relieve(
    peptides: Sequence[Peptide], rows: np.ndarray, backbone: np.ndarray, chi: np.ndarray, chains: SideChains
) -> Relieved:
    """Make room in structures.

    Parameters
    ----------
    peptides : sequence of Peptide
        B peptides without stated bonds.
    rows : numpy.ndarray
        (n,) int, the peptide of each structure.
    backbone : numpy.ndarray
        (n, L, 5, 3) Angstrom: N, CA, C, O, CB of ideal geometry; L residues, padded.
    chi : numpy.ndarray
        (n, L, K) radians.
    chains : SideChains
        Of the B peptides.
    """
    parts = []
    for first in range(0, len(rows), FEW):
        some = slice(first, first + FEW)
        parts.append(_relieve(peptides, rows[some], backbone[some], chi[some], chains))
    return Relieved(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _relieve(
    peptides: Sequence[Peptide], rows: np.ndarray, backbone: np.ndarray, chi: np.ndarray, chains: SideChains
) -> Relieved:
    chosen = [peptides[row] for row in rows]
    length = backbone.shape[1]
    mine = chains.take(mx.array(rows))
    contacts = contacts_of(chosen, mine, backbone=True)
    counts = np.array([len(peptide) for peptide in chosen])
    ids, hands = np.zeros((2, len(chosen), length), dtype=np.int32)
    for number, peptide in enumerate(chosen):
        ids[number, : len(peptide)], hands[number, : len(peptide)] = peptide.ids, peptide.d_residues
    residues, d_residues = mx.array(ids), mx.array(hands.astype(bool))
    mask = mx.array(np.arange(length) < counts[:, None])
    points = mx.array(backbone)
    start, defined = backbone_torsions(points, mask)
    last = mx.array(np.arange(length) == counts[:, None] - 1)
    turned = dihedral(*(points[:, :, atom] for atom in range(4)))
    behind = turned - np.pi * mx.sign(
        turned
    )  # O lies opposite to the next N; as the mirror image has it, but for its sign
    start = mx.where(defined, start, mx.array([0.0, 0.0, np.pi]))
    start = mx.concatenate(
        [start[..., :1], mx.where(last, behind, start[..., 1])[..., None], start[..., 2:]], -1
    )
    known = mx.array(np.nan_to_num(chi))
    ca = points[:, :, 1]
    wanted = distances(ca, ca)
    pairs = (mask[:, :, None] & mask[:, None, :]) / mx.array(counts)[:, None, None]
    hold = mx.array([TORSIONS, TORSIONS, OMEGA])

    def touching(torsions: mx.array, angles: mx.array) -> tuple[mx.array, mx.array]:
        made = build_backbone(torsions, residues, mask, d_residues)
        atoms = build_side_chains(made, angles, mine, torsions[..., 0]).flatten(1, 2)
        every = mx.take_along_axis(atoms, contacts.all[..., None], axis=1)
        return made, contact_energy(squared_distances(every, every), contacts.near).sum(axis=(1, 2)) / 2

    def energy(torsions: mx.array, angles: mx.array) -> mx.array:
        made, contact = touching(torsions, angles)
        turned = ((1.0 - mx.cos(torsions - start)) * hold * mask[..., None]).sum(axis=(1, 2))
        turned = turned + CHI * ((1.0 - mx.cos(angles - known)) * mask[..., None]).sum(axis=(1, 2))
        moved = mx.square(distances(made[:, :, 1], made[:, :, 1]) - wanted)
        return contact + turned + SHAPE * (moved * pairs).sum(axis=(1, 2))

    slope = mx.grad(lambda torsions, angles: energy(torsions, angles).sum(), argnums=(0, 1))
    angles = (start, known)
    first, second = ([mx.zeros_like(array) for array in angles] for _ in range(2))
    for step in range(1, STEPS + 1):
        gradients = slope(*angles)
        first = [0.8 * a + 0.2 * g for a, g in zip(first, gradients, strict=True)]
        second = [0.9 * a + 0.1 * mx.square(g) for a, g in zip(second, gradients, strict=True)]
        rate = RATE * (1.0 - (step - 1) / STEPS)
        moves = [
            (a / (1 - 0.8**step)) / (mx.sqrt(b / (1 - 0.9**step)) + 0.3)
            for a, b in zip(first, second, strict=True)
        ]
        angles = tuple(array - rate * move for array, move in zip(angles, moves, strict=True))  # type: ignore
        mx.async_eval(*angles, *first, *second)
    torsions, turned_chi = angles
    made = build_backbone(torsions, residues, mask, d_residues)
    better = (touching(*angles)[1] < touching(start, known)[1])[:, None, None]
    return Relieved(
        np.array(mx.where(better[..., None], made, points)),
        np.array(mx.where(better, turned_chi, known)),
        np.array(mx.where(better, torsions, start)),
    )
