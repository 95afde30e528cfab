"""``betafold-mlx train``."""

from __future__ import annotations

import dataclasses
import math
import sys
from pathlib import Path
from typing import Any

import click

from betafold_mlx.cli.device import device_option
from betafold_mlx.cli.features import new_features, resumed_features
from betafold_mlx.data.plan import FEWEST_WINDOWS, MOST_WINDOWS
from betafold_mlx.data.store import Dataset, dataset_sha256
from betafold_mlx.data.windows import SamplerConfig
from betafold_mlx.distributed.ranks import Ranks, join
from betafold_mlx.model.config import ModelConfig
from betafold_mlx.train.checkpoint import check_free, read_run, start_run
from betafold_mlx.train.config import TrainConfig
from betafold_mlx.train.loop import Trainer
from betafold_mlx.train.losses import LossWeights

_DEFAULT = TrainConfig()


@click.command()
@click.argument("dataset", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder of the run.")
@click.option("--resume", is_flag=True, help="Go on from the run's last checkpoint, with its own settings.")
@click.option(
    "--embedder",
    metavar="residue|DIR",
    show_default="residue",
    help="What reads the residues: an embedding learned with the model, or a converted ESM-2, of any size.",
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    show_default="DATASET.esm2-SIZE-SHA256",
    help="Embeddings of the data set by that ESM-2 (see embed). What it lacks is made first.",
)
@click.option(
    "--windows",
    type=click.IntRange(FEWEST_WINDOWS, MOST_WINDOWS),
    show_default="new ones at each step; of a cache, its own",
    help="Draw from so many fixed windows of the training chains.",
)
@click.option("--steps", type=click.IntRange(1), default=_DEFAULT.steps, help="Optimiser steps.")
@click.option(
    "--layers", type=click.IntRange(1, 12), default=_DEFAULT.network.layers, help="Transformer blocks."
)
@click.option(
    "--width", type=click.IntRange(8), default=_DEFAULT.network.width, help="Width of a residue's state."
)
@click.option("--heads", type=click.IntRange(1), default=_DEFAULT.network.heads, help="Attention heads.")
@click.option(
    "--ffn-width", type=click.IntRange(8), default=_DEFAULT.network.ffn_width, help="Feed-forward width."
)
@click.option(
    "--dropout", type=click.FloatRange(0, 0.9), default=_DEFAULT.network.dropout, help="Dropout rate."
)
@click.option(
    "--positions", type=click.Choice(["learned", "sinusoidal"]), default="learned", help="Absolute positions."
)
@click.option(
    "--learning-rate",
    type=click.FloatRange(0, min_open=True),
    default=_DEFAULT.learning_rate,
    help="Peak rate.",
)
@click.option(
    "--tokens",
    type=click.IntRange(32),
    default=_DEFAULT.sampler.tokens,
    help="Residues of a batch, padding included.",
)
@click.option(
    "--substitutions",
    type=click.FloatRange(0, 1),
    default=_DEFAULT.sampler.substitutions,
    help="Largest share of an example's residues exchanged for likely substitutes; not with --windows or a cache.",
)
@click.option("--warmup", type=click.IntRange(0), default=_DEFAULT.warmup, help="Warm-up steps.")
@click.option(
    "--loss-weight",
    "loss_weights",
    metavar="NAME=WEIGHT",
    multiple=True,
    help="Weight of a part of the loss: torsion, ramachandran, distogram, drmsd, fape or confidence.",
)
@click.option(
    "--evaluate-every",
    type=click.IntRange(1),
    default=_DEFAULT.evaluate_every,
    help="Steps between evaluations.",
)
@click.option(
    "--patience",
    type=click.IntRange(1),
    default=_DEFAULT.patience,
    help="Evaluations without a better one before stopping.",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**31 - 1), default=0, help="Of weights, dropout and data order."
)
@device_option
@click.pass_context
def train(
    ctx: click.Context,
    dataset: Path,
    output: Path,
    resume: bool,
    embedder: str | None,
    cache: Path | None,
    **options: Any,
) -> None:
    """Train a folding model on a data set made by `dataset build`.

    RUN/best becomes a model directory (fold with --model RUN/best), RUN/metrics.jsonl holds every step. Ctrl-C saves
    the run; --resume goes on and ends in the same weights as a run that was never stopped.

    With a converted ESM-2 as the embedder the model reads its features from a cache on disk, of a fixed number of
    windows (40,000 unless --windows says otherwise); the ESM-2 itself does not run while training.

    Under `mlx.launch -n 2 --backend ring -- betafold-mlx train ...` the ranks share the examples of each step. The
    first one writes the run; the others need the data set, and on their own disks also the ESM-2.
    """
    if resume:
        given = [
            name
            for name in options
            if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        ]
        if given:
            raise click.UsageError(
                f"--resume takes the run's own settings: leave out --{given[0].replace('_', '-')}"
            )
    with join() as ranks:
        data = Dataset.load(dataset)
        fingerprint = dataset_sha256(dataset)
        if resume:
            settings = ranks.from_main(lambda: read_run(output, fingerprint).to_dict())
            config = TrainConfig.from_dict(settings)
            features = resumed_features(dataset, data, fingerprint, config, output, embedder, cache, ranks)
            trainer = Trainer(output, data, config, fingerprint, features, resume=True, ranks=ranks)
        else:
            ranks.from_main(lambda: check_free(output))  # before minutes of embedding
            config = _config(options)
            config, features = new_features(dataset, data, fingerprint, config, embedder, cache, ranks)
            trainer = Trainer(
                output, data, config, fingerprint, features, ranks=ranks
            )  # first: what cannot be trained leaves no run behind
            ranks.from_main(lambda: start_run(output, config, fingerprint))
        _report(trainer, _run_with_bar(trainer) if ranks.main else trainer.run(), ranks)


def _report(trainer: Trainer, finished: bool, ranks: Ranks) -> None:
    progress = trainer.progress
    if not finished:
        if ranks.main:
            click.echo(
                f"stopped at step {progress.step} of {trainer.config.steps}: go on with --resume", err=True
            )
        sys.exit(130)
    if ranks.main:
        best = trainer.directory / "best"
        click.echo(f"{best}: validation RMSD {progress.best_score:.2f} A at step {progress.best_step}")


def _config(options: dict[str, Any]) -> TrainConfig:
    network = {
        name: options.pop(name) for name in ("layers", "width", "heads", "ffn_width", "dropout", "positions")
    }
    sampler = SamplerConfig(**{name: options.pop(name) for name in ("windows", "tokens", "substitutions")})
    loss = _loss_weights(options.pop("loss_weights"))
    return TrainConfig(network=ModelConfig(**network), sampler=sampler, loss=loss, **options)


def _loss_weights(given: tuple[str, ...]) -> LossWeights:
    names = [field.name for field in dataclasses.fields(LossWeights)]
    weights = {}
    for item in given:
        name, _, text = item.partition("=")
        try:
            weights[name] = float(text)
        except ValueError:
            weights[name] = -1.0
        if name not in names or not 0 <= weights[name] < math.inf:
            raise click.UsageError(
                f"--loss-weight {item!r:.40}: write NAME=WEIGHT with one of {', '.join(names)} and a number from 0"
            )
    return LossWeights(**weights)


def _run_with_bar(trainer: Trainer) -> bool:
    config, start = trainer.config, trainer.progress.step
    with click.progressbar(
        length=config.steps - start,
        label="training",
        file=sys.stderr,
        show_eta=True,
        show_pos=True,
        item_show_func=lambda item: item,
    ) as bar:

        def report(figures: dict[str, Any]) -> None:
            if "validation" in figures:
                shown = "  ".join(f"{name} {value:.2f}" for name, value in figures["validation"].items())
                click.echo(f"\nstep {figures['step']}: {shown}", err=True)
            else:
                done = figures["step"] - start
                rate = done / max(bar.last_eta - bar.start, 1e-9) if done > 1 else 0.0
                bar.update(1, f"loss {figures['loss']:.3f}  {rate:.2f} steps/s")

        return trainer.run(report)
