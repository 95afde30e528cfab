"""``betafold-mlx lab``."""

from __future__ import annotations

import dataclasses
import math
import shlex
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from betafold_mlx.cli.device import device_option
from betafold_mlx.cli.help import Command
from betafold_mlx.cli.loading import loading
from betafold_mlx.cli.parameters import MODEL, Folder, Named, Seed
from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import to_json
from betafold_mlx.lab.budget import PRESETS, Budget, parse_budget

ALL = "all"


def _experiments() -> dict[str, str]:
    """Return the titles of the experiments by name."""
    from betafold_mlx.lab.experiments import EXPERIMENTS

    return {name: entry.title for name, entry in EXPERIMENTS.items()} | {ALL: "All of them"}


class _Experiment(Named):
    """The name of an experiment."""

    def __init__(self) -> None:
        super().__init__("EXPERIMENT", _experiments)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return str(click.Choice(list(_experiments())).convert(value, param, ctx))


class _Lab(Command):
    """Its help lists the experiments."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Experiments"):
            formatter.write_dl(list(_experiments().items()))
        super().format_options(ctx, formatter)


class _BudgetType(click.ParamType):
    name = "budget"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        return f"{'|'.join(PRESETS)}|MINUTES"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [CompletionItem(name) for name in PRESETS if name.startswith(incomplete)]

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Budget:
        if isinstance(value, Budget):
            return value
        try:
            return parse_budget(value)
        except BetafoldError as error:
            self.fail(str(error), param, ctx)


@click.command(
    cls=_Lab,
    examples=(
        "betafold-mlx lab toy",
        "betafold-mlx lab attention GIGKFLHSAKKFGKAFVGEIMNS",
        "betafold-mlx lab depth --data datasets/mine --budget quick",
        "betafold-mlx lab all --data datasets/mine --budget long -o results",
    ),
)
@click.argument("experiment", metavar="EXPERIMENT", type=_Experiment())
@click.argument("peptides", metavar="[PEPTIDE]...", nargs=-1)
@click.option("-o", "--output", type=Folder(), default="lab", help="Folder of the lab.")
@click.option("--seed", type=Seed(1000), default=0, help="The first random seed.")
@click.option("--budget", type=_BudgetType(), default="normal", help="How much to do for each experiment.")
@click.option("--data", type=Folder(), help="Data set made by `dataset build`.")
@click.option("--model", type=MODEL, show_default="betafold-mini", help="Trained model to look into.")
@click.option("--embedder", type=Folder(), help="Converted ESM-2, for attention and embeddings.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
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

    Prints a verdict, and writes tables, figures and a page into OUTPUT/EXPERIMENT. The same seed and budget give the
    same tables. Training runs are kept in OUTPUT/runs: the same command goes on where it was stopped.

    All but `toy` and `attention` need --data; `attention` and `failures` train nothing.
    """
    with loading():
        from betafold_mlx.lab.experiment import Lab
        from betafold_mlx.lab.experiments import EXPERIMENTS, run_experiment
        from betafold_mlx.lab.figures import require_matplotlib
        from betafold_mlx.lab.output import write_outcome

    names = list(EXPERIMENTS) if experiment == ALL else [experiment]
    if peptides and experiment != "attention":
        raise click.UsageError("only `lab attention` takes peptides")
    if data is None and any(EXPERIMENTS[name].needs_data for name in names):
        raise click.UsageError(
            f"`lab {experiment}` needs a data set: name one with --data "
            "(`betafold-mlx dataset build STRUCTURES... -o DATASET` makes one)"
        )
    require_matplotlib()
    lab = Lab(
        Path(output),
        budget,
        seed,
        data,
        model,
        embedder,
        peptides,
        lambda line: click.echo(line, err=True),
    )
    documents: list[dict[str, Any]] = []
    failed = False
    for name in names:
        click.echo(f"== lab {name}", err=True)
        command = _command(ctx, name, peptides, budget)
        try:
            outcome = run_experiment(name, lab)
            files = write_outcome(lab.directory / name, EXPERIMENTS[name].title, command, outcome)
        except BetafoldError as error:
            if len(names) == 1:
                raise
            failed = True
            click.echo(f"betafold-mlx: lab {name}: {error}", err=True)
            documents.append({"experiment": name, "error": str(error)})
            continue
        documents.append(
            {
                "experiment": name,
                "command": command,
                "findings": [_plain(dataclasses.asdict(finding)) for finding in outcome.findings],
                "notes": outcome.notes,
                "files": [str(file) for file in files],
            }
        )
        if not as_json:
            for finding in outcome.findings:
                click.echo(finding.verdict)
            for note in outcome.notes:
                click.echo(f"({note})")
            click.echo(str(files[0]))
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
