"""Train variants with several seeds, and keep what is finished.

A run is known by what determines it: settings, data set, mask, and what is measured. Experiments in one folder that
need the same run share it; a series that was stopped goes on in the middle of a run.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from betafold_mlx import __version__
from betafold_mlx.data.store import Dataset
from betafold_mlx.data.windows import WindowSampler
from betafold_mlx.errors import BetafoldError
from betafold_mlx.evaluate.items import split_items
from betafold_mlx.files import to_json, write_text
from betafold_mlx.lab.experiment import Lab
from betafold_mlx.lab.gradients import GradientProbe
from betafold_mlx.lab.masks import mask_wrongly
from betafold_mlx.lab.scoring import ask, structure_rows
from betafold_mlx.lab.variants import Variant
from betafold_mlx.model.inputs import PADDED_LENGTHS
from betafold_mlx.train.batches import Batch, make_batch
from betafold_mlx.train.checkpoint import MetricsLog, read_run, start_run
from betafold_mlx.train.config import TrainConfig
from betafold_mlx.train.loop import Trainer
from betafold_mlx.train.validate import validate

R = TypeVar("R")

RUNS, RESULT_FILE, PROBES = "runs", "result.json", "probes"
_VERSION = 2  # of the content of a result
_TRAINING_BATCHES = 4
"""Batches of training windows that the training error is measured on, without dropout."""


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes
    ----------
    seed : int
        Its seed.
    curve : list of dict
        One entry an evaluation: ``step``, ``train`` and ``validation`` (figures of `betafold_mlx.train.validate`).
    gradients : list of dict
        ``step`` and ``norms``: gradient norm of each block (`betafold_mlx.lab.gradients`).
    steps : list of dict
        One entry a step: losses and the norm of the whole gradient.
    items : list of dict
        One entry a validation structure, of the last weights (`betafold_mlx.lab.scoring.structure_rows`).
    by_padding : dict of str to list of float
        Padded length -> backbone RMSD of each item that is no longer than the shortest of the padded lengths.
    """

    seed: int
    curve: list[dict[str, Any]]
    gradients: list[dict[str, Any]]
    steps: list[dict[str, Any]]
    items: list[dict[str, Any]]
    by_padding: dict[str, list[float]]

    def mean(self, column: str, chosen: Callable[[dict[str, Any]], bool] = lambda row: True) -> float:
        """Return the mean of a column over the chosen structures, NaN where there is none."""
        values = [row[column] for row in self.items if chosen(row)]
        return float(np.mean(values)) if values else float("nan")


Series = dict[str, list[Run]]
"""Name of the variant -> its runs, one a seed, in the order of the seeds."""


def train_series(lab: Lab, variants: Sequence[Variant]) -> Series:
    """Train each variant with each seed; what the folder has already is not trained again.

    Raises
    ------
    BetafoldError
        No data set, or one that cannot be trained on.
    KeyboardInterrupt
        A Ctrl-C; the run it came in is saved.
    """
    series: Series = {variant.name: [] for variant in variants}
    total = len(variants) * lab.budget.repeats
    for repeat, seed in enumerate(lab.seeds):
        for number, variant in enumerate(variants):
            label = f"run {repeat * len(variants) + number + 1} of {total}: {variant.name}, seed {seed}"
            series[variant.name].append(_run(lab, variant, seed, label))
    return series


def _run(lab: Lab, variant: Variant, seed: int, label: str) -> Run:
    config, dataset = dataclasses.replace(variant.config, seed=seed), lab.small_dataset
    known_by = {
        "versions": [_VERSION, __version__],
        "settings": config.to_dict(),
        "dataset": lab.dataset_sha256,
        "items": lab.budget.items,
        "mask": variant.mask_change,
    }
    return finished_run(
        lab, label, known_by, Run, lambda directory: _train(directory, lab, dataset, variant, config)
    )


def finished_run(
    lab: Lab, label: str, known_by: Mapping[str, Any], kind: type[R], train: Callable[[Path], R]
) -> R:
    """Return a run of the lab's folder; train it where it is not finished there.

    Parameters
    ----------
    lab : Lab
        Its folder holds the run's, and it is told what is done.
    label : str
        The run in words.
    known_by : dict
        All that determines the run, as plain JSON values.
    kind : type
        A dataclass of plain JSON values: what is known of a run.
    train : callable
        Given the run's folder, trains.

    Raises
    ------
    BetafoldError
        A damaged result.
    """
    name = hashlib.sha256(json.dumps(known_by, sort_keys=True).encode()).hexdigest()[:16]
    directory = lab.directory / RUNS / name
    path = directory / RESULT_FILE
    try:
        run = kind(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        pass
    except (OSError, ValueError, TypeError) as error:
        raise BetafoldError(f"{path} is damaged: remove {directory}, and the run is done again") from error
    else:
        lab.say(f"{label}: done before")
        return run
    lab.say(label)
    run = train(directory)
    write_text(path, to_json(dataclasses.asdict(run)))  # type: ignore[call-overload]
    for part in ("last", PROBES):  # the weights stay, as `best`
        shutil.rmtree(directory / part, ignore_errors=True)
    return run


def _train(directory: Path, lab: Lab, dataset: Dataset, variant: Variant, config: TrainConfig) -> Run:
    trainer = _trainer(directory, lab, variant, config)
    mask_wrongly(trainer.model, variant.mask_change)
    training = _training_batches(trainer, variant)
    probe = GradientProbe(trainer.model, training[0][0], config.loss)
    (directory / PROBES).mkdir(exist_ok=True)
    log = MetricsLog(directory / PROBES, trainer.progress.step)
    if not trainer.progress.step:
        log.write({"step": 0, "norms": probe.norms()})

    def watch(figures: dict[str, Any]) -> None:
        if "validation" in figures:
            log.write(
                {"step": figures["step"], "train": validate(trainer.model, training), "norms": probe.norms()}
            )
            log.flush()

    log.flush()
    try:
        if not trainer.run(watch):
            raise KeyboardInterrupt
    finally:
        log.close()
    items = split_items(dataset, "validation", lab.budget.items)
    rows = structure_rows(items, ask(trainer.model, items, variant.featurizer, fold=True))
    short = [item for item in items if len(item) <= PADDED_LENGTHS[0]]
    by_padding = {}
    for padded in PADDED_LENGTHS:
        found = ask(trainer.model, short, variant.featurizer, padded) if short else None
        padded_rows = structure_rows(short, found) if found else []
        by_padding[str(padded)] = [row["rmsd"] for row in padded_rows]
    lines = [
        json.loads(line) for line in (directory / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    probes = [json.loads(line) for line in log.path.read_text(encoding="utf-8").splitlines()]
    trained = {line["step"]: line["train"] for line in probes if "train" in line}
    return Run(
        seed=config.seed,
        curve=[
            {"step": line["step"], "train": trained[line["step"]], "validation": line["validation"]}
            for line in lines
            if "validation" in line
        ],
        gradients=[{"step": line["step"], "norms": line["norms"]} for line in probes],
        steps=[line for line in lines if "loss" in line],
        items=rows,
        by_padding=by_padding,
    )


def _trainer(directory: Path, lab: Lab, variant: Variant, config: TrainConfig) -> Trainer:
    """Return the run's trainer, at the step where an earlier one was stopped."""
    dataset, sha256 = lab.small_dataset, lab.dataset_sha256
    if (directory / "run.json").exists():
        config = read_run(directory, sha256)
        return Trainer(
            directory, dataset, config, sha256, variant.featurizer, resume=True, distilled=variant.distilled
        )
    start_run(directory, config, sha256)
    return Trainer(directory, dataset, config, sha256, variant.featurizer, distilled=variant.distilled)


def _training_batches(trainer: Trainer, variant: Variant) -> list[tuple[Batch, np.ndarray]]:
    """Return windows of the training split: the same for all variants of a seed, as the network sees them."""
    config = dataclasses.replace(trainer.config.sampler, substitutions=0.0)
    sampler = WindowSampler(trainer.sampler.dataset, PADDED_LENGTHS, trainer.config.seed, config)
    batches = []
    for step in range(_TRAINING_BATCHES):
        windows, padded = sampler.batch(step)
        batches.append((make_batch(windows, padded, variant.featurizer), np.zeros(len(windows), dtype=bool)))
    return batches
