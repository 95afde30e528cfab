"""``betafold-mlx distill``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from betafold_mlx.cli.device import device_option
from betafold_mlx.cli.help import Command
from betafold_mlx.cli.loading import loading
from betafold_mlx.cli.parameters import MODEL, File, Folder, Late, Number, Real, Seed

if TYPE_CHECKING:
    from betafold_mlx.data.store import Dataset


def _samples() -> int:
    from betafold_mlx.distill.teacher import SAMPLES

    return SAMPLES


def _exchanged() -> float:
    from betafold_mlx.distill.sequences import EXCHANGED

    return EXCHANGED


def _min_plddt() -> float:
    from betafold_mlx.distill.recipes import MIN_PLDDT

    return MIN_PLDDT


@click.command(
    cls=Command,
    examples=(
        "betafold-mlx distill --sequences peptides.fasta --against datasets/mine -o datasets/labels",
        "betafold-mlx distill --mutants 10000 --against datasets/mine -o datasets/labels --teacher runs/a/best "
        "--teacher runs/b/best",
        "betafold-mlx distill --structures alphafold --against datasets/mine -o datasets/predicted",
        "betafold-mlx train datasets/mine --distilled datasets/labels -o runs/mixed",
    ),
    sections={
        "What is distilled (one of them)": ("sequences", "mutants", "structures"),
        "The data set": ("against", "output", "min_plddt", "force"),
        "The labels of sequences": ("teachers", "samples", "substitutions", "seed", "device"),
    },
)
@click.option(
    "--sequences", type=File(), help="FASTA file of 10 to 32 residues each; headers may state chemistry."
)
@click.option("--mutants", type=Number(1), help="So many likely mutants of training examples of --against.")
@click.option("--structures", type=Folder(), help="PDB and mmCIF files that another predictor wrote.")
@click.option(
    "--against",
    type=Folder(),
    required=True,
    help="Data set to train on with the result: nothing like its validation and test splits is kept.",
)
@click.option("-o", "--output", required=True, type=Folder(), help="Folder of the new data set.")
@click.option(
    "--min-plddt",
    cls=Late,
    type=Real(0, 100),
    default=_min_plddt,
    help="Least confidence: the mean of a label, or each residue of --structures.",
)
@click.option("--force", is_flag=True, help="Replace an older data set.")
@click.option(
    "--teacher",
    "teachers",
    type=MODEL,
    multiple=True,
    show_default="betafold-mini",
    help="Repeatable. A model that labels; several answer as one.",
)
@click.option(
    "--samples",
    cls=Late,
    type=Number(1),
    default=_samples,
    help="Structures of which the one of the highest confidence is the label.",
)
@click.option(
    "--substitutions",
    cls=Late,
    type=Real(0, 1, min_open=True),
    default=_exchanged,
    help="Largest share of a mutant's residues that are exchanged.",
)
@click.option("--seed", type=Seed(), default=0, help="Random seed of mutants and samples.")
@device_option
@click.pass_context
def distill(
    ctx: click.Context,
    sequences: Path | None,
    mutants: int | None,
    structures: Path | None,
    against: Path,
    output: Path,
    min_plddt: float,
    force: bool,
    teachers: tuple[str, ...],
    samples: int,
    substitutions: float,
    seed: int,
) -> None:
    """Make a data set of predicted structures, to train on beside experimental ones.

    Either models label sequences, those of a file or mutants of training examples; or structures of another
    predictor are taken over as far as it is sure of them. The data set says who predicted it. It is all training
    data: `train DATASET --distilled` mixes it in, `evaluate` refuses it.

    What resembles a validation or test peptide or fragment of --against, by the rules of `dataset build`, is left out,
    and counted. `train` takes the data set with that one alone.
    """
    given = {"--sequences": sequences, "--mutants": mutants, "--structures": structures}
    named = [name for name, value in given.items() if value is not None]
    if len(named) != 1:
        raise click.UsageError(f"give one of {', '.join(given)}")
    typed = [
        name
        for name in ("teachers", "samples", "seed", "substitutions")
        if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    ]
    useless = {"--sequences": {"substitutions"}, "--mutants": set[str](), "--structures": set(typed)}[
        named[0]
    ]
    for name in typed:
        if name in useless:
            option = "--teacher" if name == "teachers" else f"--{name}"
            raise click.UsageError(f"{option} does not go with {named[0]}")
    with loading():
        from betafold_mlx.cli.dataset import check_output
        from betafold_mlx.cli.progress import Progress
        from betafold_mlx.data.report import format_report
        from betafold_mlx.data.store import Dataset, dataset_sha256
        from betafold_mlx.distill.guard import Guard
        from betafold_mlx.distill.recipes import Labelling, from_mutants, from_sequences, from_structures
        from betafold_mlx.distill.teacher import Teacher
        from betafold_mlx.peptide.fasta import count_fasta

    check_output(output, force)
    experimental = Dataset.load(against)
    guard = Guard(experimental, dataset_sha256(against))
    built: Dataset
    if structures is not None:
        progress = Progress(None)
        built, failed = from_structures(structures, guard, min_plddt, progress.advance)
    else:
        how = Labelling(min_plddt, samples, seed)
        teacher = Teacher.load(teachers)
        for name in teacher.strangers(guard.sha256):
            _say(
                f"warning: {name} was trained on another data set than {against}: it may have seen what that one is "
                "measured on"
            )
        if sequences is not None:
            progress = Progress(count_fasta(str(sequences)))
            built, failed = from_sequences(sequences, teacher, guard, how, progress.advance)
        else:
            assert mutants is not None
            progress = Progress(mutants)
            built, failed = from_mutants(
                experimental, mutants, substitutions, teacher, guard, how, progress.advance
            )
    progress.hide()
    text = format_report(built.report)
    built.save(output, text)
    click.echo(text, err=True)
    for failure in failed:
        _say(failure)
    click.echo(output)
    if failed:
        sys.exit(1)


def _say(message: str) -> None:
    click.echo(f"betafold-mlx: {message}", err=True)
