"""Side-chain network: how probable the rotamers of each residue of a structure are.

It sees the phi and psi of each residue and of its neighbours, and the residues around it in space: their types, and
where their backbone atoms are in its own frame. Messages pass between neighbours a few times, as in ProteinMPNN
(Dauparas et al. 2022). It can read the folding network's states, too: these were not seen to help (`docs/accuracy.md`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from betafold_mlx.geometry import ideal
from betafold_mlx.geometry.frames import distances, from_three_points, norm
from betafold_mlx.geometry.torsions import dihedral
from betafold_mlx.model.config import SideChainConfig
from betafold_mlx.model.functions import exp_of_negative
from betafold_mlx.model.rotamers import ROTAMERS, Rotamers
from betafold_mlx.model.transformer import relu
from betafold_mlx.peptide.sequence import ALPHABET

REACH = 16
"""Separations along the chain that are told apart."""

SHELLS, SHELL_WIDTH = (2.5, 4.0, 6.0, 9.0), 2.0
"""Centres and width of the Gaussians that spell a distance between a residue's probe and an atom, Angstrom."""

FAR = 1e4
"""Angstrom: no residue."""


def _probes() -> np.ndarray:
    """Return CB and the three staggered places of a gamma atom in the frame of an L residue: (4, 3) Angstrom.

    CA-CB-CG is 114 degrees and CB-CG 1.52 A, the values of Engh & Huber 2006 for a CH2 group.
    """
    alanine = ALPHABET.index("A")
    angle = ideal.N_CA_C[alanine]
    x = math.cos(ideal.C_CA_CB[alanine])
    y = (math.cos(ideal.N_CA_CB[alanine]) - math.cos(angle) * x) / math.sin(angle)
    axis = np.array([x, y, -math.sqrt(1 - x * x - y * y)])  # CB of L residues at negative z (`nerf`)
    n = np.array([math.cos(angle), math.sin(angle), 0.0])
    side = n - (n @ axis) * axis
    side /= np.linalg.norm(side)
    up = np.cross(axis, side)
    cb = ideal.CA_CB[alanine] * axis
    bend = math.radians(114)
    turns = np.radians([-60, 60, 180])[:, None]
    gammas = cb + 1.52 * (
        math.sin(bend) * (np.cos(turns) * side + np.sin(turns) * up) - math.cos(bend) * axis
    )
    return np.concatenate([cb[None], gammas])


_PROBES = mx.array(_probes().astype(np.float32))
EDGE_FEATURES = 15 + 4 * 5 * len(SHELLS) + 1
TORSION_FEATURES = 3 * 4


class SideChainInputs(NamedTuple):
    """Structures whose side chains are asked for: S of each of B peptides, padded to L residues."""

    # (B, L, D) last states of the folding network; a network that does not read them needs none
    states: mx.array | None
    residues: mx.array  # (B, L) int residue ids
    mask: mx.array  # (B, L) bool, True = real residue
    relative: mx.array  # (B, L, L) int separations along the chain, around a ring the shorter way
    bonded: mx.array  # (B, L, L) bool, stated disulfides
    coordinates: mx.array  # (B, S, L, A, 3) with A >= 4: N, CA, C, O of L residues. Angstrom


class Surroundings(NamedTuple):
    """What the network sees of BS structures."""

    # (BS, L, `TORSION_FEATURES`) cosine and sine of phi and psi, zero where undefined: of the residue, the one before
    # and the one after
    torsions: mx.array
    nearest: mx.array  # (BS, L, K) int32, the nearest residues of each
    near: mx.array  # (BS, L, K) 1 where there is one, 0 where a structure has fewer
    edges: mx.array  # (BS, L, K, `EDGE_FEATURES`)
    separation: mx.array  # (BS, L, K) int, 0 to 2 `REACH`


class SideChainNetwork(nn.Module):
    """Messages between the residues of a structure -> log weights of the rotamers of each."""

    def __init__(self, config: SideChainConfig) -> None:
        super().__init__()
        self.config = config
        width, edge = config.width, config.edge_width
        self.rotamers = Rotamers()
        if config.states:
            self.state_norm = nn.LayerNorm(config.states)
            self.read_state = nn.Linear(config.states, width)
        self.residue = nn.Embedding(len(ALPHABET), width)
        self.read_torsions = nn.Linear(TORSION_FEATURES, width)
        self.disulfide = mx.zeros((width,))
        self.read_edge = nn.Linear(EDGE_FEATURES, edge)
        self.separation = nn.Embedding(2 * REACH + 1, edge)
        self.edge_hidden = nn.Linear(edge, edge)
        self.layers = [MessageLayer(width, edge, config.neighbours) for _ in range(config.layers)]
        self.norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, width)
        self.output = nn.Linear(width, len(ALPHABET) * ROTAMERS)
        self.output.weight, self.output.bias = (  # at first as frequent as they are whatever the backbone
            mx.zeros_like(each) for each in (self.output.weight, self.output.bias)
        )

    def __call__(self, inputs: SideChainInputs) -> mx.array:
        """Return log weights (B, S, L, K) of the rotamers; those that there are sum to one, others are below -1e4."""
        batch, samples, length = inputs.coordinates.shape[:3]
        seen = surroundings(inputs, self.config.neighbours)
        of_peptide = self.residue(inputs.residues)
        if self.config.states:
            assert inputs.states is not None
            of_peptide = of_peptide + self.read_state(self.state_norm(mx.stop_gradient(inputs.states)))
        of_peptide = of_peptide + inputs.bonded.any(axis=-1, keepdims=True) * self.disulfide
        states = mx.repeat(of_peptide, samples, axis=0) + self.read_torsions(seen.torsions)
        edges = relu(self.read_edge(seen.edges) + self.separation(seen.separation))
        edges = relu(self.edge_hidden(edges)) * seen.near[..., None]
        for layer in self.layers:
            states = layer(states, edges, seen)
        logits = self.output(relu(self.hidden(self.norm(states))))
        logits = logits.reshape(batch, samples, length, len(ALPHABET), ROTAMERS)
        own = mx.broadcast_to(inputs.residues[:, None, :, None, None], (batch, samples, length, 1, ROTAMERS))
        logits = mx.take_along_axis(logits, own, axis=-2)[..., 0, :]
        weight = self.rotamers.weight
        prior = mx.where(weight > 0, mx.log(mx.maximum(weight, 1e-6)), -1e5)[inputs.residues][:, None]
        logits = logits + prior
        return logits - mx.logsumexp(logits, axis=-1, keepdims=True)


class MessageLayer(nn.Module):
    """Each residue gathers messages from its neighbours, then thinks for itself."""

    def __init__(self, width: int, edge: int, neighbours: int) -> None:
        super().__init__()
        self.scale = 1 / neighbours
        self.message_norm = nn.LayerNorm(width)
        self.own = nn.Linear(width, width)
        self.other = nn.Linear(width, width, bias=False)
        self.edge = nn.Linear(edge, width, bias=False)
        self.gather = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 2 * width)
        self.contract = nn.Linear(2 * width, width)

    def __call__(self, states: mx.array, edges: mx.array, seen: Surroundings) -> mx.array:
        """(BS, L, W) states -> the same."""
        normed = self.message_norm(states)
        others = take_rows(self.other(normed), seen.nearest)  # (BS, L, K, W)
        messages = relu(self.own(normed)[:, :, None] + others + self.edge(edges)) * seen.near[..., None]
        states = states + self.gather(messages.sum(axis=2) * self.scale)
        return states + self.contract(relu(self.expand(self.norm(states))))


def take_rows(values: mx.array, index: mx.array) -> mx.array:
    """Return the rows (N, L, K, ...) of values (N, L, ...) that an index (N, L, K) names."""
    count, length = values.shape[:2]
    flat = index + (mx.arange(count) * length)[:, None, None]
    return values.reshape(count * length, *values.shape[2:])[flat]


def surroundings(inputs: SideChainInputs, neighbours: int) -> Surroundings:
    """Return what the network sees of each residue and of its nearest ones, by CB."""
    batch, samples, length = inputs.coordinates.shape[:3]
    count = min(neighbours, length)
    points = mx.stop_gradient(inputs.coordinates[..., :4, :]).reshape(batch * samples, length, 4, 3)
    mask = mx.repeat(inputs.mask, samples, axis=0)
    n, ca, c = (points[:, :, atom] for atom in range(3))
    rotation, _ = from_three_points(n, ca, c)  # (BS, L, 3, 3)
    probes = _PROBES @ rotation.swapaxes(-1, -2) + ca[:, :, None]  # (BS, L, 4, 3)
    cb = probes[:, :, 0]
    pairs = mask[:, None, :] & mask[:, :, None] & ~mx.eye(length, dtype=mx.bool_)
    apart = mx.where(pairs, distances(cb, cb), FAR)
    index = mx.argpartition(apart, min(count, length - 1), axis=-1)[..., :count]
    near = (mx.take_along_axis(apart, index, axis=-1) < FAR).astype(mx.float32)
    atoms = take_rows(mx.concatenate([points, cb[:, :, None]], axis=2), index)  # (BS, L, K, 5, 3)
    local = (atoms - cb[:, :, None, None]) @ rotation[:, :, None]
    reach = norm(atoms[..., None, :, :] - probes[:, :, None, :, None])  # (BS, L, K, 4, 5)
    shells = exp_of_negative(-mx.square((reach[..., None] - mx.array(SHELLS)) / SHELL_WIDTH))
    separation = mx.clip(_of_pairs(inputs.relative, index, samples), -REACH, REACH) + REACH
    bonded = _of_pairs(inputs.bonded, index, samples).astype(mx.float32)
    edges = mx.concatenate([local.flatten(-2) / 8.0, shells.flatten(-3), bonded[..., None]], axis=-1)
    torsions = _torsion_features(points, mx.repeat(inputs.relative, samples, axis=0), pairs)
    return Surroundings(torsions, index, near, edges, separation)


def _of_pairs(pairs: mx.array, index: mx.array, samples: int) -> mx.array:
    """Return what pairs of residues (B, L, L) have at an index (B S, L, K)."""
    return mx.take_along_axis(mx.repeat(pairs, samples, axis=0), index, axis=-1)


def _torsion_features(points: mx.array, relative: mx.array, pairs: mx.array) -> mx.array:
    """Return cosine and sine of phi and psi of each residue and of its neighbours along the chain or ring."""
    before, after = ((relative == step) & pairs for step in (1, -1))  # (N, L, L)
    has = [each.any(axis=-1, keepdims=True).astype(mx.float32) for each in (before, after)]  # (N, L, 1)
    place = [each.argmax(axis=-1)[..., None] for each in (before, after)]
    n, ca, c = (points[:, :, atom] for atom in range(3))
    phi = dihedral(take_rows(c, place[0])[:, :, 0], n, ca, c)
    psi = dihedral(n, ca, c, take_rows(n, place[1])[:, :, 0])
    own = mx.concatenate(
        [
            mx.stack([mx.cos(angle), mx.sin(angle)], axis=-1) * known
            for angle, known in zip((phi, psi), has, strict=True)
        ],
        axis=-1,
    )  # (N, L, 4)
    others = [take_rows(own, at)[:, :, 0] * known for at, known in zip(place, has, strict=True)]
    return mx.concatenate([own, *others], axis=-1)
