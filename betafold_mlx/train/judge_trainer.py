"""Training the judge on decoys, in a run folder as any other (`betafold_mlx.train.run`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np

from betafold_mlx.errors import BetafoldError
from betafold_mlx.model.companions import JUDGE
from betafold_mlx.model.judge import Judge, Verdict, scale_features
from betafold_mlx.train import checkpoint
from betafold_mlx.train.calibrate import fit_logistic
from betafold_mlx.train.decoys import Decoys, load_decoys
from betafold_mlx.train.judge_settings import JudgeTrainConfig
from betafold_mlx.train.microbatch import in_microbatches
from betafold_mlx.train.run import Run

MICROBATCH = 8
"""Structures of a microbatch, each with its candidates."""

RMSD_FLOOR = 0.5
"""Angstrom: added before the logarithm, so that what is nearly right is as good as right."""

CHOICE = 0.5
"""Temperature of the choice between candidates, in natural logarithms of the RMSD."""


def judge_loss(verdict: Verdict, decoys: Decoys) -> tuple[mx.array, dict[str, mx.array]]:
    """Return the loss of a batch of decoys, and its parts.

    Cross-entropy of each residue's lDDT, squared error of the log RMSD, and the RMSD, in units of the mean over the
    candidates, that is to be expected when one is chosen by its predicted log RMSD.
    """
    made = decoys.made.astype(mx.float32)
    number = mx.maximum(made.sum(axis=1), 1)
    mask = decoys.inputs.mask[:, None] * made[..., None]  # (B, S, L)
    logits = verdict.lddt_logits
    entropy = mx.logaddexp(logits, 0) - logits * decoys.lddt
    residues = ((entropy * mask).sum(axis=(1, 2)) / mx.maximum(mask.sum(axis=(1, 2)), 1)).mean()
    log_rmsd = mx.log(decoys.rmsd + RMSD_FLOOR)
    whole = ((mx.square(verdict.log_rmsd - log_rmsd) * made).sum(axis=1) / number).mean()
    chances = mx.softmax(-verdict.log_rmsd / CHOICE - 1e4 * (1 - made), axis=1)
    mean = (decoys.rmsd * made).sum(axis=1) / number
    choice = ((chances * decoys.rmsd).sum(axis=1) / (mean + RMSD_FLOOR)).mean()
    return residues + whole + choice, {"lddt": residues, "rmsd": whole, "choice": choice}


class JudgeTrainer(Run):
    """One training of a judge in one folder, on files of decoys (`betafold_mlx.train.decoys`).

    A new run takes over the weights of `start`. BetafoldError without decoys, or with a damaged checkpoint.
    """

    config: JudgeTrainConfig
    model: Judge

    def __init__(
        self,
        directory: Path,
        decoys: list[Path],
        validation: list[Path],
        config: JudgeTrainConfig,
        resume: bool = False,
        start: Judge | None = None,
    ) -> None:
        if not decoys or not validation:
            raise BetafoldError("there are no decoys to learn from")
        self.directory, self.decoys, self.config = Path(directory), decoys, config
        self.validation = [load_decoys(path) for path in validation]
        mx.random.seed(config.seed)
        self.model = Judge(config.network)
        self.optimizer = optim.AdamW(config.learning_rate, weight_decay=config.weight_decay)
        self.optimizer.init(self.model.trainable_parameters())
        self.progress = self._restored(resume)
        if not self.progress.step and start is not None:
            self.model.update(start.parameters())
        self._start_average()

    def _loss(self, *arguments: Any) -> tuple[mx.array, dict[str, mx.array]]:
        decoys, keys = arguments
        return judge_loss(self.model(decoys.inputs, keys[0]), decoys)

    def _step(self, step_function: Callable[..., Any]) -> dict[str, Any]:
        step = self.progress.step
        rng = np.random.default_rng([self.config.seed, step])
        chosen = some_candidates(load_decoys(self.decoys[rng.integers(len(self.decoys))]), rng, self.config)
        keys = mx.random.split(mx.random.key((self.config.seed << 32) + step), len(chosen.made))
        (loss, parts), gradients = in_microbatches(self.model, step_function, chosen, keys, MICROBATCH)
        return self._update(loss, parts, gradients)

    def _validate(self) -> dict[str, float]:
        return judge_figures(self.model, self.validation)

    def _keep(self, figures: dict[str, float]) -> None:
        JUDGE.save(self.directory / checkpoint.BEST, self.model, self.config.model_sha256)

    def _complete(self) -> None:
        path = self.directory / checkpoint.BEST
        judge = JUDGE.load(path, self.config.model_sha256)
        fit_scale(judge, self.validation)
        JUDGE.save(path, judge, self.config.model_sha256)


def some_candidates(decoys: Decoys, rng: np.random.Generator, config: JudgeTrainConfig) -> Decoys:
    """Return some of the structures of a batch, and some of the candidates of each."""
    made = np.array(decoys.made)
    count = min(config.candidates, made.shape[1])
    rows = rng.permutation(len(made))[: config.peptides]
    # made ones first
    order = np.argsort(rng.random((len(rows), made.shape[1])) + ~made[rows], axis=1)[:, :count]
    row, column = mx.array(rows[:, None]), mx.array(order)
    inputs = decoys.inputs
    one = {name: array[mx.array(rows)] for name, array in inputs._asdict().items()}
    one["coordinates"] = inputs.coordinates[row, column]
    one["features"] = inputs.features[row, column]
    each = (array[row, column] for array in (decoys.lddt, decoys.rmsd, decoys.made))
    return Decoys(inputs._replace(**one), *each)


def fit_scale(judge: Judge, validation: list[Decoys]) -> None:
    """Put the pLDDT of a judge on the scale of the errors of validation decoys; each structure counts the same."""
    features, reached, shares = [], [], []
    for decoys in validation:
        known = np.array(decoys.inputs.mask[:, None] & decoys.made[..., None])  # (B, S, L)
        share = np.broadcast_to(1.0 / known.sum(axis=(1, 2), keepdims=True), known.shape)
        features.append(np.array(scale_features(judge(decoys.inputs), decoys.inputs.mask))[known])
        reached.append(np.array(decoys.lddt)[known])
        shares.append(share[known])
    x, y, share = (np.concatenate(each).astype(np.float64) for each in (features, reached, shares))
    weight, bias = fit_logistic(x, y, share)
    judge.scale = mx.array(np.append(weight, bias).astype(np.float32))


def judge_figures(judge: Judge, validation: list[Decoys]) -> dict[str, float]:
    """Return what the judge is worth: RMSD of what it ranks first, of the mean and of the best candidate; its loss."""
    first, mean, best, losses = [], [], [], []
    for decoys in validation:
        verdict = judge(decoys.inputs)
        made, rmsd = np.array(decoys.made), np.array(decoys.rmsd)
        predicted = np.where(made, np.array(verdict.log_rmsd), np.inf)
        first.append(rmsd[np.arange(len(rmsd)), predicted.argmin(axis=1)])
        mean.append((rmsd * made).sum(axis=1) / made.sum(axis=1))
        best.append(np.where(made, rmsd, np.inf).min(axis=1))
        losses.append((len(rmsd), float(np.array(judge_loss(verdict, decoys)[0]))))
    total = sum(count for count, _ in losses)
    return {
        "score": float(np.concatenate(first).mean()),
        "mean": float(np.concatenate(mean).mean()),
        "best": float(np.concatenate(best).mean()),
        "loss": sum(count * loss for count, loss in losses) / total,
    }
