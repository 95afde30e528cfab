"""``betafold-mlx distill``."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from betafold_mlx.cli.dataset import save_dataset
from betafold_mlx.cli.options import (
    FILE,
    FOLDER,
    SEED,
    FiniteRange,
    complete_model,
    device_option,
    examples,
    given_options,
    option_panels,
    settings_options,
)
from betafold_mlx.cli.progress import Progress, say
from betafold_mlx.distill.labelling import EXCHANGED, Labelling
from betafold_mlx.files import check_output

_OF_LABELS = ["teachers", "samples", "seed", "substitutions"]


@click.command(
    epilog=examples(
        "betafold-mlx distill --sequences peptides.fasta --against datasets/mine -o datasets/labels",
        "betafold-mlx distill --mutants 10000 --against datasets/mine -o datasets/labels --teacher runs/a/best "
        "--teacher runs/b/best",
        "betafold-mlx distill --structures alphafold --against datasets/mine -o datasets/predicted",
        "betafold-mlx train datasets/mine --distilled datasets/labels -o runs/mixed",
    ),
    panels=option_panels(
        {
            "What is distilled (one of them)": "sequences mutants structures",
            "The data set": "against output force",
            "The labels": "teachers substitutions seed",
        }
    ),
)
@click.option(
    "--sequences", type=FILE, help="FASTA file of 8 to 50 residues each; headers may state chemistry."
)
@click.option("--mutants", type=click.IntRange(1), help="Number of mutants of training examples to label.")
@click.option("--structures", type=FOLDER, help="PDB and mmCIF files that another predictor wrote.")
@click.option(
    "--against",
    type=FOLDER,
    required=True,
    help="Data set to train on with the result: nothing like its validation and test splits is kept.",
)
@click.option("-o", "--output", required=True, type=FOLDER, help="Folder of the new data set.")
@click.option("--force", is_flag=True, help="Replace an older data set.")
@click.option(
    "--teacher",
    "teachers",
    metavar="NAME|DIR",
    shell_complete=complete_model,
    multiple=True,
    show_default="betafold-mini",
    help="A model that labels; several are averaged. Repeatable.",
)
@settings_options(Labelling, "The labels")
@click.option(
    "--substitutions",
    type=FiniteRange(0, 1, min_open=True),
    default=EXCHANGED,
    help="Maximum share of a mutant's residues that are exchanged.",
)
@click.option("--seed", type=SEED, default=0, help="Random seed of mutants and samples.")
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
    """Label sequences with a model, to train on beside experiments.

    Make a data set of predicted structures. Either models label sequences, those of a file or mutants of training
    examples; or structures of another predictor are taken over as far as it is sure of them. The data set says who
    predicted it. It is all training data: `train DATASET --distilled` mixes it in, `evaluate` refuses it.

    What resembles a validation or test peptide or fragment of --against, by the rules of `dataset build`, is left out,
    and counted. `train` takes the data set with that one alone.
    """
    given = {"--sequences": sequences, "--mutants": mutants, "--structures": structures}
    named = [name for name, value in given.items() if value is not None]
    if len(named) != 1:
        raise click.UsageError(f"give one of {', '.join(given)}")
    no_use = {"--sequences": ["substitutions"], "--mutants": [], "--structures": _OF_LABELS}[named[0]]
    useless = given_options(ctx, no_use)
    if useless:
        raise click.UsageError(f"{useless[0]} does not go with {named[0]}")
    from betafold_mlx.data.store import Dataset, dataset_sha256, is_dataset
    from betafold_mlx.distill.labels import from_mutants, from_sequences
    from betafold_mlx.distill.leakage import LeakageCheck
    from betafold_mlx.distill.structures import from_structures
    from betafold_mlx.distill.teacher import Teacher
    from betafold_mlx.peptide.fasta import count_fasta

    check_output(output, is_dataset, "a data set", force)
    experimental = Dataset.load(against)
    check = LeakageCheck(experimental, dataset_sha256(against))
    total = mutants if sequences is None else count_fasta(str(sequences))
    with Progress("structures" if structures is not None else "sequences", total) as progress:
        if structures is not None:
            built, failed = from_structures(structures, check, min_plddt, progress.advance)
        else:
            how = Labelling(min_plddt, samples, seed)
            teacher = Teacher.load(teachers)
            for name in teacher.strangers(check.sha256):
                say(
                    f"warning: {name} was trained on another data set than {against}: it may have seen the test "
                    "structures of that one"
                )
            if sequences is not None:
                built, failed = from_sequences(sequences, teacher, check, how, progress.advance)
            else:
                assert mutants is not None
                built, failed = from_mutants(
                    experimental, mutants, substitutions, teacher, check, how, progress.advance
                )
    save_dataset(built, [], failed, output)
