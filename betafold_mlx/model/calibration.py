"""Calibration of the confidence: a logistic regression from features of a structure to its lDDT."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np

FEATURES = (
    *("expected_lddt", "expected_lddt_mean", "state_plddt", "state_plddt_mean"),
    *("torsion_density", "torsion_density_mean", "strain_mean", "log_length", "template_share"),
)
"""What it looks at, for each residue of a structure (`betafold_mlx.fold.confidence`)."""


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


def fit_logistic(
    features: np.ndarray, reached: np.ndarray, weights: np.ndarray, ridge: float = 1e-3
) -> tuple[np.ndarray, float]:
    """Fit a logistic regression of a share by Newton's method (iteratively reweighted least squares).

    Parameters
    ----------
    features : numpy.ndarray
        (n, F).
    reached : numpy.ndarray
        (n,), 0 to 1: not only the ends.
    weights : numpy.ndarray
        (n,) how much each counts.
    ridge : float
        Penalty on the squared weights of the standardised features, a unit of weight.

    Returns
    -------
    weight : numpy.ndarray
        (F,).
    bias : float
    """
    centre, scale = features.mean(axis=0), features.std(axis=0) + 1e-9
    x = np.concatenate([(features - centre) / scale, np.ones((len(features), 1))], axis=1)
    share = weights / weights.sum()
    penalty = ridge * np.append(np.ones(features.shape[1]), 0.0)
    beta = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-(x @ beta)))
        gradient = x.T @ (share * (p - reached)) + penalty * beta
        hessian = (x * (share * np.maximum(p * (1 - p), 1e-4))[:, None]).T @ x + np.diag(penalty + 1e-9)
        step = np.linalg.solve(hessian, gradient)
        beta -= step
        if np.abs(step).max() < 1e-9:
            break
    weight = beta[:-1] / scale
    return weight, float(beta[-1] - weight @ centre)
