"""``betafold-mlx train-side-chains``."""

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
from betafold_mlx.model.config import SideChainConfig
from betafold_mlx.train.side_chain_settings import SideChainTrainConfig

_TRAINING = "The training"


@click.command(
    epilog=examples(
        "betafold-mlx train-side-chains datasets/mine --model runs/mine/best -o runs/side-chains",
        "betafold-mlx train-side-chains datasets/mine --model runs/mine/best -o runs/side-chains --resume",
    ),
    panels=option_panels({"The run": "model output start resume seed"}),
)
@click.option(
    "--model", required=True, metavar="NAME|DIR", shell_complete=complete_model, help="The folding model."
)
@click.option(
    "--start",
    type=FOLDER,
    help="Folder with a side-chain network to start from, of this or another model.",
)
@run_options("Random seed of weights, data order and noise.")
@settings_options(SideChainTrainConfig, _TRAINING)
@device_option
@click.pass_context
def train_side_chains(
    ctx: click.Context,
    dataset: Path,
    model: str,
    output: Path,
    start: Path | None,
    resume: bool,
    **options: Any,
) -> None:
    """Train the side-chain network of a folding model.

    It learns how probable the rotamers of each residue are, from native structures of the training split (and
    with --read-states from the states of the folding network). RUN/best/side_chains.safetensors becomes the
    network: copy it into the model directory. The data set must have side chains (`dataset build --chi`).
    Ctrl-C saves the run; --resume goes on.
    """
    from betafold_mlx.cli.training import run_with_progress
    from betafold_mlx.data.store import Dataset, dataset_sha256
    from betafold_mlx.fold.predictor import Predictor
    from betafold_mlx.model.companions import SIDE_CHAINS
    from betafold_mlx.train.checkpoint import read_run, start_run
    from betafold_mlx.train.side_chain_trainer import SideChainTrainer

    if resume:
        check_resumed(ctx, options)
    data, fingerprint = Dataset.load(dataset), dataset_sha256(dataset)
    predictor = Predictor.load(model, templates=None)
    first = None if start is None else SIDE_CHAINS.load(start, None)
    if resume:
        config = read_run(output, fingerprint, SideChainTrainConfig)
        if config.model_sha256 != predictor.loaded.sha256:
            raise click.UsageError(f"{output} is the run of another model: name that one")
    else:
        states = options["read_states"] * predictor.loaded.model.config.width
        network = SideChainConfig(states=states) if first is None else first.config
        config = SideChainTrainConfig(network=network, model_sha256=predictor.loaded.sha256, **options)
    trainer = SideChainTrainer(
        output, data, predictor.loaded.model, config, predictor.embedder, resume, first
    )
    if not resume:  # after the trainer: what cannot be trained leaves no run behind
        start_run(output, config, fingerprint)
    run_with_progress(trainer, decimals=3)
    figures = f"-log density {trainer.progress.best_score:.3f}"
    click.echo(f"{output / 'best'}: validation {figures} at step {trainer.progress.best_step}")
