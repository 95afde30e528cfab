"""The judge: a network that sees a structure, and predicts how right it is.

The folding network's confidence knows the sequence and its own distances. The judge is shown a finished structure -
distances, orientations, hydrogen bonds, torsions - beside what the folding network says of the peptide, and learns from
a large number of decoys what right ones look like. For each residue it predicts the lDDT, for the whole the RMSD.
"""

from __future__ import annotations

from typing import NamedTuple

import mlx.core as mx
import mlx.nn as nn

from betafold_mlx.geometry.frames import distances, from_three_points
from betafold_mlx.model.attention import PairBias
from betafold_mlx.model.config import JudgeConfig
from betafold_mlx.model.transformer import TransformerBlock, dropout, relu, split_key

SHELLS = tuple(2.0 + 1.5 * k for k in range(16))
"""Centres of the Gaussians that spell a C-alpha distance, Angstrom; each is `SHELL_WIDTH` wide."""
SHELL_WIDTH = 1.5

REACH = 32
"""Separations along the chain that the judge tells apart."""

PAIR_FEATURES = len(SHELLS) + 17


class JudgeInputs(NamedTuple):
    """Structures to be judged: S of each of B peptides, padded to L residues."""

    states: mx.array  # (B, L, D) last states of the folding network
    mask: mx.array  # (B, L) bool, True = real residue
    relative: mx.array  # (B, L, L) int separations along the chain, around a ring the shorter way
    bonded: mx.array  # (B, L, L) bool, stated disulfides
    # (B, L, L) expected C-alpha distance and its standard deviation, by network and templates. Angstrom
    distance: mx.array
    spread: mx.array
    coordinates: mx.array  # (B, S, L, A, 3) with A >= 4: N, CA, C, O. Angstrom
    features: mx.array  # (B, S, L, F) what else is known of each residue of a structure


class Verdict(NamedTuple):
    """What the judge says of S structures of each of B peptides."""

    lddt_logits: mx.array  # (B, S, L): their sigmoid is the expected lDDT of a residue, 0 to 1
    log_rmsd: mx.array  # (B, S) expected natural logarithm of the backbone RMSD in Angstrom


class Judge(nn.Module):
    """A small Transformer over the residues of a structure, whose attention is biased by its pairs."""

    def __init__(self, config: JudgeConfig) -> None:
        super().__init__()
        self.config = config
        self.state_norm = nn.LayerNorm(config.states)
        self.read_state = nn.Linear(config.states, config.width)
        self.read_features = nn.Linear(config.features, config.width)
        self.pair = nn.Linear(PAIR_FEATURES, config.pair_width)
        self.separation = PairBias(config.pair_width, REACH + 1)
        self.pair_hidden = nn.Linear(config.pair_width, config.pair_width)
        self.gather = nn.Linear(config.pair_width, config.width)
        self.biases = [nn.Linear(config.pair_width, config.heads) for _ in range(config.layers)]
        sizes = (config.width, config.heads, config.ffn_width, config.dropout)
        self.blocks = [TransformerBlock(*sizes) for _ in range(config.layers)]
        self.norm = nn.LayerNorm(config.width)
        self.hidden = nn.Linear(config.width, config.width)
        self.lddt = nn.Linear(config.width, 1)
        self.rmsd = nn.Linear(config.width, 1)
        self.scale = mx.array([1.0, 0.0, 0.0, 0.0])  # of `scale_features`, and what is added
        self.freeze(keys=["scale"], recurse=False)

    def __call__(self, inputs: JudgeInputs, key: mx.array | None = None) -> Verdict:
        """Judge structures; dropout is on where a random key (2,) is given."""
        batch, number, length = inputs.coordinates.shape[:3]
        mask = mx.repeat(inputs.mask, number, axis=0)  # (BS, L)
        count = mx.maximum(mask.sum(axis=1), 1)[:, None]
        keys = split_key(key, len(self.blocks) + 1)

        pairs = self.pair(pair_features(inputs)).reshape(batch, number, length, length, -1)
        placed = self.separation(inputs.relative, inputs.bonded).transpose(0, 2, 3, 1)  # (B, L, L, P)
        pairs = relu(pairs + placed[:, None]).reshape(batch * number, length, length, -1)
        pairs = relu(self.pair_hidden(pairs))  # (BS, L, L, P)
        near = (pairs * mask[:, None, :, None]).sum(axis=2) / count[..., None]
        states = self.read_state(self.state_norm(inputs.states))[:, None] + self.read_features(
            inputs.features
        )
        states = states.reshape(batch * number, length, -1) + self.gather(near)
        states = dropout(states, self.config.dropout, keys[-1])
        for block, bias, own in zip(self.blocks, self.biases, keys, strict=False):
            states, _ = block(states, mask, bias(pairs).transpose(0, 3, 1, 2), own)
        states = relu(self.hidden(self.norm(states)))
        whole = (states * mask[..., None]).sum(axis=1) / count
        return Verdict(
            self.lddt(states)[..., 0].reshape(batch, number, length),
            self.rmsd(whole)[:, 0].reshape(batch, number),
        )

    def plddt(self, verdict: Verdict, mask: mx.array) -> mx.array:
        """Return the lDDT (B, S, L) to be expected, 0 to 100, on the scale of errors seen on held-out structures."""
        return 100.0 * mx.sigmoid(scale_features(verdict, mask) @ self.scale[:-1] + self.scale[-1])


def scale_features(verdict: Verdict, mask: mx.array) -> mx.array:
    """Return what the pLDDT is a logistic regression of, (B, S, L, 3): each logit, their mean, and the log RMSD."""
    mask = mask[:, None]
    logits = verdict.lddt_logits
    mean = (logits * mask).sum(axis=-1, keepdims=True) / mx.maximum(mask.sum(axis=-1, keepdims=True), 1)
    whole = (mx.broadcast_to(each, logits.shape) for each in (mean, verdict.log_rmsd[..., None]))
    return mx.stack([logits, *whole], axis=-1)


def pair_features(inputs: JudgeInputs) -> mx.array:
    """Return what the judge sees of each pair of residues of a structure: (B, S, L, L, `PAIR_FEATURES`).

    The C-alpha distance, spelt by Gaussians; the direction to the other C-alpha and the other residue's axes in the
    frame of the residue (N, CA, C); N-O contacts both ways; and how far the distance is from what the folding network
    and the templates expect, in standard deviations, and these.
    """
    n, ca, c, o = (inputs.coordinates[..., atom, :] for atom in range(4))  # (B, S, L, 3)
    rotation, _ = from_three_points(n, ca, c)
    apart = distances(ca, ca)  # (B, S, L, L)
    shells = mx.exp(-mx.square((apart[..., None] - mx.array(SHELLS)) / SHELL_WIDTH))
    towards = (ca[:, :, None] - ca[:, :, :, None]) / (apart[..., None] + 1.0)  # (B, S, L, L, 3)
    direction = towards @ rotation  # in the frame of the first
    turned = rotation.swapaxes(-1, -2)[:, :, :, None] @ rotation[:, :, None]  # (B, S, L, L, 3, 3)
    contact = mx.exp(-mx.square((distances(n, o) - 2.9) / 0.6))
    off = (apart - inputs.distance[:, None]) / inputs.spread[:, None]
    scalars = [
        contact,
        contact.swapaxes(-1, -2),
        mx.clip(off, -4.0, 4.0),
        mx.broadcast_to(mx.log(inputs.spread)[:, None], apart.shape),
        mx.minimum(apart, 40.0) / 20.0,
    ]
    return mx.concatenate([shells, direction, turned.flatten(-2), mx.stack(scalars, axis=-1)], axis=-1)
