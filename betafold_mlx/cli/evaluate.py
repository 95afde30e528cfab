"""``betafold-mlx evaluate``."""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from betafold_mlx.data.store import Dataset, dataset_sha256, is_dataset
from betafold_mlx.errors import BetafoldError
from betafold_mlx.evaluate.evaluation import Say, evaluate_model
from betafold_mlx.evaluate.external import evaluate_files
from betafold_mlx.evaluate.items import split_items
from betafold_mlx.evaluate.references import load_references
from betafold_mlx.evaluate.report import build_report
from betafold_mlx.evaluate.tables import render
from betafold_mlx.files import to_json
from betafold_mlx.predict import Predictor

SPLITS = ("validation", "test")


@click.command()
@click.argument("dataset", required=False, type=click.Path(path_type=Path))
@click.option("--model", default=None, help="Model directory, or the name of a bundled model.")
@click.option("--split", type=click.Choice(SPLITS), default="test", help="Split of the data set to score on.")
@click.option(
    "--limit", type=click.IntRange(1), default=None, help="At most so many of each kind: a quick look."
)
@click.option(
    "--predictions",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder of PDB or mmCIF files to score.",
)
@click.option(
    "--references",
    type=click.Path(path_type=Path),
    default=None,
    help="What to score them against: a data set, backbone JSON lines, or structure files.",
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, help="Random seed of the bootstrap.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
@click.pass_context
def evaluate(
    ctx: click.Context,
    dataset: Path | None,
    model: str | None,
    split: str,
    limit: int | None,
    predictions: Path | None,
    references: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Score a model on a data set made by `dataset build`, or anybody's structure files.

    With DATASET the model folds every fragment and peptide of the split, with its stated chemistry, and is set beside
    a constant helix, a constant strand, the mean torsions of each residue type, the most similar training window, and
    the reconstruction floor: the best that any torsion model can do. Backbone RMSD and torsion errors are the figures
    to go by: lDDT and GDT_TS flatter short peptides (a wrong strand of 10 residues has a GDT_TS of 0.30).

    With --predictions and --references the files are matched by name to the ids (1le0_A.pdb, 1le0_A_model_2.cif),
    else by identical sequence; B-factors in 0-100 or 0-1 are read as pLDDT. What cannot be scored is listed, and the
    exit code is then 1.

    \b
    betafold-mlx evaluate peptides.ds
    betafold-mlx evaluate --predictions esmfold --references peptides.jsonl.gz --json
    """  # noqa: D301 - click reads the backspace
    started = time.perf_counter()

    def say(text: str) -> None:
        click.echo(f"{time.perf_counter() - started:6.1f} s  {text}", err=True)

    if (dataset is None) == (predictions is None and references is None):
        raise click.UsageError("give either a DATASET, or --predictions and --references")
    command: dict[str, Any] = {"seed": seed}
    if dataset is not None:
        command |= {"dataset": str(dataset), "split": split, "limit": limit, "model": model}
        report = _of_model(dataset, model, split, limit, seed, {"command": command}, say)
        failed = False
    else:
        if predictions is None or references is None:
            raise click.UsageError("--predictions and --references go together")
        if model is not None or limit is not None:
            raise click.UsageError("--model and --limit are for a DATASET")
        command |= {"predictions": str(predictions), "references": str(references)}
        report = _of_files(ctx, predictions, references, split, seed, command, say)
        failed = bool(report["not_scored"])
    click.echo(to_json(report) if as_json else render(report), nl=False)
    if failed:
        sys.exit(1)


def _of_model(
    directory: Path,
    model: str | None,
    split: str,
    limit: int | None,
    seed: int,
    header: dict[str, Any],
    say: Say,
) -> dict[str, Any]:
    data = Dataset.load(directory)
    items = split_items(data, split, limit)
    if not items:
        raise BetafoldError(f"{directory} has no fragments and no peptides in its {split} split")
    predictor = Predictor.load(model)
    evaluation = evaluate_model(predictor, data, items, seed, say)
    loaded, digest = predictor.loaded, dataset_sha256(directory)
    if loaded.trained_on != digest:
        what = (
            "does not say on what it was trained"
            if loaded.trained_on is None
            else "was trained on other data"
        )
        evaluation.notes.append(f"model {loaded.name} {what}: it may have seen these structures")
    header |= {
        "model": {"name": loaded.name, "sha256": loaded.sha256},
        "dataset": {"split": split, "sha256": digest},
    }
    say("figures and intervals")
    return build_report(evaluation, header, seed)


def _of_files(
    ctx: click.Context,
    predictions: Path,
    references: Path,
    split: str,
    seed: int,
    command: dict[str, Any],
    say: Say,
) -> dict[str, Any]:
    if not is_dataset(references) and ctx.get_parameter_source("split") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--split is for a data set, and these references are none")
    known = load_references(references, split)
    external = evaluate_files(predictions, known, say)
    if known.dataset is not None:
        command["split"] = split
    header = {
        "command": command,
        "references": {"count": len(known.items), "sha256": known.sha256},
        "not_scored": [dataclasses.asdict(failure) for failure in external.failures],
    }
    say("figures")
    return build_report(
        external.evaluation,
        header,
        seed,
        clustered=known.dataset is not None,
        everything=known.dataset is None,
    )
