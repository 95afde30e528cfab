"""``betafold-mlx train-judge``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from betafold_mlx.cli.options import (
    FOLDER,
    check_resumed,
    complete_model,
    device_option,
    examples,
    option_panels,
    run_options,
    settings_options,
)
from betafold_mlx.model.config import JudgeConfig
from betafold_mlx.train.judge_settings import JudgeTrainConfig

_TRAINING = "The training"

_START = "start"
"""Folder of the run that keeps the judge it starts from: folding takes long, and may be stopped before the training."""


@click.command(
    epilog=examples(
        "betafold-mlx train-judge datasets/mine --model runs/mine/best -o runs/judge",
        "betafold-mlx train-judge datasets/mine --model runs/mine/best -o runs/judge --resume",
    ),
    panels=option_panels({"The run": "model output start resume seed"}),
)
@click.option("--model", required=True, metavar="NAME|DIR", shell_complete=complete_model, help="Who folds.")
@click.option("--start", type=FOLDER, help="Folder with a judge to start from, of this or another model.")
@run_options("Random seed of decoys, weights, data order and dropout.")
@settings_options(JudgeTrainConfig, _TRAINING)
@device_option
@click.pass_context
def train_judge(
    ctx: click.Context,
    dataset: Path,
    model: str,
    output: Path,
    start: Path | None,
    resume: bool,
    **options: Any,
) -> None:
    """Train the judge of a folding model.

    The model folds structures of the training split as `fold` does; the judge learns how near each candidate comes to
    the truth. RUN/decoys keeps the candidates, RUN/best/judge.safetensors becomes the judge: copy it into the model
    directory, and `fold` ranks by it. Ctrl-C saves the run; --resume goes on.
    """
    from betafold_mlx.cli.progress import Progress
    from betafold_mlx.cli.training import run_with_progress
    from betafold_mlx.data.store import Dataset, dataset_sha256
    from betafold_mlx.fold.predictor import Predictor
    from betafold_mlx.model.companions import JUDGE
    from betafold_mlx.train.checkpoint import read_run, start_run
    from betafold_mlx.train.decoys import all_decoys
    from betafold_mlx.train.judge_trainer import JudgeTrainer

    if resume and start is not None:
        raise click.UsageError("--start is for a new run: leave it out with --resume")
    if resume:
        check_resumed(ctx, options)
    data, fingerprint = Dataset.load(dataset), dataset_sha256(dataset)
    predictor = Predictor.load(model, templates=None)
    first = JUDGE.find(output / _START, None) if start is None else JUDGE.load(start, None)
    if resume:
        config = read_run(output, fingerprint, JudgeTrainConfig)
        if config.model_sha256 != predictor.loaded.sha256:
            raise click.UsageError(f"the candidates in {output} are those of another model: name that one")
    else:
        width = predictor.loaded.model.config.width
        network = JudgeConfig(states=width) if first is None else first.config
        if network.states != width:
            raise click.UsageError(f"--start {start}: a judge of states of {network.states}, not {width}")
        config = JudgeTrainConfig(network=network, model_sha256=predictor.loaded.sha256, **options)
        start_run(output, config, fingerprint)
        if first is not None:
            JUDGE.save(output / _START, first, config.model_sha256)
    with Progress("batches of decoys", config.batches) as progress:
        decoys, validation = all_decoys(output, predictor, data, config, lambda: progress.advance(1))
    trainer = JudgeTrainer(output, decoys, validation, config, resume, first)
    run_with_progress(trainer)
    figures = f"validation RMSD of its first choice {trainer.progress.best_score:.2f} A"
    click.echo(f"{output / 'best'}: {figures} at step {trainer.progress.best_step}")
