"""``betafold-mlx fold``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from betafold_mlx.chemistry import C_CAPS, N_CAPS, NO_CAP, parse_pair
from betafold_mlx.cli.device import device_option
from betafold_mlx.cli.fasta import is_fasta
from betafold_mlx.cli.results import Results
from betafold_mlx.errors import BetafoldError
from betafold_mlx.output import FORMATS, OUTPUT_FORMATS, prepare, safe_name, save_files, save_report
from betafold_mlx.predict import Predictor
from betafold_mlx.prediction import Prediction
from betafold_mlx.sequence import Peptide
from betafold_mlx.zoo import DEFAULT_MODEL

AUTO = "auto"
MOST_TOGETHER = 1024


class _BatchSize(click.ParamType):
    """A number of peptides, or None for ``auto``."""

    name = "integer"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if value.lower() == AUTO:
            return None
        if not value.isdecimal() or not 1 <= int(value) <= MOST_TOGETHER:
            self.fail(f"{value!r} is neither {AUTO} nor a number from 1 to {MOST_TOGETHER}", param, ctx)
        return int(value)


@click.command()
@click.argument("peptide", metavar="PEPTIDE|FASTA|-")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=".",
    help="Folder for the files.",
)
@click.option(
    "--format", "format_", type=click.Choice(list(FORMATS)), default="cif", help="Structure file format."
)
@click.option(
    "--model",
    show_default="the best installed one",
    help="Model directory, or the name of an installed model.",
)
@click.option(
    "--embedder",
    type=click.Path(path_type=Path),
    show_default="found by its checksum",
    help="Converted ESM-2 that the model was trained on.",
)
@click.option(
    "--samples", type=click.IntRange(1, 1000), default=1, help="Models for each peptide, ranked best first."
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, help="Random seed of the samples.")
@click.option("--cyclic", is_flag=True, help="The peptide is closed head to tail.")
@click.option(
    "--disulfide",
    "disulfides",
    multiple=True,
    metavar="I-J|auto",
    help="Bonded cysteines, 1-based; repeatable. auto: as the model prefers.",
)
@click.option("--d-amino-acids", is_flag=True, help="All residues are D: the mirror image of the L fold.")
@click.option(
    "--n-cap",
    type=click.Choice([*N_CAPS, NO_CAP], case_sensitive=False),
    default=NO_CAP,
    metavar="|".join((*N_CAPS, NO_CAP)),
    help="Cap before the first residue, placed by ideal geometry.",
)
@click.option(
    "--c-cap",
    type=click.Choice([*C_CAPS, NO_CAP], case_sensitive=False),
    default=NO_CAP,
    metavar="|".join((*C_CAPS, NO_CAP)),
    help="Cap behind the last residue, placed by ideal geometry.",
)
@click.option(
    "--output-format",
    type=click.Choice(OUTPUT_FORMATS),
    default="files",
    help="Of a FASTA file: files for each peptide, or one container for all, predictions.jsonl or .parquet.",
)
@click.option(
    "--batch-size",
    type=_BatchSize(),
    default=AUTO,
    metavar="N|auto",
    help=f"Peptides of a FASTA file to fold together, 1 to {MOST_TOGETHER}. auto: as the device and --samples allow.",
)
@click.option(
    "--restart", is_flag=True, help="Drop the unfinished run of a FASTA file in the folder, and start anew."
)
@click.option(
    "--report",
    is_flag=True,
    help="Write ID.html too: structure, confidence, plots and attention maps in one file, to look at offline.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
@device_option
def fold(
    peptide: str,
    output: Path,
    format_: str,
    model: str | None,
    embedder: Path | None,
    samples: int,
    seed: int,
    cyclic: bool,
    disulfides: tuple[str, ...],
    d_amino_acids: bool,
    n_cap: str,
    c_cap: str,
    output_format: str,
    batch_size: int | None,
    restart: bool,
    report: bool,
    as_json: bool,
) -> None:
    """Fold one peptide, a FASTA file, or standard input.

    Writes ID.cif (or .pdb) with the models, best first, and ID.json; for FASTA also summary.csv and, where a record
    cannot be folded, errors.csv. The B-factor is the predicted lDDT, 0 to 100. In FASTA headers the words `cyclic`,
    `disulfides=1-15,5-19`, `all-d`, `n-cap=ACE` and `c-cap=NH2` state the chemistry. Caps are not modelled: the network
    folds the peptide without them.

    A FASTA file that was interrupted, even by kill -9, is gone on with by the same command, and the result is the same.

    Without --model the best installed model folds: of those in weights/ that were trained on the bundled model's data,
    and whose ESM-2 lies there too and is a published one, that with the lowest validation RMSD; else betafold-mini.
    Every file that is written names the model.

    \b
    betafold-mlx fold GIGKFLHSAKKFGKAFVGEIMNS
    betafold-mlx fold GRCTKSIPPICFPD --cyclic --disulfide 3-11 --format pdb
    betafold-mlx fold GCCSDPRCAWRC --disulfide auto --samples 5 --report
    betafold-mlx fold KLAKLAKKLAKLAK --d-amino-acids --n-cap ACE --c-cap NH2
    betafold-mlx fold peptides.fasta -o structures --json
    betafold-mlx fold library.fasta.gz -o library --output-format parquet
    """  # noqa: D301 - click wants the character, not the escape
    auto = [pair.lower() for pair in disulfides] == [AUTO]
    if AUTO in map(str.lower, disulfides) and not auto:
        raise click.UsageError("--disulfide auto and --disulfide I-J do not go together")
    if peptide == "-" or is_fasta(peptide):
        if cyclic or (disulfides and not auto) or d_amino_acids or {n_cap, c_cap} != {NO_CAP}:
            raise click.UsageError(
                "--cyclic, --disulfide I-J, --d-amino-acids, --n-cap and --c-cap are for one peptide: "
                "in FASTA state them in the headers"
            )
        if output_format != "files" and format_ != "cif":
            raise click.UsageError("--format is of structure files: leave it out with --output-format")
        if output_format != "files" and report:
            raise click.UsageError(f"--report is a file of each peptide: it does not go with {output_format}")
        # One peptide needs none of it.
        from betafold_mlx.cli.library import fold_fasta
        from betafold_mlx.library.run import Settings, automatic_batch_size

        predictor = _load(model, embedder)
        together = automatic_batch_size(samples) if batch_size is None else batch_size
        command = _command() if report else None
        settings = Settings(samples, seed, auto, output_format, format_, together, restart, command)
        well = fold_fasta(peptide, predictor, output, settings, as_json)
    else:
        if output_format != "files":
            raise click.UsageError(f"--output-format {output_format} is for FASTA")
        try:
            pairs = [] if auto else [parse_pair(pair) for pair in disulfides]
            checked = Peptide.parse(peptide, cyclic, pairs, d_amino_acids, n_cap, c_cap)
        except BetafoldError as error:
            raise click.UsageError(str(error)) from error
        predictor = _load(model, embedder)
        prepare(output)
        command = _command() if report else None
        prediction = predictor.fold(checked, auto_disulfides=auto, samples=samples, seed=seed, details=report)
        with Results(as_json) as results:
            well = _write(prediction, output, FORMATS[format_], command, results)
            results.end()
    if not well:
        sys.exit(1)


def _command() -> str:
    """Return the command line for a report; say so where the report will lack its 3D viewer."""
    from betafold_mlx.report import find_viewer  # only a report needs it

    if find_viewer() is None:
        click.echo(
            "betafold-mlx: no 3D viewer is installed, so the report shows a flat picture: "
            "get one with `betafold-mlx viewer install`",
            err=True,
        )
    arguments = click.get_current_context().find_object(list) or []
    return shlex.join(["betafold-mlx", *arguments])


def _write(
    prediction: Prediction,
    directory: Path,
    suffixes: tuple[str, ...],
    command: str | None,
    results: Results,
) -> bool:
    """Write the files of one peptide and print its results; return whether all went well."""
    try:
        name = safe_name(prediction.id)
        files = save_files(prediction, directory, name, (*suffixes, ".json"))
        if command is not None:
            files.append(save_report(prediction, directory, name, command))
        results.prediction(prediction, files)
    except BetafoldError as error:
        results.failure(prediction.id, error)
        return False
    return prediction.constraints_met


def _load(model: str | None, embedder: Path | None) -> Predictor:
    """Load the model, and say what the user did not ask for: a choice, weights that are not what they seem."""
    predictor = Predictor.load(model, embedder)
    loaded, esm = predictor.loaded, predictor.embedder and predictor.embedder.esm
    if (model is None and loaded.name != DEFAULT_MODEL) or (esm and not esm.published):
        features = f" on {esm.label}" if esm else ""
        click.echo(f"betafold-mlx: folding with {loaded.name}{features}", err=True)
    return predictor
