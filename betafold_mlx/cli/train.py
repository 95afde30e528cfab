"""``betafold-mlx train``."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import rich_click as click

from betafold_mlx.cli.options import (
    FOLDER,
    check_resumed,
    complete_model,
    complete_words,
    device_option,
    examples,
    given_options,
    option_panels,
    run_options,
    settings_options,
    take_settings,
)
from betafold_mlx.data.sampling import MAX_WINDOWS, MIN_WINDOWS, SamplerConfig
from betafold_mlx.model.config import PAIR_SETTINGS, ModelConfig
from betafold_mlx.train.training_config import LossWeights, Mix, TrainConfig

_NETWORK, _TRAINING = "The network", "The training"


@click.command(
    epilog=examples(
        "betafold-mlx train datasets/mine -o runs/mine",
        "betafold-mlx train datasets/mine -o runs/mine --resume",
        "betafold-mlx train datasets/mine -o runs/small --width 128 --ffn-width 512 --steps 1000",
        "betafold-mlx train datasets/mine -o runs/esm2 --embedder weights/esm2_t6_8M_UR50D",
        "betafold-mlx train datasets/mine -o runs/mixed --distilled datasets/labels --mix-until 2000",
    ),
    panels=option_panels(
        {
            "The run": "output resume start seed",
            "What reads the residues": "embedder cache windows",
            "Distilled data": "distilled mix mix_until",
        }
    ),
)
@run_options("Random seed of weights, dropout and data order.")
@click.option(
    "--embedder",
    metavar="residue|DIR",
    shell_complete=complete_words(lambda: ["residue"], "dir"),
    show_default="residue",
    help="Input of the network: an embedding learned with the model, or a converted ESM-2 of any size.",
)
@click.option(
    "--cache",
    type=FOLDER,
    show_default="DATASET.esm2-SIZE-SHA256",
    help="Embeddings of the data set by that ESM-2 (see embed). What it lacks is made first.",
)
@click.option(
    "--windows",
    type=click.IntRange(MIN_WINDOWS, MAX_WINDOWS),
    show_default="new ones at each step; of a cache, its own",
    help="Draw from this number of fixed windows of the training chains.",
)
@click.option(
    "--start",
    metavar="NAME|DIR",
    shell_complete=complete_model,
    help="Start from the weights of this model; it may have fewer positions.",
)
@click.option("--distilled", type=FOLDER, help="Data set made by `distill`, to train on beside DATASET.")
@click.option(
    "--mix",
    metavar="experimental=X,distilled=X",
    show_default="experimental=0.5,distilled=0.5",
    help="Weights of the two: their ratio is that of the examples of each batch.",
)
@click.option(
    "--mix-until",
    type=click.IntRange(1),
    show_default="the last step",
    help="Use no distilled data after this step.",
)
@settings_options(ModelConfig, _NETWORK)
@settings_options(TrainConfig, _TRAINING)
@settings_options(SamplerConfig, _TRAINING)
@click.option(
    "--loss-weight",
    "loss_weights",
    metavar="NAME=WEIGHT",
    multiple=True,
    help=f"Weight of a part of the loss: {', '.join(field.name for field in dataclasses.fields(LossWeights))}. "
    "Repeatable.",
    panel=_TRAINING,
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
    start: str | None,
    distilled: Path | None,
    **options: Any,
) -> None:
    """Train a folding model.

    DATASET is made by `dataset build`. RUN/best becomes a model directory (fold with --model RUN/best),
    RUN/metrics.jsonl holds every step. Ctrl-C saves the run; --resume goes on and ends in the same weights as a run
    that was never stopped.

    With a converted ESM-2 as the embedder the model reads its features from a cache on disk, of a fixed number of
    windows (40,000 unless --windows says otherwise); the ESM-2 itself does not run while training.

    With --distilled a part of each batch comes from a distilled data set. The confidence learns from experimental
    structures alone, and only these are validated on. To go on with such a run, name the data set again.

    Under `mlx.launch -n 2 --backend ring -- betafold-mlx train ...` the ranks share the examples of each step. The
    first one writes the run; the others need the data set, and with --embedder the ESM-2 or its cache.
    """
    from betafold_mlx.cli.training import ShownFilling, run_with_progress
    from betafold_mlx.data.mix import check_origins
    from betafold_mlx.data.store import Dataset, dataset_sha256
    from betafold_mlx.fold.registry import find_model
    from betafold_mlx.model.directory import load_model
    from betafold_mlx.train.checkpoint import check_free, read_run, start_run
    from betafold_mlx.train.features import check_mix, new_features, resumed_features, with_distilled
    from betafold_mlx.train.loop import Trainer
    from betafold_mlx.train.ranks import join, mlx_errors

    if resume and start is not None:
        raise click.UsageError("--start is for a new run: leave it out with --resume")
    if resume:
        check_resumed(ctx, options)
    useless = given_options(ctx, PAIR_SETTINGS)
    if useless and options["trunk"] != "pairformer":
        raise click.UsageError(f"{useless[0]} goes with --trunk pairformer")
    weights, until = _mix(options.pop("mix")), options.pop("mix_until")
    if distilled is None and (weights or until):
        raise click.UsageError(
            f"--mix{'-until' if until else ''} goes with --distilled, the data set to mix in"
        )
    known = embedder in (None, "residue") or Path(str(embedder)).is_dir()
    if not resume and not known:
        raise click.UsageError(f"--embedder {embedder}: give 'residue' or a converted ESM-2 directory")
    esm = None if embedder in (None, "residue") else Path(str(embedder))
    if not resume and esm is None and cache is not None:
        raise click.UsageError("--cache goes with --embedder DIR, the ESM-2 that it was made by")
    ranks = join()
    with mlx_errors(": continue with --resume"), ShownFilling("sequences embedded") as reporter:
        data = Dataset.load(dataset)
        fingerprint = dataset_sha256(dataset)
        labels = None if distilled is None else Dataset.load(distilled)
        check_origins(data, fingerprint, labels)  # before minutes of embedding
        if resume:
            settings = read_run(output, fingerprint).to_dict() if ranks.main else None
            config = TrainConfig.from_dict(ranks.value_from_main(settings))
            check_mix(config.mix, distilled, output)
            if config.network.embedder.kind == "residue" and cache is not None:
                raise click.UsageError(f"the run {output} reads no embeddings: leave out --cache")
            features = resumed_features(dataset, data, fingerprint, config, output, embedder, cache, reporter)
        else:
            if ranks.main:
                check_free(output)  # before minutes of embedding
            mix = None if distilled is None else Mix(dataset_sha256(distilled), **weights, until=until)
            config = dataclasses.replace(_config(options), mix=mix)
            config, features = new_features(dataset, data, fingerprint, config, esm, cache, reporter)
        both = with_distilled(features, config, output, embedder, distilled, labels, reporter)
        trainer = Trainer(
            output,
            data,
            config,
            fingerprint,
            both,
            resume=resume,
            ranks=ranks,
            distilled=labels,
            start=None if start is None else load_model(find_model(start)),
        )
        if not resume and ranks.main:  # after the trainer: what cannot be trained leaves no run behind
            start_run(output, config, fingerprint)
    run_with_progress(trainer)
    if ranks.main:
        best = trainer.progress
        click.echo(f"{output / 'best'}: validation RMSD {best.best_score:.2f} A at step {best.best_step}")


def _config(options: dict[str, Any]) -> TrainConfig:
    """Return the settings of a run from the values of its options."""
    network = ModelConfig(**take_settings(ModelConfig, options))
    sampler = SamplerConfig(**take_settings(SamplerConfig, options), windows=options.pop("windows"))
    names = [field.name for field in dataclasses.fields(LossWeights)]
    loss = LossWeights(**_weights("--loss-weight", options.pop("loss_weights"), names))
    return TrainConfig(network=network, sampler=sampler, loss=loss, **options)


def _mix(text: str | None) -> dict[str, float]:
    """Return the weights of ``--mix`` by the names of the origins."""
    if text is None:
        return {}
    names = ["experimental", "distilled"]
    weights = _weights("--mix", text.split(","), names)
    if sorted(weights) != sorted(names) or not any(weights.values()):
        raise click.UsageError(
            f"--mix {text!r:.60}: write experimental=X,distilled=X with numbers from 0, at least one of them above 0"
        )
    return weights


def _weights(option: str, items: Iterable[str], names: list[str]) -> dict[str, float]:
    """Parse ``NAME=WEIGHT``."""
    weights = {}
    for item in items:
        name, _, number = (part.strip() for part in item.partition("="))
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if name not in names or not 0 <= weight < math.inf:
            raise click.UsageError(
                f"{option} {item!r:.40}: write NAME=WEIGHT with one of {', '.join(names)} and a number from 0"
            )
        weights[name] = weight
    return weights
