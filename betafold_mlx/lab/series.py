"""Train variants with several seeds, and keep what is finished.

A run is identified by its settings, data set, mask, and what is measured. Experiments in one folder that need the same
run share it; a series that was stopped resumes in the middle of a run.
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

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from betafold_mlx._version import __version__
from betafold_mlx.data.sampling import SamplerConfig
from betafold_mlx.data.store import Dataset
from betafold_mlx.data.windows import WindowSampler
from betafold_mlx.errors import BetafoldError
from betafold_mlx.evaluate.items import split_items
from betafold_mlx.files import to_json, write_text
from betafold_mlx.lab.answers import Chosen, ask, structure_rows
from betafold_mlx.lab.budget import Budget
from betafold_mlx.lab.masks import mask_wrongly
from betafold_mlx.lab.runner import Lab
from betafold_mlx.model.config import ModelConfig
from betafold_mlx.model.folding import FoldingModel
from betafold_mlx.model.inputs import PADDED_LENGTHS
from betafold_mlx.train.batches import Batch, Featurizer, make_batch
from betafold_mlx.train.checkpoint import MetricsLog, read_run, start_run
from betafold_mlx.train.loop import Trainer
from betafold_mlx.train.losses import total_loss
from betafold_mlx.train.training_config import LossWeights, TrainConfig
from betafold_mlx.train.validate import validate

R = TypeVar("R")

RUNS, RESULT_FILE, PROBES = "runs", "result.json", "probes"
EVALUATIONS = 5
"""Evaluations of a run."""
_VERSION = 2  # of the content of a result
_TRAINING_BATCHES = 4
"""Batches of training windows that the training error is measured on, without dropout."""


@dataclass(frozen=True)
class Variant:
    """What is trained.

    Attributes
    ----------
    name : str
        As tables and figures call it.
    config : TrainConfig
        Settings; each repeat has a seed of its own.
    mask_change : str or None
        What is wrong with the padding mask of attention, a name of `betafold_mlx.lab.masks.CHANGES`.
    featurizer : callable or None
        Makes the features of a frozen embedder.
    distilled : Dataset or None
        What ``config.mix`` mixes in.
    """

    name: str
    config: TrainConfig
    mask_change: str | None = None
    featurizer: Featurizer | None = None
    distilled: Dataset | None = None


def base_config(budget: Budget, fixed_windows: bool = False) -> TrainConfig:
    """Return the settings that variants start from: the package's own, smaller.

    With `fixed_windows` they draw from a fixed number of training windows, as features of a frozen embedder need, and
    overfitting does.
    """
    return TrainConfig(
        network=ModelConfig(
            width=budget.width, layers=budget.layers, heads=8, ffn_width=4 * budget.width, dropout=0.1
        ),
        sampler=SamplerConfig(tokens=budget.tokens, windows=budget.windows if fixed_windows else None),
        steps=budget.steps,
        warmup=max(1, budget.steps // 10),
        evaluate_every=max(1, budget.steps // EVALUATIONS),
        patience=EVALUATIONS * 2,  # all variants take the same steps
        calibrate=False,
    )


def with_network(config: TrainConfig, **changes: Any) -> TrainConfig:
    """Return settings with another network."""
    return dataclasses.replace(config, network=dataclasses.replace(config.network, **changes))


@dataclass(frozen=True)
class TrainedRun:
    """A finished run, of plain JSON values.

    Attributes
    ----------
    seed : int
        Its seed.
    curve : list of dict
        One entry an evaluation: ``step``, ``train`` and ``validation`` (figures of `betafold_mlx.train.validate`).
    gradients : list of dict
        ``step`` and ``norms``: gradient norm of each block (`gradient_norms`).
    steps : list of dict
        One entry a step: losses and the norm of the whole gradient.
    items : list of dict
        One entry a validation structure, of the last weights (`betafold_mlx.lab.answers.structure_rows`).
    by_padding : dict of str to list of float
        Padded length -> backbone RMSD of each item that is no longer than the shortest of the padded lengths.
    """

    seed: int
    curve: list[dict[str, Any]]
    gradients: list[dict[str, Any]]
    steps: list[dict[str, Any]]
    items: list[dict[str, Any]]
    by_padding: dict[str, list[float]]

    def mean(self, column: str, chosen: Chosen = lambda row: True) -> float:
        """Return the mean of a column over the chosen structures, NaN where there is none."""
        values = [row[column] for row in self.items if chosen(row)]
        return float(np.mean(values)) if values else float("nan")


Series = dict[str, list[TrainedRun]]
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
    dataset = lab.small_dataset  # first of all: its errors are for people

    def job(variant: Variant) -> Job[TrainedRun]:
        def of(seed: int) -> tuple[dict[str, Any], Callable[[Path], TrainedRun]]:
            config = dataclasses.replace(variant.config, seed=seed)
            known_by = {
                "versions": [_VERSION, __version__],
                "settings": config.to_dict(),
                "dataset": lab.dataset_sha256,
                "items": lab.budget.items,
                "mask": variant.mask_change,
            }
            return known_by, lambda directory: _train(directory, lab, dataset, variant, config)

        return of

    return finished_runs(lab, TrainedRun, {variant.name: job(variant) for variant in variants})


Job = Callable[[int], tuple[Mapping[str, Any], Callable[[Path], R]]]
"""Seed -> all that determines a run, as plain JSON values, and what trains it in a folder."""


def finished_runs(lab: Lab, kind: type[R], jobs: Mapping[str, Job[R]]) -> dict[str, list[R]]:
    """Return the runs of each job, one a seed of the lab; those that are not finished in its folder are trained.

    `kind` is a dataclass of plain JSON values: what is known of a run.

    Raises
    ------
    BetafoldError
        A damaged result.
    """
    series: dict[str, list[R]] = {name: [] for name in jobs}
    total, number = len(jobs) * lab.budget.repeats, 0
    for seed in lab.seeds:
        for name, job in jobs.items():
            number += 1
            known_by, train = job(seed)
            digest = hashlib.sha256(json.dumps(known_by, sort_keys=True).encode()).hexdigest()
            directory = lab.directory / RUNS / digest[:16]
            label = f"run {number} of {total}: {name}, seed {seed}"
            series[name].append(_finished(lab, kind, directory, label, train))
    return series


def _finished(lab: Lab, kind: type[R], directory: Path, label: str, train: Callable[[Path], R]) -> R:
    path = directory / RESULT_FILE
    try:
        run = kind(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        lab.say(label)
    except (OSError, ValueError, TypeError) as error:
        raise BetafoldError(f"{path} is damaged: remove {directory}, and the run is done again") from error
    else:
        lab.say(f"{label}: done before")
        return run
    run = train(directory)
    write_text(path, to_json(dataclasses.asdict(run)))  # type: ignore[call-overload]
    for part in ("last", PROBES):  # the weights stay, as `best`
        shutil.rmtree(directory / part, ignore_errors=True)
    return run


def _train(directory: Path, lab: Lab, dataset: Dataset, variant: Variant, config: TrainConfig) -> TrainedRun:
    trainer = _trainer(directory, lab, variant, config)
    mask_wrongly(trainer.model, variant.mask_change)
    training = _training_batches(trainer, variant)

    def norms() -> dict[str, float]:
        return gradient_norms(trainer.model, training[0][0], config.loss)

    (directory / PROBES).mkdir(exist_ok=True)
    log = MetricsLog(directory / PROBES, trainer.progress.step)
    if not trainer.progress.step:
        log.write({"step": 0, "norms": norms()})

    def watch(figures: dict[str, Any]) -> None:
        if "validation" in figures:
            log.write({"step": figures["step"], "train": validate(trainer.model, training), "norms": norms()})
            log.flush()

    log.flush()
    try:
        if not trainer.run(watch):
            raise KeyboardInterrupt
    finally:
        log.close()
    items = split_items(dataset, "validation", lab.budget.items)
    short = [item for item in items if len(item) <= PADDED_LENGTHS[0]]
    by_padding = {}
    for padded in PADDED_LENGTHS:
        rows = structure_rows(short, ask(trainer.model, short, variant.featurizer, padded)) if short else []
        by_padding[str(padded)] = [row["rmsd"] for row in rows]
    lines, probes = _read_lines(directory / "metrics.jsonl"), _read_lines(log.path)
    trained = {line["step"]: line["train"] for line in probes if "train" in line}
    return TrainedRun(
        seed=config.seed,
        curve=[
            {"step": line["step"], "train": trained[line["step"]], "validation": line["validation"]}
            for line in lines
            if "validation" in line
        ],
        gradients=[{"step": line["step"], "norms": line["norms"]} for line in probes],
        steps=[line for line in lines if "loss" in line],
        items=structure_rows(items, ask(trainer.model, items, variant.featurizer, fold=True)),
        by_padding=by_padding,
    )


def _read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _trainer(directory: Path, lab: Lab, variant: Variant, config: TrainConfig) -> Trainer:
    """Return the run's trainer, at the step where an earlier one was stopped."""
    sha256 = lab.dataset_sha256
    resume = (directory / "run.json").exists()
    if resume:
        config = read_run(directory, sha256)
    else:
        start_run(directory, config, sha256)
    return Trainer(
        directory,
        lab.small_dataset,
        config,
        sha256,
        variant.featurizer,
        resume=resume,
        distilled=variant.distilled,
    )


def _training_batches(trainer: Trainer, variant: Variant) -> list[tuple[Batch, np.ndarray]]:
    """Return windows of the training split: the same for all variants of a seed, as the network sees them."""
    config = dataclasses.replace(trainer.config.sampler, substitutions=0.0)
    sampler = WindowSampler(trainer.sampler.dataset, PADDED_LENGTHS, trainer.config.seed, config)
    batches = []
    for step in range(_TRAINING_BATCHES):
        windows, padded = sampler.batch(step)
        batches.append((make_batch(windows, padded, variant.featurizer), np.zeros(len(windows), dtype=bool)))
    return batches


def gradient_norms(model: FoldingModel, batch: Batch, weights: LossWeights) -> dict[str, float]:
    """Return the Euclidean norm of the gradient of the embedding, each block, and the heads together.

    On one batch, without dropout. A pair trunk has ``block 1`` and so on for residues, and ``pairs 1`` and so on for
    its updates of the pairs.
    """

    def loss() -> mx.array:
        return total_loss(model(batch.inputs), batch.targets, batch.inputs.mask, weights)[0]

    _, gradient = nn.value_and_grad(model, loss)()
    trunk = gradient[model.config.trunk]
    blocks = {f"block {number + 1}": block for number, block in enumerate(trunk["blocks"])}
    pairs = {f"pairs {number + 1}": part for number, part in enumerate(trunk.get("pair_updates", []))}
    heads = {name: part for name, part in gradient.items() if name.endswith("_head")}
    parts = {"embedding": gradient["embedding"], **blocks, **pairs, "heads": heads}
    return {name: _norm(part) for name, part in parts.items()}


def _norm(tree: object) -> float:
    """Return the Euclidean norm of all arrays of a tree together."""
    arrays: list[tuple[str, mx.array]] = tree_flatten(tree)  # type: ignore[assignment]
    return float(np.array(mx.sqrt(sum((mx.square(array).sum() for _, array in arrays), mx.zeros(())))))
