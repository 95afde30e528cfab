"""Heads: torsions and confidence of residues, C-alpha distances of pairs, and the calibration of the confidence."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from betafold_mlx.model.transformer import relu

PLDDT_BINS = 50
"""Bins of the predicted lDDT over [0, 1], as in AlphaFold 2 (Jumper et al. 2021, suppl. algorithm 29)."""

EDGES = np.concatenate([np.arange(4.0, 16.0, 0.5), np.arange(16.0, 32.0, 1.0), np.arange(32.0, 40.1, 2.0)])
"""Edges between the bins of a distance, Angstrom: finer where a contact is decided; all from 40 on is one bin."""

BINS = len(EDGES) + 1

OUTERMOST = (3.6, 44.0)
"""Ends of the first and the last bin where they need some, Angstrom."""

CENTRES = np.concatenate([[3.8], (EDGES[1:] + EDGES[:-1]) / 2, [42.0]])
"""Distance that stands for each bin, Angstrom. (CA-CA across a cis bond is 2.9, across a trans bond 3.8.)"""

FEATURES = (
    *("expected_lddt", "expected_lddt_mean", "state_plddt", "state_plddt_mean"),
    *("torsion_density", "torsion_density_mean", "strain_mean", "log_length", "template_share"),
)
"""What the calibration looks at, for each residue of a structure (`betafold_mlx.fold.confidence`)."""


class TorsionHead(nn.Module):
    """States -> (cos, sin) of phi, psi and omega.

    Each torsion comes as a vector in the plane, not as a number: an angle would jump at +-180 degrees. Trained
    by squared error against unit vectors, the vector tends to the mean of the unit vectors that fit the context:
    its direction is the circular mean, and its length (0 to 1) the mean resultant length - how sure it is.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 6)

    def __call__(self, states: mx.array) -> mx.array:
        """(B, L, D) -> (B, L, 3, 2): cosine and sine of phi, psi, omega, not normalised."""
        return self.linear(states).reshape(*states.shape[:-1], 3, 2)


def vectors_to_angles(vectors: mx.array) -> mx.array:
    """Return the directions (...), radians in [-pi, pi], of (cos, sin) vectors (..., 2) of any length."""
    cos, sin = vectors[..., 0], vectors[..., 1]
    # arctan2(0, 0) has no gradient; the nudge is far below float32 resolution of any trained vector.
    tiny = (mx.abs(cos) + mx.abs(sin)) < 1e-12
    return mx.arctan2(sin, mx.where(tiny, 1e-12, cos))


def with_bounded_gradient(angles: mx.array, vectors: mx.array) -> mx.array:
    """Return the same angles, those of vectors (..., 2), whose gradient no longer grows as the vectors get shorter.

    The direction of a vector of length r turns by 1 / r for each unit step across it. A short vector means an
    uncertain torsion, so through the reconstruction the uncertain torsions would drown the others. Scaled by r,
    each torsion is moved by its leverage on the structure alone.
    """
    length = mx.stop_gradient(mx.minimum(mx.linalg.norm(vectors, axis=-1), 1.0))
    fixed = mx.stop_gradient(angles)
    return fixed + length * (angles - fixed)


class ConfidenceHead(nn.Module):
    """States -> logits over bins of the residue's lDDT."""

    def __init__(self, width: int, hidden: int = 128) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, hidden)
        self.logits = nn.Linear(hidden, PLDDT_BINS)

    def __call__(self, states: mx.array) -> mx.array:
        """(B, L, D) -> (B, L, bins)."""
        return self.logits(relu(self.hidden(self.norm(states))))


def expected_plddt(logits: mx.array) -> mx.array:
    """Return the expected lDDT (...), 0 to 100, under logits (..., bins)."""
    centres = (mx.arange(PLDDT_BINS) + 0.5) * (100.0 / PLDDT_BINS)
    return (mx.softmax(logits, axis=-1) * centres).sum(axis=-1)


class DistogramHead(nn.Module):
    """States of residues -> logits over the C-alpha distance of each pair.

    The features of a pair are both states, their elementwise product (in a narrower projection), the ring-aware
    separation along the sequence, and whether a disulfide between the two is stated; then a perceptron with one
    hidden layer. The logits are those of (i, j) and (j, i) averaged. Separations are clipped to +- (max_length - 1).
    """

    def __init__(self, width: int, max_length: int, product: int = 64, hidden: int = 96) -> None:
        super().__init__()
        self._reach = max_length - 1
        self.first = nn.Linear(width, hidden)
        self.second = nn.Linear(width, hidden, bias=False)
        self.narrow = nn.Linear(width, product)
        self.product = nn.Linear(product, hidden, bias=False)
        self.separation = nn.Embedding(2 * max_length - 1, hidden)
        self.disulfide = mx.zeros((hidden,))
        self.logits = nn.Linear(hidden, BINS)

    def __call__(self, states: mx.array, relative: mx.array, bonded: mx.array) -> mx.array:
        """Return the logits (B, L, L, bins), symmetric in the residues.

        Of states (B, L, D), separations from `betafold_mlx.model.attention.relative_positions`, and where a disulfide
        is stated, both (B, L, L).
        """
        narrow = self.narrow(states)  # (B, L, P)
        hidden = self.product(narrow[:, :, None] * narrow[:, None, :])  # (B, L, L, H)
        hidden = hidden + self.first(states)[:, :, None] + self.second(states)[:, None, :]
        index = mx.clip(relative, -self._reach, self._reach) + self._reach
        hidden = hidden + self.separation(index) + bonded[..., None] * self.disulfide
        hidden = relu(hidden)
        return self.logits(0.5 * (hidden + hidden.swapaxes(1, 2)))


def distance_bins(distances: mx.array) -> mx.array:
    """Return the bin of each distance: (...) Angstrom -> (...) int32."""
    return (distances[..., None] >= mx.array(EDGES.astype(np.float32))).sum(axis=-1).astype(mx.int32)


def expected_distances(logits: mx.array) -> mx.array:
    """Return the expected distance of each pair: (..., bins) -> (...) Angstrom."""
    return mx.softmax(logits, axis=-1) @ mx.array(CENTRES.astype(np.float32))


class Calibration(nn.Module):
    """A logistic regression of the lDDT of a residue: fitted to held-out errors, not trained with the network."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = mx.array([float(name == "expected_lddt") for name in FEATURES])
        self.bias = mx.zeros(())
        self.freeze()

    def __call__(self, features: mx.array) -> mx.array:
        """(..., F) -> (...) predicted lDDT, 0 to 100."""
        return 100.0 * mx.sigmoid(features @ self.weight + self.bias)
