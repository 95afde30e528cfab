"""Run folders: settings, metrics and checkpoints, and how a run is resumed.

``RUN/run.json``        settings and the fingerprint of the data set
``RUN/metrics.jsonl``   one line a step, one line an evaluation
``RUN/last/``           weights, optimiser state and counters: where ``--resume`` starts
``RUN/best/``           the model directory with the best validation figure
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, overload

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_unflatten

from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import atomic_directory, is_left, os_errors, to_json, write_text
from betafold_mlx.model.directory import load_arrays, named_arrays, save_arrays, set_weights
from betafold_mlx.train.training_config import TrainConfig

RUN_FILE, METRICS_FILE, LAST, BEST = "run.json", "metrics.jsonl", "last", "best"
LOCK_FILE, AVERAGE_FILE = ".lock", "average.safetensors"


class Settings(Protocol):
    """The settings of a run, whatever it trains."""

    def to_dict(self) -> dict[str, Any]:
        """Return them as plain JSON values."""

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Any:
        """Build them from what `to_dict` returned."""


S = TypeVar("S", bound=Settings)


@dataclass
class Counters:
    """The counters of a run."""

    step: int = 0  # steps done
    best_score: float | None = None  # best validation figure so far; the lowest is the best
    best_step: int = 0  # the step it was measured at
    stale: int = 0  # evaluations since then
    finished: bool = False  # all steps done, or stopped early


def check_free(directory: Path) -> None:
    """Check that a folder can become that of a new run; BetafoldError where it holds a run or anything else already."""
    if (directory / RUN_FILE).exists():
        raise BetafoldError(
            f"{directory} already holds a run: continue it with --resume, or choose another folder"
        )
    if directory.exists() and not (directory.is_dir() and all(is_left(p.name) for p in directory.iterdir())):
        raise BetafoldError(f"{directory} exists and is not an empty folder: choose another one for the run")


def start_run(directory: Path, config: Settings, dataset_sha256: str) -> None:
    """Make a run folder; BetafoldError as `check_free`."""
    check_free(directory)
    document = {"schema_version": 1, "settings": config.to_dict(), "dataset_sha256": dataset_sha256}
    write_text(directory / RUN_FILE, to_json(document))


@overload
def read_run(directory: Path, dataset_sha256: str) -> TrainConfig: ...
@overload
def read_run(directory: Path, dataset_sha256: str, kind: type[S]) -> S: ...
def read_run(directory: Path, dataset_sha256: str, kind: Any = TrainConfig) -> Any:
    """Return the settings, of this kind, of a run that is to go on.

    BetafoldError where there is no run, it is damaged, or it was trained on another data set.
    """
    path = directory / RUN_FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        settings, fingerprint = document["settings"], document["dataset_sha256"]
    except FileNotFoundError as error:
        raise BetafoldError(f"there is no run to resume in {directory}") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BetafoldError(f"{path} is damaged: the run cannot be resumed") from error
    if fingerprint != dataset_sha256:
        raise BetafoldError(f"{directory} was trained on another data set: resume with that one")
    return kind.from_dict(settings)


def save_last(
    directory: Path,
    model: nn.Module,
    optimizer: optim.Optimizer,
    progress: Counters,
    average: dict[str, mx.array] | None = None,
) -> None:
    """Write the checkpoint that ``--resume`` reads, whole or not at all; `average` is the mean of the weights."""
    with atomic_directory(directory / LAST) as temporary:
        save_arrays(temporary / "model.safetensors", named_arrays(model.parameters()))
        save_arrays(temporary / "optimizer.safetensors", named_arrays(optimizer.state))
        if average:
            save_arrays(temporary / AVERAGE_FILE, average)
        (temporary / "progress.json").write_text(to_json(asdict(progress)), encoding="utf-8")


def load_last(directory: Path, model: nn.Module, optimizer: optim.Optimizer) -> Counters:
    """Restore the last checkpoint into `model` and `optimizer`; BetafoldError where it is damaged.

    Return where the run stands: at step 0 when it was stopped before its first checkpoint.
    """
    last = directory / LAST
    if not last.exists():
        return Counters()
    set_weights(model, load_arrays(last / "model.safetensors"), last / "model.safetensors")
    path = last / "optimizer.safetensors"
    state, expected = load_arrays(path), named_arrays(optimizer.state)
    if _layout(state) != _layout(expected):
        raise BetafoldError(f"{path} does not belong to this run: it cannot be resumed")
    optimizer.state = tree_unflatten(list(state.items()))
    path = last / "progress.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        values.pop("evaluated", None)  # of older versions
        progress = Counters(**values)
        counts = (progress.step, progress.best_step, progress.stale)
        if any(type(count) is not int or count < 0 for count in counts):
            raise ValueError("a counter is no counter")
        if not isinstance(progress.best_score, float | None) or type(progress.finished) is not bool:
            raise ValueError("a field of the wrong type")
        if progress.finished and progress.best_score is None:
            raise ValueError("finished without an evaluation")
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BetafoldError(f"{path} is damaged: the run cannot be resumed") from error
    return progress


def load_average(directory: Path, model: nn.Module) -> dict[str, mx.array]:
    """Return the mean of the weights that the last checkpoint holds; BetafoldError where it is not the model's."""
    path = directory / LAST / AVERAGE_FILE
    average, expected = load_arrays(path), named_arrays(model.parameters())
    if _layout(average) != _layout(expected):
        raise BetafoldError(f"{path} does not belong to this run: it cannot be resumed")
    return {name: average[name] for name in expected}


def _layout(arrays: dict[str, mx.array]) -> dict[str, tuple[tuple[int, ...], mx.Dtype]]:
    return {name: (array.shape, array.dtype) for name, array in arrays.items()}


class MetricsLog:
    """Metrics of a run folder as JSON lines; lines past the checkpoint's step are dropped when a run goes on.

    BetafoldError where the file system refuses.
    """

    def __init__(self, directory: Path, step: int) -> None:
        self.path = directory / METRICS_FILE
        self._problem = f"cannot write {self.path}"
        with os_errors(self._problem):
            text = self.path.read_text(encoding="utf-8", errors="replace") if self.path.exists() else ""
            kept = [line for line in text.splitlines() if _step_of(line) <= step]
            write_text(self.path, "".join(line + "\n" for line in kept))
            self._file = self.path.open("a", encoding="utf-8")

    def write(self, values: dict[str, Any]) -> None:
        """Append one line."""
        with os_errors(self._problem):
            self._file.write(json.dumps(values) + "\n")

    def flush(self) -> None:
        """Hand the lines to the operating system."""
        with os_errors(self._problem):
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        with os_errors(self._problem):
            self._file.close()


def _step_of(line: str) -> float:
    """Return the step of a line of metrics; infinity for one that a kill cut short."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return math.inf
