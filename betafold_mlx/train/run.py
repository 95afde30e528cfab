"""Training runs of any model: steps, evaluations, checkpoints and interrupts in one folder."""

from __future__ import annotations

import abc
import contextlib
import signal
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_unflatten

from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import locked, sweep_temporary
from betafold_mlx.model.directory import named_arrays
from betafold_mlx.train import checkpoint
from betafold_mlx.train.checkpoint import LOCK_FILE, Counters, MetricsLog
from betafold_mlx.train.ranks import Ranks, mlx_errors
from betafold_mlx.train.schedule import Schedule

Reporter = Callable[[dict[str, Any]], None]

SAVE_SECONDS = 300.0
"""The most that a kill can cost, where evaluations are further apart."""


class DivergedError(BetafoldError):
    """A run whose loss is no longer a number."""


class Run(abc.ABC):
    """Steps, evaluations and checkpoints in one folder, whatever is trained."""

    directory: Path
    config: Schedule
    dataset_sha256: str  # fingerprint of the data set
    ranks: Ranks = Ranks()  # who share the work. Only the main one touches the run folder
    model: nn.Module
    optimizer: optim.Optimizer
    progress: Counters  # how far the run is
    # running mean of the weights; empty where there is none
    average: dict[str, mx.array] = {}  # noqa: RUF012 - replaced, never changed
    _stop: bool = False

    def run(self, report: Reporter = lambda event: None) -> bool:
        """Train until the last step, an early stop or an interrupt; `report` gets the figures of steps and evaluations.

        Return whether the run is complete: False when an interrupt stopped it (its state is saved). BetafoldError
        where another process trains in the folder, the file system refuses, the loss is not a number, or another rank
        is lost.
        """
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._signals())
            stack.enter_context(mlx_errors(": continue with --resume, with any number of ranks"))
            log = None
            if self.ranks.main:
                busy = f"another process is training in {self.directory}: let it end first"
                stack.enter_context(locked(self.directory / LOCK_FILE, busy))
                sweep_temporary(self.directory)
                log = MetricsLog(self.directory, self.progress.step)
                stack.callback(log.close)
            return self._run(log, report)

    def _run(self, log: MetricsLog | None, report: Reporter) -> bool:
        def tell(figures: dict[str, Any]) -> None:
            if log is not None:
                log.write(figures)
                report(figures)

        step_function = nn.value_and_grad(self.model, self._loss)
        saved = time.monotonic()
        while not self.progress.finished and not self.ranks.any(self._stop):  # all stop at the same step
            tell(self._step(step_function))
            due = self._evaluation_is_due()
            if due:
                tell(self._evaluate())
            if log is not None and (due or time.monotonic() - saved > SAVE_SECONDS):
                if self.progress.finished:
                    self._complete()  # before the run counts as complete
                self._save(log)
                saved = time.monotonic()
        if log is not None and not self.progress.finished:
            self._save(log)
        return self.progress.finished

    def _restored(self, resume: bool) -> Counters:
        """Load the last checkpoint, where there is one to go on from; return how far the run is."""
        if not resume:
            return Counters()
        progress = checkpoint.load_last(self.directory, self.model, self.optimizer)
        if self.config.average and progress.step:
            self.average = checkpoint.load_average(self.directory, self.model)
        return progress

    def _start_average(self) -> None:
        """Begin the running mean, where one is asked for and none was restored; compute what a run starts with."""
        if self.config.average and not self.average:
            self.average = named_arrays(self.model.parameters())
        mx.eval(self.model.parameters(), self.optimizer.state, self.average)

    def _save(self, log: MetricsLog) -> None:
        log.flush()
        checkpoint.save_last(self.directory, self.model, self.optimizer, self.progress, self.average)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Let what would end the process end the run instead, after a step that all ranks have taken."""
        numbers = [signal.SIGINT, *([signal.SIGTERM] if self.ranks.size > 1 else [])]  # of the launcher
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

    @abc.abstractmethod
    def _loss(self, *arguments: Any) -> tuple[mx.array, dict[str, mx.array]]:
        """Return the loss and its parts."""

    @abc.abstractmethod
    def _step(self, step_function: Callable[..., Any]) -> dict[str, Any]:
        """Take a step with the loss and its gradient; return its figures."""

    @abc.abstractmethod
    def _validate(self) -> dict[str, float]:
        """Return the validation figures; the lowest ``score`` is the best."""

    @abc.abstractmethod
    def _keep(self, figures: dict[str, float]) -> None:
        """Write the model with its figures as the best one, on the main rank."""

    def _record(self, figures: dict[str, float]) -> dict[str, Any]:
        """Return what a model directory says of its training."""
        return {
            "settings": self.config.to_dict(),
            "dataset_sha256": self.dataset_sha256,
            "step": self.progress.step,
            "validation": figures,
        }

    def _complete(self) -> None:  # noqa: B027 - nothing to do is an answer
        """Finish the best model after the last step, on the main rank."""

    def _update(self, loss: mx.array, parts: dict[str, mx.array], gradients: Any) -> dict[str, Any]:
        """Take an optimiser step; return its figures."""
        step = self.progress.step
        gradients, norm = optim.clip_grad_norm(gradients, self.config.clip)
        self.optimizer.learning_rate = self.config.learning_rate_at(step)
        self.optimizer.update(self.model, gradients)
        if self.average:
            decay = min(self.config.average, (1 + step) / (10 + step))  # the first weights do not linger
            weights = named_arrays(self.model.parameters())
            self.average = {
                name: decay * mean + (1 - decay) * weights[name] for name, mean in self.average.items()
            }
        mx.eval(self.model.parameters(), self.optimizer.state, self.average, loss, parts, norm)
        if not mx.isfinite(loss).item():
            raise DivergedError(f"the loss is not a number at step {step}: lower the learning rate")
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
        return step % self.config.evaluate_every == 0 or step >= self.config.steps

    def _evaluate(self) -> dict[str, Any]:
        progress = self.progress
        weights = named_arrays(self.model.parameters())
        self.model.update(tree_unflatten(list((self.average or weights).items())))
        figures = self._validate()
        if progress.best_score is None or figures["score"] < progress.best_score or self.average:
            progress.best_score, progress.best_step, progress.stale = figures["score"], progress.step, 0
            if self.ranks.main:
                self._keep(figures)
        else:
            progress.stale += 1
        self.model.update(tree_unflatten(list(weights.items())))
        progress.finished = progress.step >= self.config.steps or progress.stale >= self.config.patience
        return {"step": progress.step, "validation": figures, "best_step": progress.best_step}
