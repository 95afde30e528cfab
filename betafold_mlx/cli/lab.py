"""``betafold-mlx lab``."""

from __future__ import annotations

import dataclasses
import math
import shlex
from pathlib import Path
from typing import Any

import rich_click as click

from betafold_mlx.cli.options import (
    FOLDER,
    complete_words,
    device_option,
    examples,
    json_option,
    model_option,
    usage_errors,
)
from betafold_mlx.cli.progress import say
from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import to_json
from betafold_mlx.lab import runner
from betafold_mlx.lab.budget import PRESETS, Budget, parse_budget

ALL = "all"


_TITLES = {name: experiment.title for name, experiment in runner.EXPERIMENTS.items()} | {ALL: "All of them"}


def _budget(ctx: click.Context, param: click.Parameter, value: str) -> Budget:
    with usage_errors(click.BadParameter):
        return parse_budget(value)


@click.command(
    epilog=examples(
        "betafold-mlx lab toy",
        "betafold-mlx lab attention GIGKFLHSAKKFGKAFVGEIMNS",
        "betafold-mlx lab depth --data datasets/mine --budget quick",
        "betafold-mlx lab all --data datasets/mine --budget long -o results",
        "Experiments:",
        *(f"{name}: {title}" for name, title in _TITLES.items()),
    )
)
@click.argument("experiment", metavar="EXPERIMENT", type=click.Choice(list(_TITLES)))
@click.argument("peptides", metavar="[PEPTIDE]...", nargs=-1)
@click.option("-o", "--output", type=FOLDER, default="lab", help="Folder of the lab.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1000), default=0, help="The first random seed.")
@click.option(
    "--budget",
    metavar=f"{'|'.join(PRESETS)}|MINUTES",
    callback=_budget,
    shell_complete=complete_words(lambda: list(PRESETS)),
    default="normal",
    help="How much to do for each experiment.",
)
@click.option("--data", type=FOLDER, help="Data set made by `dataset build`.")
@model_option("Trained model to look into.")
@click.option("--embedder", type=FOLDER, help="Converted ESM-2, for attention and embeddings.")
@json_option
@device_option
@click.pass_context
def lab(
    ctx: click.Context,
    experiment: str,
    peptides: tuple[str, ...],
    output: Path,
    seed: int,
    budget: Budget,
    data: Path | None,
    model: str | None,
    embedder: Path | None,
    as_json: bool,
) -> None:
    """See how the Transformer works, and why it fails.

    Print a verdict, and write tables, figures and a page into OUTPUT/EXPERIMENT. The same seed and budget give the
    same tables. Training runs are kept in OUTPUT/runs: the same command goes on where it was stopped.

    All but `toy` and `attention` need --data; `attention` and `failures` train nothing.
    """
    names = list(runner.EXPERIMENTS) if experiment == ALL else [experiment]
    if peptides and experiment != "attention":
        raise click.UsageError("only `lab attention` takes peptides")
    if data is None and not set(names) <= set(runner.WITHOUT_DATA):
        raise click.UsageError(
            f"`lab {experiment}` needs a data set: name one with --data "
            "(`betafold-mlx dataset build STRUCTURES... -o DATASET` makes one)"
        )
    runner.require_libraries()
    lab = runner.Lab(
        output, budget, seed, data, model, embedder, peptides, lambda line: click.echo(line, err=True)
    )
    documents: list[dict[str, Any]] = []
    failed = False
    for name in names:
        click.echo(f"== lab {name}", err=True)
        command = _command(ctx, name, peptides, budget)
        try:
            report = runner.run_experiment(name, lab)
            files = runner.write_report(lab.directory / name, runner.EXPERIMENTS[name].title, command, report)
        except BetafoldError as error:
            if len(names) == 1:
                raise
            failed = True
            say(f"lab {name}: {error}")
            documents.append({"experiment": name, "error": str(error)})
            continue
        findings = [_plain(dataclasses.asdict(finding)) for finding in report.findings]
        document = {"experiment": name, "command": command, "findings": findings, "notes": report.notes}
        documents.append(document | {"files": [str(file) for file in files]})
        if not as_json:
            verdicts = [finding.verdict for finding in report.findings]
            click.echo("\n".join([*verdicts, *(f"({note})" for note in report.notes), str(files[0])]))
    if as_json:
        click.echo(to_json(documents if experiment == ALL else documents[0]), nl=False)
    if failed:
        ctx.exit(1)


def _command(ctx: click.Context, name: str, peptides: tuple[str, ...], budget: Budget) -> str:
    """Return what gives this experiment alone."""
    values = {**ctx.params, "budget": budget.name.removesuffix(" minutes")}
    words = ["betafold-mlx", "lab", name, *peptides]
    for option in ("budget", "seed", "data", "model", "embedder"):
        if values[option] is not None:
            words += [f"--{option}", str(values[option])]
    return shlex.join(words)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Return what JSON can hold: no NaN."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in values.items()
    }
