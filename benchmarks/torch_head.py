"""The folding network and its losses in PyTorch, as a port of `betafold_mlx.model` would be: ``scripts/bench`` only.

Modules and parameters have the names they have in `betafold_mlx.model.folding.FoldingModel`, so that one takes the
other's weights, and the loss of both can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from betafold_mlx.geometry import ideal, nerf
from betafold_mlx.model.config import ModelConfig
from betafold_mlx.model.heads import BINS, EDGES, PLDDT_BINS
from betafold_mlx.model.ramachandran import MAX_CONCENTRATION, STATES
from betafold_mlx.train.training_config import LossWeights


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = (
            linear(x).view(batch, length, self.heads, -1).transpose(1, 2)
            for linear in (self.query, self.key, self.value)
        )
        attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.output(attended.transpose(1, 2).reshape(batch, length, width))


class FeedForward(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.expand, self.contract = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.contract(functional.relu(self.expand(x)))


class Block(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.rate = config.dropout
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(config.width), nn.LayerNorm(config.width)
        self.attention = Attention(config.width, config.heads)
        self.feed_forward = FeedForward(config.width, config.ffn_width)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        x = x + functional.dropout(self.attention(self.attention_norm(x), bias), self.rate, self.training)
        return x + functional.dropout(self.feed_forward(self.feed_forward_norm(x)), self.rate, self.training)


class Transformer(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, bias)
        return self.norm(x)


class PairBias(nn.Module):
    def __init__(self, heads: int, reach: int) -> None:
        super().__init__()
        self.separation = nn.Embedding(2 * reach + 1, heads)
        self.disulfide = nn.Parameter(torch.zeros(heads))

    def forward(self, index: Tensor, bonded: Tensor) -> Tensor:
        return (self.separation(index) + bonded[..., None] * self.disulfide).permute(0, 3, 1, 2)


class TorsionHead(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 6)

    def forward(self, states: Tensor) -> Tensor:
        return self.linear(states).unflatten(-1, (3, 2))


class RamachandranHead(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, STATES)
        self.centre = nn.Parameter(torch.zeros(STATES, 2))
        self.log_concentration = nn.Parameter(torch.full((STATES, 2), math.log(8.0)))

    def forward(self, states: Tensor, torsions: Tensor, known: Tensor) -> Tensor:
        """Return the log density of phi and psi."""
        weights = functional.log_softmax(self.linear(states), dim=-1)
        k = self.log_concentration.exp().clamp(max=MAX_CONCENTRATION)
        constant = weights - known @ torch.log(2 * math.pi * torch.special.i0e(k)).add(k).T
        point = torch.cat([torsions.cos() * known, torsions.sin() * known], dim=-1)
        factors = torch.cat([k * self.centre.cos(), k * self.centre.sin()], dim=-1)
        return torch.logsumexp(constant + point @ factors.T, dim=-1)


class DistogramHead(nn.Module):
    def __init__(self, width: int, reach: int, product: int = 64, hidden: int = 96) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, hidden), nn.Linear(width, hidden, bias=False)
        self.narrow, self.product = nn.Linear(width, product), nn.Linear(product, hidden, bias=False)
        self.separation = nn.Embedding(2 * reach + 1, hidden)
        self.disulfide = nn.Parameter(torch.zeros(hidden))
        self.logits = nn.Linear(hidden, BINS)

    def forward(self, states: Tensor, index: Tensor, bonded: Tensor) -> Tensor:
        narrow = self.narrow(states)
        hidden = self.product(narrow[:, :, None] * narrow[:, None, :])
        hidden = hidden + self.first(states)[:, :, None] + self.second(states)[:, None, :]
        hidden = functional.relu(hidden + self.separation(index) + bonded[..., None] * self.disulfide)
        return self.logits(0.5 * (hidden + hidden.transpose(1, 2)))


class ConfidenceHead(nn.Module):
    def __init__(self, width: int, hidden: int = 128) -> None:
        super().__init__()
        self.norm, self.hidden, self.logits = (
            nn.LayerNorm(width),
            nn.Linear(width, hidden),
            nn.Linear(hidden, PLDDT_BINS),
        )

    def forward(self, states: Tensor) -> Tensor:
        return self.logits(functional.relu(self.hidden(self.norm(states))))


class Network(nn.Module):
    """The network with its losses.

    Parameters
    ----------
    config : ModelConfig
        Sizes; of the residue embedder and learned positions.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.reach = config.max_length - 1
        self.embedding = nn.Embedding(20, config.width)
        self.positions = nn.Parameter(torch.zeros(config.max_length, config.width))
        self.pair_bias = PairBias(config.heads, self.reach)
        self.transformer = Transformer(config)
        self.torsion_head = TorsionHead(config.width)
        self.ramachandran_head = RamachandranHead(config.width)
        self.distogram_head = DistogramHead(config.width, self.reach)
        self.confidence_head = ConfidenceHead(config.width)
        self.rate = config.dropout
        self.register_buffer("table", torch.from_numpy(nerf._RESIDUE_TABLE), persistent=False)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take the weights of a `FoldingModel`."""
        missing = self.load_state_dict(dict(weights), strict=False)
        assert not missing.missing_keys, missing
        assert all(name.startswith("calibration.") for name in missing.unexpected_keys), missing

    def forward(
        self, residues: Tensor, mask: Tensor, bonded: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return states (B, L, D), vectors (B, L, 3, 2), coordinates (B, L, 5, 3) and distogram (B, L, L, bins)."""
        length = residues.shape[1]
        x = functional.dropout(self.embedding(residues) + self.positions[:length], self.rate, self.training)
        place = torch.arange(length)
        index = (place[:, None] - place[None, :] + self.reach).expand(
            len(residues), -1, -1
        )  # no rings in the benchmark
        bias = self.pair_bias(index, bonded).masked_fill(
            ~mask[:, None, None, :], torch.finfo(torch.float32).min
        )
        states = self.transformer(x, bias)
        vectors = self.torsion_head(states)
        angles = torch.atan2(vectors[..., 1], vectors[..., 0])
        size = vectors.norm(dim=-1).clamp(max=1).detach()
        torsions = angles.detach() + size * (angles - angles.detach())
        return (
            states,
            vectors,
            self.build(torsions, residues, mask),
            self.distogram_head(states, index, bonded),
        )

    def loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the training loss of a batch, by the names of `ModelInputs` and `Targets`."""
        residues, mask, truth, torsions = (batch[n] for n in ("residues", "mask", "coordinates", "torsions"))
        states, vectors, coordinates, distogram = self(residues.long(), mask, batch["bonded"])
        logits = self.confidence_head(states.detach())
        defined, ca, true_ca = batch["defined"].float(), coordinates[:, :, 1], truth[:, :, 1]
        pairs = mask[:, :, None] & mask[:, None, :]
        distances = safe_distances(ca)
        with torch.no_grad():
            true_distances = safe_distances(true_ca)
        target = torch.stack([torsions.cos(), torsions.sin()], dim=-1)
        torsion = ((vectors - target).square().sum(-1) * defined).sum((1, 2)) / defined.sum((1, 2)).clamp(
            min=1
        )
        known = defined[..., :2]
        counts = known.any(-1)
        density = self.ramachandran_head(states, torsions[..., :2], known)
        ramachandran = -(density * counts).sum(1) / counts.sum(1).clamp(min=1)
        bins = torch.bucketize(true_distances, torch.from_numpy(EDGES).float(), right=True)
        entropy = functional.cross_entropy(distogram.flatten(0, 2), bins.flatten(), reduction="none").view_as(
            bins
        )
        apart = torch.ones_like(pairs[0]).triu(2) & pairs
        far = (entropy * apart).sum((1, 2)) / apart.sum((1, 2)).clamp(min=1)
        upper = torch.ones_like(pairs[0]).triu(1) & pairs
        square = ((distances - true_distances).square() * upper).sum((1, 2)) / upper.sum((1, 2)).clamp(min=1)
        with torch.no_grad():
            deviation = (distances - true_distances).abs()
            near = pairs & (true_distances <= 15.0) & ~torch.eye(mask.shape[1], dtype=torch.bool)
            kept = (deviation[..., None] <= torch.tensor([0.5, 1.0, 2.0, 4.0])).float().mean(-1)
            achieved = (kept * near).sum(-1) / near.sum(-1).clamp(min=1)
            chosen = (achieved * PLDDT_BINS).long().clamp(0, PLDDT_BINS - 1)
        entropy = functional.cross_entropy(logits.flatten(0, 1), chosen.flatten(), reduction="none").view_as(
            chosen
        )
        confidence = (entropy * mask).sum(1) / mask.sum(1).clamp(min=1)
        w = LossWeights()
        total = w.torsion * torsion + w.ramachandran * ramachandran + w.distogram * far
        total = total + w.drmsd * (square + 1e-12).sqrt() + w.confidence * confidence
        return (total * batch["weights"]).sum() / batch["weights"].sum()

    def build(self, torsions: Tensor, residues: Tensor, mask: Tensor) -> Tensor:
        """Return the backbone (B, L, 5, 3), by the scan of `betafold_mlx.geometry.nerf`; autograd differentiates it."""
        phi, psi, omega = torch.where(mask[..., None], torsions, 0).permute(2, 0, 1)
        pro = functional.pad((residues[:, 1:] == ideal.PRO) & mask[:, 1:], (0, 1))
        k = self.table[residues + pro * (len(self.table) // 2)].permute(2, 0, 1)
        here, there = k[..., :-1], k[..., 1:]
        to_n = turn(psi[:, :-1], here[nerf._CA_C_N.start], here[nerf._CA_C_N.start + 1])
        to_ca = multiply(to_n, turn(omega[:, :-1], there[nerf._C_N_CA.start], there[nerf._C_N_CA.start + 1]))
        rotations = multiply(
            to_ca, turn(phi[:, 1:], there[nerf._N_CA_C.start], there[nerf._N_CA_C.start + 1])
        )
        step = to_n[:, 0] * there[nerf._C_N] + to_ca[:, 0] * there[nerf._N_CA]
        step = torch.cat([step[:1] + here[nerf._CA_C], step[1:]])
        shift = 1
        while shift < rotations.shape[-1]:
            products = multiply(rotations[..., :-shift], rotations[..., shift:])
            rotations = torch.cat([rotations[..., :shift], products], dim=-1)
            shift *= 2
        identity = torch.eye(3)[:, :, None, None].expand(3, 3, len(residues), 1)
        rotations = torch.cat([identity, rotations], dim=-1)
        ca = functional.pad(multiply(rotations[..., :-1], step[:, None])[:, 0].cumsum(-1), (1, 0))
        zero, radius = torch.zeros_like(psi), k[nerf._O_RADIUS]
        x = torch.stack([k[nerf._N_X], zero, k[nerf._CA_C], k[nerf._O_X], k[nerf._CB_X]])
        y = torch.stack([k[nerf._N_Y], zero, zero, -radius * psi.cos(), k[nerf._CB_Y]])
        z = torch.stack([zero, zero, zero, -radius * psi.sin(), k[nerf._CB_Z]])
        atoms = multiply(rotations, torch.stack([x, y, z])) + ca[:, None]
        return torch.where(mask[..., None, None], atoms.permute(2, 3, 1, 0), 0)


def safe_distances(points: Tensor) -> Tensor:
    """Return all distances (B, L, L) of points (B, L, 3), with a finite gradient on the diagonal."""
    square = (points[:, :, None] - points[:, None]).square().sum(-1)
    return torch.where(square > 0, square, 1).sqrt() * (square > 0)


def turn(torsion: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Return rotations from one bond's axes to the next bond's, (3, 3, ...)."""
    c, s = torsion.cos(), torsion.sin()
    rows = [[-cosine, -sine, torch.zeros_like(c)], [sine * c, -cosine * c, -s], [sine * s, -cosine * s, c]]
    return torch.stack([torch.stack(row) for row in rows])


def multiply(a: Tensor, b: Tensor) -> Tensor:
    """Return the products of matrices (3, 3, ...) and (3, k, ...)."""
    return a[:, 0:1] * b[0:1] + a[:, 1:2] * b[1:2] + a[:, 2:3] * b[2:3]


def as_tensors(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, Tensor]:
    """Return the arrays whose names begin with a prefix, by the rest of their names."""
    return {
        n.removeprefix(prefix): torch.from_numpy(a.copy()) for n, a in arrays.items() if n.startswith(prefix)
    }
