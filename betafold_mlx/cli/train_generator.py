"""``betafold-mlx train-generator``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from betafold_mlx.cli.options import (
    check_resumed,
    device_option,
    examples,
    option_panels,
    run_options,
    settings_options,
    take_settings,
)
from betafold_mlx.generate.generator_config import FlowConfig, GeneratorConfig, GeneratorTrainConfig

_NETWORK, _TRAINING = "The network", "The training"


@click.command(
    epilog=examples(
        "betafold-mlx train-generator datasets/mine -o runs/shapes",
        "betafold-mlx train-generator datasets/mine -o runs/shapes --resume",
        "betafold-mlx train-generator datasets/mine -o runs/oneshot --scales 1 --steps 2000",
    ),
    panels=option_panels({"The run": "output resume seed"}),
)
@run_options("Random seed of weights, data order and noise.")
@settings_options(GeneratorConfig, _NETWORK)
@settings_options(GeneratorTrainConfig, _TRAINING)
@settings_options(FlowConfig, _TRAINING)
@device_option
@click.pass_context
def train_generator(ctx: click.Context, dataset: Path, output: Path, resume: bool, **options: Any) -> None:
    """Train a generator of backbones.

    DATASET is made by `dataset build`. The generator learns the C-alpha traces of the training split, coarse to fine.
    RUN/best becomes a model directory, RUN/metrics.jsonl holds every step. Ctrl-C saves the run; --resume goes on and
    ends in the same weights as a run that was never stopped.
    """
    from betafold_mlx.cli.training import run_with_progress
    from betafold_mlx.data.store import Dataset, dataset_sha256
    from betafold_mlx.generate.trainer import GeneratorTrainer
    from betafold_mlx.train.checkpoint import check_free, read_run, start_run

    if resume:
        check_resumed(ctx, options)
    data, fingerprint = Dataset.load(dataset), dataset_sha256(dataset)
    if resume:
        config = read_run(output, fingerprint, GeneratorTrainConfig)
    else:
        check_free(output)
        network = GeneratorConfig(**take_settings(GeneratorConfig, options))
        flow = FlowConfig(**take_settings(FlowConfig, options))
        config = GeneratorTrainConfig(network=network, flow=flow, **options)
    trainer = GeneratorTrainer(output, data, config, fingerprint, resume=resume)
    if not resume:  # after the trainer: what cannot be trained leaves no run behind
        start_run(output, config, fingerprint)
    run_with_progress(trainer, decimals=4)
    best = trainer.progress
    click.echo(f"{output / 'best'}: validation loss {best.best_score:.4f} at step {best.best_step}")
