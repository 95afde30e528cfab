"""Training the judge on decoys, in a run folder as any other (`betafold_mlx.train.run`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np

from betafold_mlx.errors import BetafoldError
from betafold_mlx.fields import check_settings, setting
from betafold_mlx.model.judge import Judge, JudgeConfig, Verdict
from betafold_mlx.model.judge_file import save_judge
from betafold_mlx.train import checkpoint
from betafold_mlx.train.decoys import Decoys, load_decoys
from betafold_mlx.train.microbatch import in_microbatches
from betafold_mlx.train.run import Run
from betafold_mlx.train.schedule import Schedule

MICROBATCH = 8
"""Structures of a microbatch, each with its candidates."""

RMSD_FLOOR = 0.5
"""Angstrom: added before the logarithm, so that what is nearly right is as good as right."""

CHOICE = 0.5
"""Temperature of the choice between candidates, in natural logarithms of the RMSD."""


@dataclass(frozen=True)
class JudgeTrainConfig(Schedule):
    """Everything that determines a run, with the decoys and the versions.

    Attributes
    ----------
    network : JudgeConfig
        Sizes of the judge.
    seed : int
        Of the initial weights, the order of the decoys and the dropout.
    peptides, candidates : int
        Structures of a step, and candidates of each.
    """

    network: JudgeConfig = field(default_factory=JudgeConfig)
    seed: int = setting(0, min=0)
    peptides: int = setting(24, "Structures of a step.", min=1)
    candidates: int = setting(6, "Candidates of each that a step compares.", min=2)
    steps: int = setting(3000, "Optimiser steps.", min=1)
    learning_rate: float = setting(1e-3, "Learning rate at its peak.", min=0, min_open=True)
    final_learning_rate: float = setting(1e-5, min=0)
    warmup: int = setting(100, "Steps of warm-up.", min=0)
    weight_decay: float = setting(0.05, min=0)
    clip: float = setting(1.0, min=0, min_open=True)
    evaluate_every: int = setting(500, "Steps between evaluations.", min=1)
    patience: int = setting(100, min=1)
    average: float = setting(0.995, min=0, max=1, max_open=True)

    def __post_init__(self) -> None:
        check_settings(self, "training the judge")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> JudgeTrainConfig:
        """Build the settings from parsed JSON, as `to_dict` wrote them; BetafoldError for anything else."""
        try:
            rest = dict(values)
            return cls(network=JudgeConfig(**rest.pop("network")), **rest)
        except (KeyError, TypeError) as error:
            raise BetafoldError(
                f"training settings of another version, or not of a judge: {error}"
            ) from error


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
    """One training of a judge in one folder.

    Parameters
    ----------
    directory : Path
        The run folder.
    decoys, validation : list of Path
        Files of decoys (`betafold_mlx.train.decoys`) of training and of validation structures.
    config : JudgeTrainConfig
        Settings.
    model_sha256 : str
        Of the folding network that made them.
    resume : bool
        Go on from the folder's last checkpoint.

    Raises
    ------
    BetafoldError
        Without decoys, or with a damaged checkpoint.
    """

    config: JudgeTrainConfig
    model: Judge

    def __init__(
        self,
        directory: Path,
        decoys: list[Path],
        validation: list[Path],
        config: JudgeTrainConfig,
        model_sha256: str,
        resume: bool = False,
    ) -> None:
        if not decoys or not validation:
            raise BetafoldError("there are no decoys to learn from")
        self.directory, self.decoys, self.config = Path(directory), decoys, config
        self.model_sha256 = model_sha256
        self.validation = [load_decoys(path) for path in validation]
        mx.random.seed(config.seed)
        self.model = Judge(config.network)
        self.optimizer = optim.AdamW(config.learning_rate, weight_decay=config.weight_decay)
        self.optimizer.init(self.model.trainable_parameters())
        self.progress = self._restored(resume)
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
        save_judge(self.directory / checkpoint.BEST, self.model, self.model_sha256)


def some_candidates(decoys: Decoys, rng: np.random.Generator, config: JudgeTrainConfig) -> Decoys:
    """Return some of the structures of a batch, and some of the candidates of each."""
    made = np.array(decoys.made)
    count = min(config.candidates, made.shape[1])
    rows = rng.permutation(len(made))[: config.peptides]
    order = np.argsort(rng.random((len(rows), made.shape[1])) + ~made[rows], axis=1)[
        :, :count
    ]  # made ones first
    row, column = mx.array(rows[:, None]), mx.array(order)
    inputs = decoys.inputs
    one = {name: array[mx.array(rows)] for name, array in inputs._asdict().items()}
    one["coordinates"] = inputs.coordinates[row, column]
    one["features"] = inputs.features[row, column]
    each = (array[row, column] for array in (decoys.lddt, decoys.rmsd, decoys.made))
    return Decoys(inputs._replace(**one), *each)


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
        losses.append((len(rmsd), judge_loss(verdict, decoys)[0].item()))
    total = sum(count for count, _ in losses)
    return {
        "score": float(np.concatenate(first).mean()),
        "mean": float(np.concatenate(mean).mean()),
        "best": float(np.concatenate(best).mean()),
        "loss": sum(count * loss for count, loss in losses) / total,
    }
