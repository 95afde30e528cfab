"""Ramachandran head: a distribution over (phi, psi) of each residue.

A mean angle between helix and strand is neither. Here each residue chooses among a few *states*, regions of the
Ramachandran plot that all residues share, each a product of two von Mises distributions (the normal distribution of
the circle). The network says how probable each state is; where the states lie and how wide they are is
learned too. From the mixture starts are drawn, candidates are judged, and the torsion with the smallest expected
error is read off.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
import numpy as np

STATES = 32
MAX_CONCENTRATION = 400.0
"""A von Mises distribution of this concentration has a standard deviation of 2.9 degrees."""

GRID = 72
"""Angles that `best_angles` chooses among: every 5 degrees."""


class RamachandranHead(nn.Module):
    """States of residues -> logits over regions of the Ramachandran plot."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, STATES)
        self.centre = math.pi * (2 * mx.random.uniform(shape=(STATES, 2)) - 1)
        self.log_concentration = mx.full((STATES, 2), math.log(8.0))

    def start_from(self, centre: np.ndarray, concentration: np.ndarray, weight: np.ndarray) -> None:
        """Put the regions where the data is (`fit_states`), before training."""
        self.centre = mx.array(centre.astype(np.float32))
        self.log_concentration = mx.array(np.log(concentration).astype(np.float32))
        self.linear.bias = mx.array(np.log(weight).astype(np.float32))

    def __call__(self, states: mx.array) -> TorsionMixture:
        """(B, L, D) -> the mixtures of B peptides of L residues."""
        logits = self.linear(states)
        log_weights = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
        concentration = mx.minimum(mx.exp(self.log_concentration), MAX_CONCENTRATION)
        return TorsionMixture(log_weights, self.centre, concentration)


@dataclass(frozen=True, eq=False)
class TorsionMixture:
    """Mixtures of von Mises distributions over (phi, psi).

    Attributes
    ----------
    log_weights : mx.array
        (..., K), normalised.
    centre : mx.array
        (K, 2) radians.
    concentration : mx.array
        (K, 2).
    """

    log_weights: mx.array
    centre: mx.array
    concentration: mx.array

    def log_density(self, angles: mx.array, defined: mx.array) -> mx.array:
        """Return the log density (...) of phi, psi (..., 2) in radians, in nats per radian each.

        What is undefined is integrated out.
        """
        known = defined.astype(mx.float32)
        constant = self.log_weights - known @ log_normaliser(self.concentration).T  # (..., K)
        # k cos(x - c) = k cos c cos x + k sin c sin x: a product of matrices, and no cosine for each state
        point = mx.concatenate([mx.cos(angles) * known, mx.sin(angles) * known], axis=-1)  # (..., 4)
        factors = [self.concentration * mx.cos(self.centre), self.concentration * mx.sin(self.centre)]
        return mx.logsumexp(constant + point @ mx.concatenate(factors, axis=-1).T, axis=-1)

    def best_angles(self) -> mx.array:
        """Return the angles (..., 2) with the smallest expected absolute error (the circular medians)."""
        grid = mx.arange(GRID) * (2 * math.pi / GRID) - math.pi
        density = self.concentration[:, :, None] * mx.cos(grid - self.centre[:, :, None])
        density = mx.exp(density - log_normaliser(self.concentration)[:, :, None])  # (K, 2, G)
        turn = mx.abs(grid[:, None] - grid)
        error = density @ mx.minimum(turn, 2 * math.pi - turn)  # (K, 2, G), expected error up to a factor
        expected = mx.exp(self.log_weights) @ error.reshape(error.shape[0], -1)  # (..., 2 G)
        return grid[mx.argmin(expected.reshape(*expected.shape[:-1], 2, GRID), axis=-1)]

    def sample(self, key: mx.array, temperature: float = 1.0) -> mx.array:
        """Draw torsions, with the same random numbers for each peptide: what one is drawn depends on no other.

        (..., L, 2) radians: the centre of a drawn state, with a wrapped normal deviation of its width. The
        temperature is of the choice of state: below 1 the probable ones are drawn more often than their probability.
        """
        first, second = mx.random.split(key)
        length, states = self.log_weights.shape[-2:]
        # The largest of the log probabilities with Gumbel noise is a draw from them (Gumbel 1954).
        noise = mx.random.gumbel((length, states), key=first)
        state = mx.argmax(self.log_weights / temperature + noise, axis=-1)  # (..., L)
        return self.centre[state] + mx.rsqrt(self.concentration)[state] * mx.random.normal(
            (length, 2), key=second
        )


def log_normaliser(concentration: mx.array) -> mx.array:
    """Return log(2 pi I0(k)), the normaliser of the von Mises distribution, elementwise.

    I0 by the polynomials of Abramowitz & Stegun 1964, 9.8.1 and 9.8.2; relative error below 2e-7.
    """
    low = mx.square(mx.minimum(concentration, 3.75) / 3.75)
    series = mx.zeros_like(low)
    for factor in (0.0045813, 0.0360768, 0.2659732, 1.2067492, 3.0899424, 3.5156229, 1.0):
        series = series * low + factor
    large = mx.maximum(concentration, 3.75)
    inverse = 3.75 / large
    tail = mx.zeros_like(inverse)
    for factor in (
        *(0.00392377, -0.01647633, 0.02635537, -0.02057706, 0.00916281),
        *(-0.00157565, 0.00225319, 0.01328592, 0.39894228),
    ):
        tail = tail * inverse + factor
    log_i0 = mx.where(concentration < 3.75, mx.log(series), large + mx.log(tail) - 0.5 * mx.log(large))
    return log_i0 + math.log(2 * math.pi)


def fit_states(angles: np.ndarray, rounds: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit a mixture of K = `STATES` regions to observed phi, psi (N, 2), radians, by expectation-maximisation.

    Return centres and concentrations, (K, 2), and weights (K,) that sum to one.
    """
    rng = np.random.default_rng(0)
    centre = angles[rng.choice(len(angles), size=STATES, replace=len(angles) < STATES)].astype(np.float64)
    concentration = np.full((STATES, 2), 20.0)
    weight = np.full(STATES, 1 / STATES)
    exact = angles.astype(np.float64)
    points = np.concatenate([np.cos(exact), np.sin(exact)], axis=-1)  # (N, 4)
    for _ in range(rounds):
        factors = concentration * np.stack([np.cos(centre), np.sin(centre)])  # (2, K, 2)
        constant = (concentration + np.log(2 * np.pi * _scaled_i0(concentration))).sum(-1) - np.log(weight)
        log_p = points @ np.concatenate(factors, axis=-1).T - constant  # (N, K)
        p = np.exp(log_p - log_p.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        total = p.sum(axis=0) + 1e-9
        mean = (p.T @ points / total[:, None]).reshape(-1, 2, 2).swapaxes(1, 2)  # (K, angle, cosine or sine)
        length = np.clip(np.linalg.norm(mean, axis=-1), 0.05, 0.999)
        centre = np.arctan2(mean[..., 1], mean[..., 0])
        # Banerjee et al. 2005, eq. 4.4, on the circle
        concentration = np.minimum(length * (2 - length**2) / (1 - length**2), MAX_CONCENTRATION / 2)
        weight = np.maximum(total / total.sum(), 1e-4)
        weight /= weight.sum()
    return centre, concentration, weight


def _scaled_i0(k: np.ndarray) -> np.ndarray:
    """Return I0(k) exp(-k)."""
    return np.where(
        k < 500, np.i0(np.minimum(k, 500)) * np.exp(-np.minimum(k, 500)), 1 / np.sqrt(2 * np.pi * k)
    )
