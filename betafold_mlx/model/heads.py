"""Heads on a residue's state: torsion angles and confidence."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from betafold_mlx.model.transformer import relu

PLDDT_BINS = 50
"""Bins of the predicted lDDT over [0, 1], as in AlphaFold 2 (Jumper et al. 2021, suppl. algorithm 29)."""


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
    """Return the same angles, whose gradient no longer grows as their vectors get shorter.

    The direction of a vector of length r turns by 1 / r for each unit step across it. A short vector means an
    uncertain torsion, so through the reconstruction the uncertain torsions would drown the others. Scaled by r,
    each torsion is moved by its leverage on the structure alone.

    Parameters
    ----------
    angles : mx.array
        (...) radians, `vectors_to_angles` of `vectors`.
    vectors : mx.array
        (..., 2).
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
