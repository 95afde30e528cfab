"""``betafold-mlx evaluate``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from betafold_mlx.cli.options import (
    FILE_OR_FOLDER,
    FOLDER,
    SEED,
    complete_model,
    device_option,
    examples,
    given_options,
    json_option,
    model_options,
    option_panels,
)
from betafold_mlx.cli.progress import timed
from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import to_json

if TYPE_CHECKING:
    from betafold_mlx.data.store import Dataset
    from betafold_mlx.evaluate.batching import Say
    from betafold_mlx.fold.predictor import Predictor
    from betafold_mlx.templates.library import TemplateLibrary

SPLITS = ("validation", "test")


@click.command(
    epilog=examples(
        "betafold-mlx evaluate datasets/mine",
        "betafold-mlx evaluate datasets/mine --model runs/mine/best --beside betafold-mini",
        "betafold-mlx evaluate --predictions esmfold --references peptides.jsonl.gz --json",
    ),
    panels=option_panels(
        {
            "A model on a data set": "beside split limit samples scope",
            "Anybody's structure files": "predictions references",
        }
    ),
)
@click.argument("dataset", metavar="[DATASET]", required=False, type=FOLDER)
@model_options
@click.option(
    "--beside",
    metavar="NAME|DIR",
    shell_complete=complete_model,
    default=None,
    help="Another model, to compare with structure by structure: betafold-mini, say.",
)
@click.option("--split", type=click.Choice(SPLITS), default="test", help="Split of the data set to score on.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    show_default="all of them",
    help="Maximum number of each kind, for a quick look.",
)
@click.option(
    "--samples", type=click.IntRange(1, 1000), default=5, help="Models of each item; the first is judged."
)
@click.option(
    "--scope",
    type=click.IntRange(1, 100_000),
    show_default="none",
    help="Also fold N random sequences, N shuffled fragments and free peptides, and some disordered peptides.",
)
@click.option("--predictions", type=FOLDER, default=None, help="Folder of PDB or mmCIF files to score.")
@click.option(
    "--references",
    type=FILE_OR_FOLDER,
    default=None,
    help="What to score them against: a data set, backbone JSON lines, or structure files.",
)
@click.option("--seed", type=SEED, default=0, help="Random seed of models and bootstrap.")
@json_option
@device_option
@click.pass_context
def evaluate(
    ctx: click.Context,
    dataset: Path | None,
    model: str | None,
    embedder: Path | None,
    beside: str | None,
    split: str,
    limit: int | None,
    samples: int,
    scope: int | None,
    predictions: Path | None,
    references: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Score a model, or any tool's files, beside the baselines.

    With DATASET (see `dataset build`) the model folds every fragment and peptide of the split, with its stated
    chemistry, and is set beside a constant helix, a constant strand, the mean torsions of each residue type, the most
    similar training window, and the reconstruction floor: the best that any torsion model can do. Backbone RMSD and
    torsion errors are the figures to go by: lDDT and GDT_TS flatter short peptides (a wrong strand of 10 residues has
    a GDT_TS of 0.30). With --beside another model folds the same items: that is how a model on ESM-2 features is told
    from one without.

    Of each item --samples models are made. The first, which ranks highest, is judged; beside it stand the mean over
    all and the best of them, which takes an oracle to choose. The report says how well the confidence is calibrated
    and ranks peptides, and the models of one peptide; with --scope also how low it is where there is no fold.

    With --predictions and --references the files are matched by name to the ids (1le0_A.pdb, 1le0_A_model_2.cif), else
    by identical sequence; B-factors in 0-100 or 0-1 are read as pLDDT. What cannot be scored is listed, and the exit
    code is then 1.
    """
    from betafold_mlx.cli.blocks import echo_blocks
    from betafold_mlx.evaluate.display import blocks
    from betafold_mlx.fold.predictor import Predictor

    say = timed()
    if (dataset is None) == (predictions is None and references is None):
        raise click.UsageError("give either a DATASET, or --predictions and --references")
    command: dict[str, Any] = {"seed": seed}
    if dataset is not None:
        command |= {"dataset": str(dataset), "split": split, "limit": limit, "model": model}
        command |= {
            "samples": samples,
            "scope": scope,
            "embedder": embedder and str(embedder),
            "beside": beside,
        }
        other = None if beside is None else Predictor.load(beside)
        document = _of_model(dataset, Predictor.load(model, embedder), other, command, say)
    else:
        if predictions is None or references is None:
            raise click.UsageError("--predictions and --references go together")
        given = given_options(ctx, ["samples"])
        if given or any(option is not None for option in (model, embedder, beside, limit, scope)):
            raise click.UsageError(
                "--model, --embedder, --beside, --limit, --samples and --scope are for a DATASET"
            )
        command |= {"predictions": str(predictions), "references": str(references)}
        split_given = bool(given_options(ctx, ["split"]))
        document = _of_files(predictions, references, split, split_given, command, say)
    if as_json:
        click.echo(to_json(document), nl=False)
    else:
        echo_blocks(blocks(document))
    if document.get("not_scored"):
        sys.exit(1)


def _of_model(
    directory: Path, predictor: Predictor, other: Predictor | None, command: dict[str, Any], say: Say
) -> dict[str, Any]:
    from betafold_mlx.data.store import Dataset, dataset_sha256
    from betafold_mlx.evaluate.document import build_document
    from betafold_mlx.evaluate.items import split_items
    from betafold_mlx.evaluate.methods import evaluate_model

    data = Dataset.load(directory)
    items = split_items(data, command["split"], command["limit"])
    if not items:
        raise BetafoldError(f"{directory} has no fragments and no peptides in its {command['split']} split")
    for each in (predictor, other):
        if each is not None and each.templates is not None:
            each.templates = _without_held_out(each.templates, data)
    counts = {"samples": command["samples"], "scope": command["scope"]}
    evaluation = evaluate_model(predictor, data, items, command["seed"], say, other, **counts)
    digest = dataset_sha256(directory)
    for each in (predictor, other):
        if each is not None and each.loaded.trained_on != digest:
            known = _what_it_knows(each.loaded.trained_on, data.report.get("splits_of"))
            evaluation.notes.append(f"model {each.loaded.name} {known}")
    header = {
        "command": command,
        "model": _named(predictor),
        "dataset": {"split": command["split"], "sha256": digest},
    }
    if other is not None:
        header["beside"] = _named(other)
    say("figures and intervals")
    return build_document(evaluation, header, command["seed"])


def _without_held_out(library: TemplateLibrary, data: Dataset) -> TemplateLibrary:
    """Return a template library without the structures that are measured on, and their validation kin."""
    return library.without({record.id for record in data.records if record.split != "train"})


def _named(predictor: Predictor) -> dict[str, Any]:
    loaded = predictor.loaded
    return {"name": loaded.name, "sha256": loaded.sha256, "embedder": predictor.describe_embedder()}


def _what_it_knows(trained_on: str | None, splits_of: str | None) -> str:
    """Say what a model may know of a data set that it was not trained on, but whose splits may be those of its own."""
    if trained_on is None:
        return "does not say on what it was trained: it may have seen these structures"
    if trained_on != splits_of:
        return "was trained on other data: it may have seen these structures"
    return (
        "was trained on another data set, whose splits this one keeps by PDB entry: nothing here resembles what it was "
        "trained on, as far as those entries are here"
    )


def _of_files(
    predictions: Path, references: Path, split: str, split_given: bool, command: dict[str, Any], say: Say
) -> dict[str, Any]:
    from betafold_mlx.data.store import is_dataset
    from betafold_mlx.evaluate.document import build_document
    from betafold_mlx.evaluate.external import evaluate_files, load_references

    if split_given and not is_dataset(references):
        raise click.UsageError("--split is for a data set, and these references are not one")
    known = load_references(references, split)
    evaluation, not_scored = evaluate_files(predictions, known, say)
    clustered = known.dataset is not None
    if clustered:
        command["split"] = split
    header = {
        "command": command,
        "references": {"count": len(known.items), "sha256": known.sha256},
        "not_scored": [failure._asdict() for failure in not_scored],
    }
    say("figures")
    return build_document(evaluation, header, command["seed"], clustered=clustered, everything=not clustered)
