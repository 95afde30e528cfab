"""The training loop.

A step is a function of (seed, step number, weights, optimiser state): the batch and the dropout key are derived
from the step number, not from generators that live through the run. So a run that was stopped and resumed ends in the
same bytes as one that was not.
"""

from __future__ import annotations

import signal
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim

from betafold_mlx.data.store import Dataset
from betafold_mlx.data.windows import WindowSampler
from betafold_mlx.errors import BetafoldError
from betafold_mlx.model.directory import save_model
from betafold_mlx.model.folding import FoldingModel
from betafold_mlx.model.inputs import PADDED_LENGTHS
from betafold_mlx.model.ramachandran import fit_states
from betafold_mlx.train import checkpoint
from betafold_mlx.train.batches import Batch, Featurizer, make_batch, observed_torsions
from betafold_mlx.train.calibrate import calibrate_directory
from betafold_mlx.train.card import training_card
from betafold_mlx.train.checkpoint import MetricsLog, Progress
from betafold_mlx.train.config import TrainConfig
from betafold_mlx.train.losses import total_loss
from betafold_mlx.train.validate import validate, validation_batches

Reporter = Callable[[dict[str, Any]], None]


class Trainer:
    """One training run in one folder.

    Parameters
    ----------
    directory : Path
        The run folder.
    dataset : Dataset
        Data with ``train`` and ``validation`` splits.
    config : TrainConfig
        Settings.
    dataset_sha256 : str
        Its fingerprint, which the trained model records.
    featurizer : callable, optional
        Makes the features of a frozen embedder; needed when ``config.network.embedder`` is one.
    resume : bool
        Go on from the folder's last checkpoint.

    Raises
    ------
    BetafoldError
        For an empty split, a damaged checkpoint, or an embedder without features.
    """

    def __init__(
        self,
        directory: Path,
        dataset: Dataset,
        config: TrainConfig,
        dataset_sha256: str,
        featurizer: Featurizer | None = None,
        resume: bool = False,
    ) -> None:
        if (config.network.embedder.kind == "residue") != (featurizer is None):
            raise BetafoldError(
                f"embedder {config.network.embedder.kind!r} and its features do not go together"
            )
        self.directory = Path(directory)
        self.config = config
        self.dataset_sha256 = dataset_sha256
        self.featurizer = featurizer
        self.sampler = WindowSampler(dataset, PADDED_LENGTHS, config.seed, config.sampler)
        self.validation = validation_batches(dataset, featurizer)
        if not self.validation:
            raise BetafoldError(
                "the data set has no validation fragments or peptides: build it with more data"
            )
        self.dataset_name = f"{len(dataset.records)} records"
        mx.random.seed(config.seed)  # the initial weights
        self.model = FoldingModel(config.network)
        self.optimizer = optim.AdamW(config.learning_rate, weight_decay=config.weight_decay)
        self.optimizer.init(self.model.trainable_parameters())
        self.progress = Progress()
        if resume:
            self.progress = checkpoint.load_last(self.directory, self.model, self.optimizer)
        if not self.progress.step:
            self.model.ramachandran_head.start_from(*fit_states(observed_torsions(self.sampler)))
        mx.eval(self.model.parameters(), self.optimizer.state)
        self._stop = False

    def run(self, report: Reporter = lambda event: None) -> bool:
        """Train until the last step, the early stop, or an interrupt.

        Parameters
        ----------
        report : callable
            Is given each step's and evaluation's figures.

        Returns
        -------
        bool
            True when the run is complete, False when an interrupt stopped it (its state is saved).

        Raises
        ------
        BetafoldError
            Where another process trains in the folder, the file system refuses, or the loss is not a number.
        """
        with checkpoint.locked(self.directory):
            return self._run(report)

    def _run(self, report: Reporter) -> bool:
        log = MetricsLog(self.directory, self.progress.step)
        step_function = nn.value_and_grad(self.model, self._loss)
        previous = signal.signal(signal.SIGINT, self._interrupt)
        try:
            while not self.progress.finished and not self._stop:
                figures = self._step(step_function)
                log.write(figures)
                report(figures)
                step = self.progress.step
                if step % self.config.evaluate_every == 0 or step >= self.config.steps:
                    figures = self._evaluate()
                    log.write(figures)
                    log.flush()
                    report(figures)
                    if self.progress.finished and self.config.calibrate:  # before the run counts as complete
                        calibrate_directory(self.directory / checkpoint.BEST, self.validation)
                    checkpoint.save_last(self.directory, self.model, self.optimizer, self.progress)
            if self._stop:
                log.flush()
                checkpoint.save_last(self.directory, self.model, self.optimizer, self.progress)
        finally:
            signal.signal(signal.SIGINT, previous)
            log.close()
        return self.progress.finished

    def _interrupt(self, number: int, frame: types.FrameType | None) -> None:
        if self._stop:  # asked twice: do not wait for the step
            raise KeyboardInterrupt
        self._stop = True

    def _loss(self, batch: Batch, key: mx.array) -> tuple[mx.array, dict[str, mx.array]]:
        folded = self.model(batch.inputs, key)
        return total_loss(folded, batch.targets, batch.inputs.mask, self.config.loss)

    def _step(self, step_function: Callable[..., Any]) -> dict[str, Any]:
        step = self.progress.step
        batch = make_batch(*self.sampler.batch(step), self.featurizer)
        key = mx.random.key((self.config.seed << 32) + step)
        (loss, parts), gradients = step_function(batch, key)
        gradients, norm = optim.clip_grad_norm(gradients, self.config.clip)
        self.optimizer.learning_rate = self.config.learning_rate_at(step)
        self.optimizer.update(self.model, gradients)
        mx.eval(self.model.parameters(), self.optimizer.state, loss, parts, norm)
        if not mx.isfinite(loss).item():
            raise BetafoldError(f"the loss is not a number at step {step}: lower the learning rate")
        self.progress.step = step + 1
        return {
            "step": step + 1,
            "loss": loss.item(),
            **{f"{name}_loss": part.item() for name, part in parts.items()},
            "gradient_norm": norm.item(),
            "learning_rate": self.config.learning_rate_at(step),
        }

    def _evaluate(self) -> dict[str, Any]:
        progress = self.progress
        figures = validate(self.model, self.validation)
        if progress.best_score is None or figures["score"] < progress.best_score:
            progress.best_score, progress.best_step, progress.stale = figures["score"], progress.step, 0
            training = {
                "settings": self.config.to_dict(),
                "dataset_sha256": self.dataset_sha256,
                "step": progress.step,
                "validation": figures,
            }
            card = training_card(self.config, progress.step, figures, self.dataset_name)
            # Half precision: half the size, and what is scored later is what is shipped.
            save_model(self.directory / checkpoint.BEST, self.model, card, training, mx.float16)
        else:
            progress.stale += 1
        progress.finished = progress.step >= self.config.steps or progress.stale >= self.config.patience
        return {"step": progress.step, "validation": figures, "best_step": progress.best_step}
