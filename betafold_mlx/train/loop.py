"""The training loop.

A step is a function of (seed, step number, weights, optimiser state): the batch and the dropout keys are derived
from the step number, not from generators that live through the run. So a run that was stopped and resumed ends in the
same bytes as one that was not.

Several ranks share the examples of a step. Each example has a dropout key of its own, and its gradient counts the same
wherever it is computed: so many ranks take the step that one takes, but for the rounding of the sum.
"""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten

from betafold_mlx.data.store import Dataset
from betafold_mlx.data.windows import WindowSampler
from betafold_mlx.distributed.control import RankLostError
from betafold_mlx.distributed.ranks import ALONE, Ranks
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
from betafold_mlx.train.pieces import PIECES, in_pieces
from betafold_mlx.train.validate import validate, validation_batches

Reporter = Callable[[dict[str, Any]], None]

SAVE_SECONDS = 300.0
"""The most that a kill can cost, where evaluations are further apart."""


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
    ranks : Ranks
        Who share the work. Only the main one touches the run folder.

    Raises
    ------
    BetafoldError
        For an empty split, a damaged checkpoint, an embedder without features, ranks with different data or
        settings, or more ranks than a batch has examples.
    """

    def __init__(
        self,
        directory: Path,
        dataset: Dataset,
        config: TrainConfig,
        dataset_sha256: str,
        featurizer: Featurizer | None = None,
        resume: bool = False,
        ranks: Ranks = ALONE,
    ) -> None:
        if (config.network.embedder.kind == "residue") != (featurizer is None):
            raise BetafoldError(
                f"embedder {config.network.embedder.kind!r} and its features do not go together"
            )
        ranks.same("the data set", dataset_sha256)
        ranks.same("the setting", config.to_dict())
        if config.sampler.tokens // max(PADDED_LENGTHS) < ranks.size > 1:
            raise BetafoldError(
                f"a batch of {config.sampler.tokens} residues is too small for {ranks.size} ranks: "
                f"start fewer, or give --tokens {ranks.size * max(PADDED_LENGTHS)} or more"
            )
        self.ranks = ranks
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
        self.progress = Progress(**ranks.from_main(lambda: dataclasses.asdict(self._start(resume))))
        self._synchronise()
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
        RankLostError
            Where another rank is gone. The main rank has saved the run.
        """
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._signals())
            log = None
            if self.ranks.main:
                stack.enter_context(checkpoint.locked(self.directory))
                log = MetricsLog(self.directory, self.progress.step)
                stack.callback(log.close)
            try:
                return self._run(log, report)
            except RankLostError as error:
                advice = "go on with --resume, with any number of ranks"
                if log is not None and self.progress.step:
                    self._save(log)
                    advice = f"saved at step {self.progress.step}: {advice}"
                raise RankLostError(str(error) if advice in str(error) else f"{error} ({advice})") from error

    def _run(self, log: MetricsLog | None, report: Reporter) -> bool:
        def tell(figures: dict[str, Any]) -> None:
            if log is not None:
                log.write(figures)
                report(figures)

        step_function = nn.value_and_grad(self.model, self._loss)
        saved = time.monotonic()
        while not self.progress.finished and not self._told_to_stop():
            if not self._evaluation_is_due():
                tell(self._step(step_function))
            due = self._evaluation_is_due()
            if due:
                self._synchronise()
                tell(self._evaluate())
            if log is not None and (due or time.monotonic() - saved > SAVE_SECONDS):
                if self.progress.finished and self.config.calibrate:  # before the run counts as complete
                    calibrate_directory(self.directory / checkpoint.BEST, self.validation)
                self._save(log)
                saved = time.monotonic()
        if log is not None and not self.progress.finished:
            self._save(log)
        return self.progress.finished

    def _save(self, log: MetricsLog) -> None:
        log.flush()
        checkpoint.save_last(self.directory, self.model, self.optimizer, self.progress)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Let what would end the process end the run instead, after a step that all ranks have taken."""
        numbers = [signal.SIGINT]
        if self.ranks.size > 1:  # how the launcher ends ranks here, and on another machine; nohup ignores it
            launcher = (signal.SIGTERM, signal.SIGHUP)
            numbers += [number for number in launcher if signal.getsignal(number) != signal.SIG_IGN]
        previous = {number: signal.signal(number, self._interrupt) for number in numbers}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _interrupt(self, number: int, frame: types.FrameType | None) -> None:
        if self._stop and number == signal.SIGINT:  # asked twice: do not wait for the step
            raise KeyboardInterrupt
        self._stop = True

    def _told_to_stop(self) -> bool:
        """Return whether any rank was interrupted: all stop at the same step."""
        return any(self.ranks.gather(self._stop))

    def _start(self, resume: bool) -> Progress:
        """Set weights and optimiser to what the run starts or goes on with; return how far it is."""
        progress = Progress()
        if resume:
            progress = checkpoint.load_last(self.directory, self.model, self.optimizer)
        if not progress.step:
            self.model.ramachandran_head.start_from(*fit_states(observed_torsions(self.sampler)))
        return progress

    def _synchronise(self) -> None:
        """Take the weights and the optimiser's state of the main rank: other hardware may round otherwise."""
        mx.eval(self.model.parameters(), self.optimizer.state)
        if self.ranks.size > 1:
            trees = (self.model.parameters(), self.optimizer.state)
            weights, state = self._through(self.ranks.broadcast, trees)
            self.model.update(weights)
            self.optimizer.state = state

    @staticmethod
    def _through(change: Callable[[list[mx.array]], list[mx.array]], tree: Any) -> Any:
        """Return a tree with all its arrays changed at once, in the order of their names: the same on all ranks."""
        names, arrays = zip(*sorted(tree_flatten(tree), key=lambda item: item[0]), strict=True)
        return tree_unflatten(list(zip(names, change(list(arrays)), strict=True)))

    def _loss(
        self, batch: Batch, keys: mx.array, recycles: int | None = None
    ) -> tuple[mx.array, dict[str, mx.array]]:
        folded = self.model(batch.inputs, keys, recycles=recycles)
        return total_loss(folded, batch.targets, batch.inputs.mask, self.config.loss)

    def _step(self, step_function: Callable[..., Any]) -> dict[str, Any]:
        step = self.progress.step
        windows, padded = self.sampler.batch(step)
        keys = mx.random.split(mx.random.key((self.config.seed << 32) + step), len(windows))
        mine = self.ranks.share()
        batch = make_batch(windows[mine], padded, self.featurizer)
        network = self.config.network
        # As many passes of a pair trunk for all examples of a step, on all ranks.
        recycles = int(np.random.default_rng([self.config.seed, step]).integers(network.recycles + 1))
        (loss, parts), gradients = in_pieces(
            self.model,
            lambda some, own: step_function(some, own, recycles),
            batch,
            keys[mine],
            PIECES[network.trunk],
        )
        if self.ranks.size > 1:
            share = len(windows[mine]) / len(windows)
            (loss, parts), gradients = self._through(
                lambda arrays: self.ranks.sum([share * array for array in arrays]), ((loss, parts), gradients)
            )
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

    def _evaluation_is_due(self) -> bool:
        step = self.progress.step
        at_one = step > 0 and step % self.config.evaluate_every == 0
        return (at_one or step >= self.config.steps) and self.progress.evaluated != step

    def _evaluate(self) -> dict[str, Any]:
        progress = self.progress
        figures = validate(self.model, self.validation, self.ranks)
        progress.evaluated = progress.step
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
            if self.ranks.main:
                save_model(self.directory / checkpoint.BEST, self.model, card, training, mx.float16)
        else:
            progress.stale += 1
        progress.finished = progress.step >= self.config.steps or progress.stale >= self.config.patience
        return {"step": progress.step, "validation": figures, "best_step": progress.best_step}
