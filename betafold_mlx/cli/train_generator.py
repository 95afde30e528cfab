"""``betafold-mlx train-generator``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from betafold_mlx.cli.device import device_option
from betafold_mlx.cli.help import Command
from betafold_mlx.cli.loading import loading
from betafold_mlx.cli.parameters import Folder, Late, Number, Real, Seed
from betafold_mlx.cli.training import run_with_bar

if TYPE_CHECKING:
    from betafold_mlx.generate.settings import GeneratorTrainConfig

_OF_THE_NETWORK = ("scales", "width", "layers", "decoder_layers", "heads", "ffn_width")
_OF_THE_FLOW = (
    "noisy_context",
    "scheduled_sampling",
    "self_conditioning",
    "local_distances",
    "further_draws",
)


def _default(name: str) -> Callable[[], Any]:
    """Return what gives the default of a setting."""

    def default() -> Any:
        from betafold_mlx.generate.settings import GeneratorTrainConfig

        config = GeneratorTrainConfig()
        for part in (config, config.network, config.flow):
            if hasattr(part, name):
                return getattr(part, name)
        raise AssertionError(name)

    return default


def _option(*names: str, key: str, **settings: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return an option whose default is that of the settings."""
    return click.option(*names, cls=Late, default=_default(key), **settings)


@click.command(
    cls=Command,
    examples=(
        "betafold-mlx train-generator datasets/mine -o runs/shapes",
        "betafold-mlx train-generator datasets/mine -o runs/shapes --resume",
        "betafold-mlx train-generator datasets/mine -o runs/oneshot --scales 1 --steps 2000",
    ),
    sections={
        "The run": ("output", "resume", "seed", "device"),
        "The network": _OF_THE_NETWORK,
        "The training": (
            *("steps", "learning_rate", "block_learning_rate", "warmup", "tokens"),
            *_OF_THE_FLOW,
            *("evaluate_every", "patience"),
        ),
    },
)
@click.argument("dataset", metavar="DATASET", type=Folder(exists=True, file_okay=False))
@click.option("-o", "--output", required=True, type=Folder(), help="Folder of the run.")
@click.option("--resume", is_flag=True, help="Go on from the run's last checkpoint, with its own settings.")
@_option("--steps", key="steps", type=Number(1), help="Optimiser steps, at most.")
@_option("--scales", key="scales", type=Number(1, 3), help="The finest so many of L/4, L/2 and L.")
@_option("--width", key="width", type=Number(8, 4096), help="Width of a point's state.")
@_option("--layers", key="layers", type=Number(1, 64), help="Blocks of the autoregressive Transformer.")
@_option(
    "--decoder-layers", key="decoder_layers", type=Number(1, 64), help="Blocks of the flow-matching decoder."
)
@_option("--heads", key="heads", type=Number(1, 256), help="Attention heads.")
@_option("--ffn-width", key="ffn_width", type=Number(8, 16384), help="Feed-forward width.")
@_option(
    "--noisy-context/--no-noisy-context",
    key="noisy_context",
    is_flag=True,
    help="Blur the coarser scales that are read.",
)
@_option(
    "--scheduled-sampling/--no-scheduled-sampling",
    key="scheduled_sampling",
    is_flag=True,
    help="Read the model's own coarser scales half of the time.",
)
@_option(
    "--self-conditioning/--no-self-conditioning",
    key="self_conditioning",
    is_flag=True,
    help="Show the decoder its own estimate half of the time.",
)
@_option(
    "--local-distances/--no-local-distances",
    key="local_distances",
    is_flag=True,
    help="Learn distances along the chain too.",
)
@_option(
    "--further-draws/--no-further-draws",
    key="further_draws",
    is_flag=True,
    help="Train the coarsest scale on more noise than the others.",
)
@_option(
    "--learning-rate", key="learning_rate", type=Real(0, min_open=True), help="AdamW's rate at its peak."
)
@_option(
    "--block-learning-rate",
    key="block_learning_rate",
    type=Real(0),
    help="Muon's rate at its peak, for the matrices of the blocks; 0: AdamW for these too.",
)
@_option("--tokens", key="tokens", type=Number(32), help="Residues of a batch, padding included.")
@_option("--warmup", key="warmup", type=Number(0), help="Steps of warm-up.")
@_option("--evaluate-every", key="evaluate_every", type=Number(1), help="Steps between evaluations.")
@_option(
    "--patience", key="patience", type=Number(1), help="Evaluations without a better one before stopping."
)
@click.option("--seed", type=Seed(), default=0, help="Random seed of weights, data order and noise.")
@device_option
@click.pass_context
def train_generator(ctx: click.Context, dataset: Path, output: Path, resume: bool, **options: Any) -> None:
    """Train a generator of backbones on a data set made by `dataset build`.

    It learns the C-alpha traces of the training split, coarse to fine. RUN/best becomes a model directory,
    RUN/metrics.jsonl holds every step. Ctrl-C saves the run; --resume goes on and ends in the same weights as a run
    that was never stopped.
    """
    with loading():
        from betafold_mlx.data.store import Dataset, dataset_sha256
        from betafold_mlx.generate.settings import GeneratorTrainConfig
        from betafold_mlx.generate.trainer import GeneratorTrainer
        from betafold_mlx.train.checkpoint import check_free, read_run, start_run

    given = [
        name for name in options if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    ]
    if resume and given:
        raise click.UsageError(
            f"--resume takes the run's own settings: leave out --{given[0].replace('_', '-')}"
        )
    data, fingerprint = Dataset.load(dataset), dataset_sha256(dataset)
    if resume:
        config = read_run(output, fingerprint, GeneratorTrainConfig)
        trainer = GeneratorTrainer(output, data, config, fingerprint, resume=True)
    else:
        check_free(output)
        config = _config(options)
        trainer = GeneratorTrainer(
            output, data, config, fingerprint
        )  # first: what cannot be trained leaves no run behind
        start_run(output, config, fingerprint)
    finished = run_with_bar(trainer, decimals=4)
    progress = trainer.progress
    if not finished:
        click.echo(f"stopped at step {progress.step} of {config.steps}: go on with --resume", err=True)
        sys.exit(130)
    click.echo(f"{output / 'best'}: validation loss {progress.best_score:.4f} at step {progress.best_step}")


def _config(options: dict[str, Any]) -> GeneratorTrainConfig:
    from betafold_mlx.generate.settings import FlowConfig, GeneratorConfig, GeneratorTrainConfig

    network = GeneratorConfig(**{name: options.pop(name) for name in _OF_THE_NETWORK})
    flow = FlowConfig(**{name: options.pop(name) for name in _OF_THE_FLOW})
    return GeneratorTrainConfig(network=network, flow=flow, **options)
