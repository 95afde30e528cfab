"""Fit the confidence to errors on structures that the network was not trained on."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
import numpy as np

from betafold_mlx.fold.confidence import confidence_features
from betafold_mlx.fold.ensemble import NOTHING, refine
from betafold_mlx.fold.pipeline import find_templates
from betafold_mlx.fold.registry import CANDIDATES
from betafold_mlx.geometry.metrics import lddt
from betafold_mlx.model.directory import CARD_FILE, CONFIG_FILE, load_model, save_model
from betafold_mlx.model.folding import FoldingModel
from betafold_mlx.templates.library import LIBRARY_FILE, TemplateLibrary
from betafold_mlx.train.batches import Batch, peptides_of


def calibrate_directory(
    directory: Path, batches: list[tuple[Batch, np.ndarray]], templates: TemplateLibrary | None = None
) -> None:
    """Calibrate the model in a directory, as `calibrate` does, and write it back with its template library."""
    loaded = load_model(directory)
    calibrate(loaded.model, batches, templates)
    training = json.loads((directory / CONFIG_FILE).read_text(encoding="utf-8"))["training"]
    card = (directory / CARD_FILE).read_text(encoding="utf-8")
    save_model(directory, loaded.model, card, training, mx.float16)
    if templates is not None:
        templates.save(directory / LIBRARY_FILE)


def calibrate(
    model: FoldingModel,
    batches: list[tuple[Batch, np.ndarray]],
    templates: TemplateLibrary | None = None,
    seed: int = 0,
) -> None:
    """Fold the validation batches as `fold` does, and fit the model's confidence to the lDDT they reach.

    Every peptide counts the same, whatever its length; whole peptides together count as much as fragments together,
    since they are what people fold, and few. The batches are from `betafold_mlx.train.validate.validation_batches`;
    none of the templates may be from the validation split.
    """
    features, reached, shares = [], [], []
    wholes = np.concatenate([whole for _, whole in batches])
    for batch, whole in batches:
        folded = model(batch.inputs)
        hits = None if templates is None else find_templates(peptides_of(batch.inputs), templates)
        ensemble = refine(folded, batch.inputs, seed, range(CANDIDATES), templates=hits)
        mask = batch.inputs.mask[:, None] & mx.array(ensemble.source != NOTHING)[..., None]
        target = batch.targets.coordinates[:, None, :, 1]
        each = np.array(lddt(ensemble.coordinates[:, :, :, 1], target, mask))  # (B, S, L)
        known = np.broadcast_to(np.array(mask), each.shape)
        counts = np.array(mask.sum(axis=(1, 2)))  # of all candidates
        of_kind = np.where(whole, max(wholes.sum(), 1), max((~wholes).sum(), 1))
        share = np.broadcast_to((1.0 / (counts * of_kind))[:, None, None], each.shape)
        features.append(np.array(confidence_features(folded, ensemble))[known].astype(np.float64))
        reached.append(each[known].astype(np.float64))
        shares.append(share[known])
    weight, bias = fit_logistic(np.concatenate(features), np.concatenate(reached), np.concatenate(shares))
    model.calibration.weight = mx.array(weight.astype(np.float32))
    model.calibration.bias = mx.array(np.float32(bias))


def fit_logistic(
    features: np.ndarray, reached: np.ndarray, weights: np.ndarray, ridge: float = 1e-3
) -> tuple[np.ndarray, float]:
    """Fit a logistic regression of a share by Newton's method (iteratively reweighted least squares).

    Of features (n, F), the shares that were reached (n,), 0 to 1 and not only the ends, and how much each counts
    (n,). `ridge` is the penalty on the squared weights of the standardised features. Return the weights (F,) and the
    bias.
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
