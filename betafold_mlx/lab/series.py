"""Train variants with several seeds, and keep what is finished.

A run is identified by its settings, data set, mask, and what is measured. Experiments in one folder that need the same
run share it; a series that was stopped resumes in the middle of a run.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np

from betafold_mlx._version import __version__
from betafold_mlx.data.sampling import SamplerConfig
from betafold_mlx.data.store import Dataset
from betafold_mlx.data.windows import WindowSampler
from betafold_mlx.errors import BetafoldError
from betafold_mlx.evaluate.items import split_items
from betafold_mlx.files import to_json, write_text
from betafold_mlx.generate.generator_config import GeneratorTrainConfig
from betafold_mlx.lab.answers import Chosen, ask, structure_rows
from betafold_mlx.lab.budget import Budget
from betafold_mlx.lab.runner import Lab
from betafold_mlx.lab.wrong_masks import mask_wrongly
from betafold_mlx.model.config import ModelConfig
from betafold_mlx.model.folding import FoldingModel
from betafold_mlx.model.inputs import PADDED_LENGTHS
from betafold_mlx.train.batches import Batch, Featurizer, make_batch
from betafold_mlx.train.checkpoint import RUN_FILE, MetricsLog, read_run, start_run
from betafold_mlx.train.loop import Trainer
from betafold_mlx.train.losses import total_loss
from betafold_mlx.train.training_config import LossWeights, TrainConfig
from betafold_mlx.train.validate import validate

R = TypeVar("R")
C = TypeVar("C")
RUNS, RESULT_FILE, PROBES = "runs", "result.json", "probes"
EVALUATIONS = 5  # evaluations of a run
_VERSION = 2  # of the content of a result
_TRAINING_BATCHES = 4  # batches of training windows that the training error is measured on, without dropout


@dataclass(frozen=True)
class Variant:
    """What is trained."""

    name: str  # as tables and figures call it
    config: TrainConfig  # each repeat has a seed of its own
    # a wrong mask of attention, by its name in `betafold_mlx.lab.wrong_masks.CHANGES`
    mask_change: str | None = None
    featurizer: Featurizer | None = None  # makes the features of a frozen embedder
    distilled: Dataset | None = None  # what ``config.mix`` mixes in


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


def changed(config: C, part: str, **changes: Any) -> C:
    """Return settings with changes in a part of them: ``network``, ``loss``, ``sampler`` or ``flow``."""
    values = {part: dataclasses.replace(getattr(config, part), **changes)}
    return dataclasses.replace(config, **values)  # type: ignore[type-var]


@dataclass(frozen=True)
class TrainedRun:
    """A finished run, of plain JSON values."""

    seed: int
    curve: list[dict[str, Any]]  # of each evaluation ``step``, and `validate` on ``train`` and ``validation``
    gradients: list[dict[str, Any]]  # ``step``, and ``norms`` from `gradient_norms`
    steps: list[dict[str, Any]]  # losses and the norm of the whole gradient of each step
    items: list[dict[str, Any]]  # `structure_rows` of the validation structures, of the last weights
    by_padding: dict[str, list[float]]  # padded length -> backbone RMSD of items that fit the shortest

    def mean(self, column: str, chosen: Chosen = lambda row: True) -> float:
        """Return the mean of a column over the chosen structures, NaN where there is none."""
        values = [row[column] for row in self.items if chosen(row)]
        return float(np.mean(values)) if values else float("nan")


Series = dict[str, list[TrainedRun]]  # name of the variant -> its runs, one a seed, in the order of the seeds


def train_series(lab: Lab, variants: Sequence[Variant]) -> Series:
    """Train each variant with each seed; what the folder has already is not trained again."""
    return finished_runs(
        lab,
        TrainedRun,
        {
            variant.name: TrainingJob(
                variant.config,
                {"versions": [_VERSION, __version__], "mask": variant.mask_change},
                functools.partial(_train_variant, lab, variant),
            )
            for variant in variants
        },
    )


class TrainingJob(NamedTuple):
    """What is trained with each seed: a run is known by its settings, the data set, and the other values here."""

    config: TrainConfig | GeneratorTrainConfig
    known_by: dict[str, Any]  # plain JSON values
    train: Callable[[Path, Any, bool], Any]  # folder, settings, whether to resume -> what is known of the run


def finished_runs(lab: Lab, kind: type[R], jobs: Mapping[str, TrainingJob]) -> dict[str, list[R]]:
    """Return the runs of each job, one a seed of the lab; those that are not finished in its folder are trained.

    `kind` is a dataclass of plain JSON values: what is known of a run. A Ctrl-C saves the run that it came in;
    BetafoldError for a data set that cannot be trained on, or a damaged result.
    """
    series: dict[str, list[R]] = {name: [] for name in jobs}
    _ = lab.small_dataset  # first of all: its errors are for people
    total, number = len(jobs) * lab.budget.repeats, 0
    for seed in lab.seeds:
        for name, job in jobs.items():
            number += 1
            config = dataclasses.replace(job.config, seed=seed)
            known_by = {
                "settings": config.to_dict(),
                "dataset": lab.dataset_sha256,
                "items": lab.budget.items,
                **job.known_by,
            }
            digest = hashlib.sha256(json.dumps(known_by, sort_keys=True).encode()).hexdigest()
            directory = lab.directory / RUNS / digest[:16]
            label = f"run {number} of {total}: {name}, seed {seed}"
            series[name].append(_finished(lab, kind, directory, label, config, job.train))
    return series


def _finished(
    lab: Lab, kind: type[R], directory: Path, label: str, config: Any, train: Callable[[Path, Any, bool], R]
) -> R:
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
    resume = (directory / RUN_FILE).exists()
    if resume:
        config = read_run(directory, lab.dataset_sha256, type(config))
    else:
        start_run(directory, config, lab.dataset_sha256)
    run = train(directory, config, resume)
    write_text(path, to_json(dataclasses.asdict(run)))  # type: ignore[call-overload]
    for part in ("last", PROBES):  # the weights stay, as `best`
        shutil.rmtree(directory / part, ignore_errors=True)
    return run


def _train_variant(
    lab: Lab, variant: Variant, directory: Path, config: TrainConfig, resume: bool
) -> TrainedRun:
    dataset, sha256 = lab.small_dataset, lab.dataset_sha256
    trainer = Trainer(
        directory, dataset, config, sha256, variant.featurizer, resume=resume, distilled=variant.distilled
    )
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
        rows = structure_rows(short, *ask(trainer.model, short, variant.featurizer, padded)) if short else []
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
        items=structure_rows(items, *ask(trainer.model, items, variant.featurizer, fold=True)),
        by_padding=by_padding,
    )


def _read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


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
    return {name: optim.clip_grad_norm(part, math.inf)[1].item() for name, part in parts.items()}
