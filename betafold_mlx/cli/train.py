"""``betafold-mlx train``."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from betafold_mlx.cli.device import device_option
from betafold_mlx.cli.help import Command
from betafold_mlx.cli.loading import loading
from betafold_mlx.cli.parameters import Folder, Late, Named, Number, Real, Seed, Windows
from betafold_mlx.cli.train_settings import OF_THE_NETWORK, OF_THE_PAIRS, mix_weights, train_config
from betafold_mlx.cli.training import run_with_bar
from betafold_mlx.model.config import PAIR_OPTIONS, TRIANGLES, TRUNK_DTYPES, TRUNKS, ModelConfig

if TYPE_CHECKING:
    from betafold_mlx.distributed.ranks import Ranks
    from betafold_mlx.train.loop import Trainer

_NETWORK = ModelConfig()


def _training(name: str) -> Callable[[], Any]:
    """Return what gives the default of a setting of training."""

    def default() -> Any:
        from betafold_mlx.train.config import TrainConfig

        return getattr(TrainConfig, name)

    return default


def _sampling(name: str) -> Callable[[], Any]:
    """Return what gives the default of a setting of the sampler."""

    def default() -> Any:
        from betafold_mlx.data.windows import SamplerConfig

        return getattr(SamplerConfig, name)

    return default


def _embedders() -> dict[str, str]:
    return {"residue": "an embedding learned with the model"}


@click.command(
    cls=Command,
    examples=(
        "betafold-mlx train datasets/mine -o runs/mine",
        "betafold-mlx train datasets/mine -o runs/mine --resume",
        "betafold-mlx train datasets/mine -o runs/small --width 128 --ffn-width 512 --steps 1000",
        "betafold-mlx train datasets/mine -o runs/esm2 --embedder weights/esm2_t6_8M_UR50D",
        "betafold-mlx train datasets/mine -o runs/mixed --distilled datasets/labels --mix-until 2000",
    ),
    sections={
        "The run": ("output", "resume", "seed", "device"),
        "What reads the residues": ("embedder", "cache", "windows"),
        "Distilled data": ("distilled", "mix", "mix_until"),
        "The network": OF_THE_NETWORK,
        "The training": (
            *(
                "steps",
                "learning_rate",
                "warmup",
                "tokens",
                "disulfide_share",
                "substitutions",
                "loss_weights",
            ),
            *("evaluate_every", "patience"),
        ),
    },
)
@click.argument("dataset", metavar="DATASET", type=Folder(exists=True, file_okay=False))
@click.option("-o", "--output", required=True, type=Folder(), help="Folder of the run.")
@click.option("--resume", is_flag=True, help="Go on from the run's last checkpoint, with its own settings.")
@click.option(
    "--embedder",
    type=Named("residue|DIR", _embedders, "dir"),
    show_default="residue",
    help="What reads the residues: an embedding learned with the model, or a converted ESM-2, of any size.",
)
@click.option(
    "--cache",
    type=Folder(),
    show_default="DATASET.esm2-SIZE-SHA256",
    help="Embeddings of the data set by that ESM-2 (see embed). What it lacks is made first.",
)
@click.option(
    "--windows",
    type=Windows(),
    show_default="new ones at each step; of a cache, its own",
    help="Draw from so many fixed windows of the training chains.",
)
@click.option("--distilled", type=Folder(), help="Data set made by `distill`, to train on beside DATASET.")
@click.option(
    "--mix",
    metavar="experimental=X,distilled=X",
    show_default="experimental=0.5,distilled=0.5",
    help="Weights of the two: their ratio is that of the examples of each batch.",
)
@click.option(
    "--mix-until",
    type=Number(1),
    show_default="the last step",
    help="Take the distilled data out after so many steps.",
)
@click.option(
    "--steps", cls=Late, type=Number(1), default=_training("steps"), help="Optimiser steps, at most."
)
@click.option("--layers", type=Number(1, 12), default=_NETWORK.layers, help="Transformer blocks.")
@click.option("--width", type=Number(8), default=_NETWORK.width, help="Width of a residue's state.")
@click.option("--heads", type=Number(1), default=_NETWORK.heads, help="Attention heads.")
@click.option("--ffn-width", type=Number(8), default=_NETWORK.ffn_width, help="Feed-forward width.")
@click.option("--dropout", type=Real(0, 0.9), default=_NETWORK.dropout, help="Dropout rate.")
@click.option(
    "--positions", type=click.Choice(["learned", "sinusoidal"]), default="learned", help="Absolute positions."
)
@click.option(
    "--trunk",
    type=click.Choice(TRUNKS),
    default=_NETWORK.trunk,
    help="Residues alone, or residues and pairs of residues; the options below are of the pairformer.",
)
@click.option(
    "--triangle",
    type=click.Choice(TRIANGLES),
    default=_NETWORK.triangle,
    help="Form of triangle attention.",
)
@click.option(
    "--pair-width",
    type=Number(*PAIR_OPTIONS["pair_width"]),
    default=_NETWORK.pair_width,
    help="Channels of a pair.",
)
@click.option(
    "--pair-blocks",
    type=Number(*PAIR_OPTIONS["pair_blocks"]),
    default=_NETWORK.pair_blocks,
    help="Updates of the pairs, among which the --layers are shared out.",
)
@click.option(
    "--triangle-heads",
    type=Number(*PAIR_OPTIONS["triangle_heads"]),
    default=_NETWORK.triangle_heads,
    help="Heads of triangle attention.",
)
@click.option(
    "--recycles",
    type=Number(*PAIR_OPTIONS["recycles"]),
    default=_NETWORK.recycles,
    help="Times that the trunk runs again on its result; in training a random number up to it.",
)
@click.option(
    "--trunk-dtype",
    type=click.Choice(TRUNK_DTYPES),
    default=_NETWORK.trunk_dtype,
    help="What pairs are computed in; bfloat16 is slow on most processors.",
)
@click.option(
    "--learning-rate",
    cls=Late,
    type=Real(0, min_open=True),
    default=_training("learning_rate"),
    help="Learning rate at its peak.",
)
@click.option(
    "--tokens",
    cls=Late,
    type=Number(32),
    default=_sampling("tokens"),
    help="Residues of a batch, padding included.",
)
@click.option(
    "--disulfide-share",
    cls=Late,
    type=Real(0, 1),
    default=_sampling("disulfide_share"),
    help="Share of the windows of chains that are placed around a disulfide; not with --windows or a cache.",
)
@click.option(
    "--substitutions",
    cls=Late,
    type=Real(0, 1),
    default=_sampling("substitutions"),
    help="Largest share of an example's residues exchanged for likely substitutes; not with --windows or a cache.",
)
@click.option("--warmup", cls=Late, type=Number(0), default=_training("warmup"), help="Steps of warm-up.")
@click.option(
    "--loss-weight",
    "loss_weights",
    metavar="NAME=WEIGHT",
    multiple=True,
    help="Repeatable. Weight of a part of the loss: torsion, ramachandran, distogram, drmsd, fape or confidence.",
)
@click.option(
    "--evaluate-every",
    cls=Late,
    type=Number(1),
    default=_training("evaluate_every"),
    help="Steps between evaluations.",
)
@click.option(
    "--patience",
    cls=Late,
    type=Number(1),
    default=_training("patience"),
    help="Evaluations without a better one before stopping.",
)
@click.option("--seed", type=Seed(), default=0, help="Random seed of weights, dropout and data order.")
@device_option
@click.pass_context
def train(
    ctx: click.Context,
    dataset: Path,
    output: Path,
    resume: bool,
    embedder: str | None,
    cache: Path | None,
    distilled: Path | None,
    **options: Any,
) -> None:
    """Train a folding model on a data set made by `dataset build`.

    RUN/best becomes a model directory (fold with --model RUN/best), RUN/metrics.jsonl holds every step. Ctrl-C saves
    the run; --resume goes on and ends in the same weights as a run that was never stopped.

    With a converted ESM-2 as the embedder the model reads its features from a cache on disk, of a fixed number of
    windows (40,000 unless --windows says otherwise); the ESM-2 itself does not run while training.

    With --distilled a part of each batch comes from a distilled data set. The confidence learns from experimental
    structures alone, and only these are validated on. To go on with such a run, name the data set again.

    Under `mlx.launch -n 2 --backend ring -- betafold-mlx train ...` the ranks share the examples of each step. The
    first one writes the run; the others need the data set, and on their own disks also the ESM-2.
    """
    with loading():
        from betafold_mlx.cli.features import new_features, resumed_features
        from betafold_mlx.cli.mixing import check_mix, with_distilled
        from betafold_mlx.data.mix import check_origins
        from betafold_mlx.data.store import Dataset, dataset_sha256
        from betafold_mlx.distributed.ranks import join
        from betafold_mlx.train.checkpoint import check_free, read_run, start_run
        from betafold_mlx.train.config import Mix, TrainConfig
        from betafold_mlx.train.loop import Trainer

    given = [
        name for name in options if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    ]
    if resume and given:
        raise click.UsageError(
            f"--resume takes the run's own settings: leave out --{given[0].replace('_', '-')}"
        )
    mix, until = options.pop("mix"), options.pop("mix_until")
    weights = mix_weights(mix) if mix is not None else {}
    if distilled is None and (weights or until):
        raise click.UsageError(
            f"--mix{'-until' if until else ''} goes with --distilled, the data set to mix in"
        )
    useless = [name for name in given if name in OF_THE_PAIRS and options["trunk"] != "pairformer"]
    if useless:
        raise click.UsageError(f"--{useless[0].replace('_', '-')} goes with --trunk pairformer")
    with join() as ranks:
        data = Dataset.load(dataset)
        fingerprint = dataset_sha256(dataset)
        labels = None if distilled is None else Dataset.load(distilled)
        check_origins(data, fingerprint, labels)  # before minutes of embedding
        if resume:
            settings = ranks.from_main(lambda: read_run(output, fingerprint).to_dict())
            config = TrainConfig.from_dict(settings)
            check_mix(config.mix, distilled, output)
            features = resumed_features(dataset, data, fingerprint, config, output, embedder, cache, ranks)
            features = with_distilled(features, config, output, embedder, distilled, labels, ranks)
            trainer = Trainer(
                output, data, config, fingerprint, features, resume=True, ranks=ranks, distilled=labels
            )
        else:
            ranks.from_main(lambda: check_free(output))  # before minutes of embedding
            config = train_config(options)
            if distilled is not None:
                config = dataclasses.replace(
                    config, mix=Mix(dataset_sha256(distilled), **weights, until=until)
                )
            config, features = new_features(dataset, data, fingerprint, config, embedder, cache, ranks)
            features = with_distilled(features, config, output, embedder, distilled, labels, ranks)
            trainer = Trainer(
                output, data, config, fingerprint, features, ranks=ranks, distilled=labels
            )  # first: what cannot be trained leaves no run behind
            ranks.from_main(lambda: start_run(output, config, fingerprint))
        _report(trainer, run_with_bar(trainer) if ranks.main else trainer.run(), ranks)


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
