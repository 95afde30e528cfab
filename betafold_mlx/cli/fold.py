"""``betafold-mlx fold``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from betafold_mlx.cli.options import (
    FOLDER,
    SEED,
    FiniteRange,
    command_line,
    complete_peptide,
    complete_words,
    device_option,
    examples,
    is_fasta,
    json_option,
    model_options,
    option_panels,
    usage_errors,
)
from betafold_mlx.cli.progress import say
from betafold_mlx.cli.results import Results
from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import sweep_temporary
from betafold_mlx.fold.output import ATOMS, FORMATS, OUTPUT_FORMATS, prepare, safe_name
from betafold_mlx.fold.registry import CANDIDATES, DEFAULT_MODEL
from betafold_mlx.peptide.bonds import parse_bond, parse_pair
from betafold_mlx.peptide.chemistry import C_CAPS, N_CAPS, NO_CAP
from betafold_mlx.peptide.end_groups import cap_code

if TYPE_CHECKING:
    from betafold_mlx.fold.prediction import Prediction
    from betafold_mlx.fold.predictor import Predictor

AUTO = "auto"
NO_TEMPLATES = "none"


class _NumberOrAuto(click.IntRange):
    """A number in a range, or None for ``auto``."""

    name = "number or auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return None if str(value).lower() == AUTO else super().convert(value, param, ctx)


def _auto_option(name: str, max: int, help: str) -> Any:
    """Return an option that takes a number, or ``auto``."""
    complete = complete_words(lambda: [AUTO])
    kind = _NumberOrAuto(1, max)
    return click.option(name, type=kind, default=AUTO, metavar="N|auto", shell_complete=complete, help=help)


def _cap_option(end: str, caps: tuple[str, ...], help: str) -> Any:
    """Return an option that takes a terminal cap by any of its names, and passes its code on."""
    names = [*caps, NO_CAP]

    def code(ctx: click.Context, param: click.Parameter, value: str) -> str | None:
        with usage_errors(click.BadParameter):
            return cap_code(end, value)

    return click.option(
        f"--{end}-cap",
        default=NO_CAP,
        metavar="|".join(names),
        callback=code,
        shell_complete=complete_words(lambda: [name.lower() for name in names]),
        help=help,
    )


@click.command(
    epilog=examples(
        "betafold-mlx fold GIGKFLHSAKKFGKAFVGEIMNS",
        "betafold-mlx fold GRCTKSIPPICFPD --cyclic --disulfide 3-11 --format pdb",
        "betafold-mlx fold GCCSDPRCAWRC --disulfide auto --samples 5 --report",
        "betafold-mlx fold GCCSDPRCAWRC --disulfide 2-8 --disulfide 3-12 --templates none --candidates 20",
        "betafold-mlx fold KLAKLAKKLAKLAK --d-amino-acids --n-cap ACE --c-cap NH2",
        "betafold-mlx fold peptides.fasta -o structures --json",
        "betafold-mlx fold library.fasta.gz -o library --output-format parquet",
    ),
    panels=option_panels(
        {
            "What to write": "output format_ atoms relax ph samples report as_json",
            "The search for the fold": "candidates templates seed",
            "The chemistry of one peptide": "cyclic disulfides bonds d_amino_acids n_cap c_cap",
            "A FASTA file": "output_format batch_size processes scheduler restart",
        }
    ),
)
@click.argument("peptide", metavar="PEPTIDE|FASTA|-", shell_complete=complete_peptide)
@click.option("-o", "--output", type=FOLDER, default=".", help="Folder for the files.")
@click.option(
    "--format", "format_", type=click.Choice(list(FORMATS)), default="cif", help="Structure file format."
)
@click.option(
    "--atoms",
    type=click.Choice(ATOMS),
    default="all",
    help="all: every heavy atom. backbone: N, CA, C, O and CB, without packing side chains.",
)
@click.option(
    "--relax",
    is_flag=True,
    help="Add hydrogens and minimise in implicit solvent, by OpenMM: some seconds for each model.",
)
@click.option("--ph", type=FiniteRange(0, 14), default=7.0, help="Of the hydrogens that --relax adds.")
@click.option(
    "--samples", type=click.IntRange(1, 1000), default=1, help="Models of each peptide, ranked best first."
)
@click.option(
    "--candidates",
    type=click.IntRange(1, 1000),
    default=CANDIDATES,
    help="Structures to draw and rank, beside those threaded through templates; 1 is the fastest.",
)
@click.option(
    "--templates",
    metavar="auto|none|FILE",
    default=AUTO,
    shell_complete=complete_words(lambda: [AUTO, NO_TEMPLATES], "file"),
    help="Library of known structures. auto: the model's own.",
)
@click.option("--seed", type=SEED, default=0, help="Random seed of the candidates.")
@click.option(
    "--report",
    is_flag=True,
    help="Write ID.html too: structure, confidence, plots and attention maps in one file, to look at offline.",
)
@json_option
@click.option("--cyclic", is_flag=True, help="The peptide is closed head to tail.")
@click.option(
    "--disulfide",
    "disulfides",
    multiple=True,
    metavar="I-J|auto",
    shell_complete=complete_words(lambda: [AUTO]),
    help="Bonded cysteines, counted from 1; repeatable. auto: as the model prefers.",
)
@click.option(
    "--bond",
    "bonds",
    multiple=True,
    metavar="I:ATOM-J:ATOM",
    help="Another bond, between named atoms, as 3:NZ-7:CD; repeatable.",
)
@click.option("--d-amino-acids", is_flag=True, help="All residues are D: the mirror image of the L fold.")
@_cap_option("n", N_CAPS, "Cap before the first residue, placed by ideal geometry.")
@_cap_option("c", C_CAPS, "Cap after the last residue, placed by ideal geometry.")
@model_options
@click.option(
    "--output-format",
    type=click.Choice(OUTPUT_FORMATS),
    default="files",
    help="Files of each peptide, or one container for all: predictions.jsonl or .parquet.",
)
@_auto_option("--batch-size", 1024, "Peptides to fold together. auto: as the device and --samples allow.")
@_auto_option(
    "--processes", 64, "Processes to share a FASTA file. auto: one a processor, as they are needed."
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Fold a FASTA file on the Dask cluster of this scheduler, as in tcp://host:8786.",
)
@click.option("--restart", is_flag=True, help="Drop the unfinished run in the folder, and start anew.")
@device_option
def fold(
    peptide: str,
    output: Path,
    format_: str,
    atoms: str,
    relax: bool,
    ph: float,
    model: str | None,
    embedder: Path | None,
    samples: int,
    candidates: int,
    templates: str,
    seed: int,
    cyclic: bool,
    disulfides: tuple[str, ...],
    bonds: tuple[str, ...],
    d_amino_acids: bool,
    n_cap: str | None,
    c_cap: str | None,
    output_format: str,
    batch_size: int | None,
    processes: int | None,
    scheduler: str | None,
    restart: bool,
    report: bool,
    as_json: bool,
) -> None:
    """Fold peptides: sequence in, structure file out.

    Reads one peptide, a FASTA file, or standard input.

    Peptides have 4 to 50 residues; the bundled model was trained on 8 to 50. They are written in one-letter codes, with
    lower case for D among upper case, in three-letter codes or in HELM, with their ends and rings: Ac-KLAK-NH2,
    cyclo(RGDfV). What could be meant otherwise is said in one line.

    Writes ID.cif (or .pdb) with the models, best first, and ID.json; for FASTA also summary.csv and, where a record
    cannot be folded, errors.csv. The B-factor is the predicted lDDT, 0 to 100. A terminal shows the secondary structure
    (H helix, E strand, C coil) on AlphaFold's colours of confidence; NO_COLOR=1 turns these off.

    In FASTA headers the words `cyclic`, `disulfides=1-15,5-19`, `all-d`, `n-cap=ACE` and `c-cap=NH2` state the
    chemistry. Caps are not modelled: the network folds the peptide without them. After an interrupt
    of a FASTA file, even by kill -9, run the same command to resume; the result is the same.

    With --scheduler the workers of a Dask cluster fold a FASTA file; this process reads and writes. The workers need
    betafold-mlx and the model.

    Without --model the bundled betafold-mini folds. Every file that is written names the model.
    """
    auto = [pair.lower() for pair in disulfides] == [AUTO]
    if AUTO in map(str.lower, disulfides) and not auto:
        raise click.UsageError("--disulfide auto and --disulfide I-J do not go together")
    if scheduler is not None and processes is not None:
        raise click.UsageError("--processes is for this machine, --scheduler for a cluster: leave out one")
    if relax:
        from betafold_mlx.fold.relax import check_openmm

        if atoms != "all":
            raise click.UsageError("--relax is of all atoms: leave out --atoms")
        with usage_errors():
            check_openmm()
    asked: dict[str, Any] = {"samples": samples, "candidates": candidates, "seed": seed}
    asked |= {"atoms": atoms, "auto_disulfides": auto}
    if peptide == "-" or is_fasta(peptide):
        if cyclic or (disulfides and not auto) or bonds or d_amino_acids or n_cap or c_cap:
            raise click.UsageError(
                "--cyclic, --disulfide I-J, --bond, --d-amino-acids, --n-cap and --c-cap are for one peptide: "
                "in FASTA state them in the headers"
            )
        of_files = {"--format": format_ != "cif", "--report": report, "--relax": relax}
        for option in (name for name, given in of_files.items() if given and output_format != "files"):
            raise click.UsageError(
                f"{option} is of files of each peptide: it does not go with {output_format}"
            )
        from betafold_mlx.cli.fold_fasta import fold_fasta
        from betafold_mlx.library.settings import LibrarySettings, automatic_batch_size

        predictor = _load(model, embedder, templates)
        settings = LibrarySettings(
            **asked,
            output=output_format,
            format=format_,
            batch_size=batch_size or automatic_batch_size(max(samples, candidates)),
            relax=ph if relax else None,
            report=_command() if report else None,
        )
        well = fold_fasta(peptide, predictor, output, settings, as_json, processes, scheduler, restart)
    else:
        if output_format != "files":
            raise click.UsageError(f"--output-format {output_format} is for FASTA")
        if scheduler is not None:
            raise click.UsageError("--scheduler is for FASTA")
        from betafold_mlx.fold.foldable import check_foldable
        from betafold_mlx.peptide.sequence import Peptide

        with usage_errors():
            pairs = [] if auto else [parse_pair(pair) for pair in disulfides]
            checked = check_foldable(
                Peptide.parse(peptide, cyclic, pairs, d_amino_acids, n_cap, c_cap, map(parse_bond, bonds))
            )
        predictor = _load(model, embedder, templates)
        prepare(output)
        command = _command() if report else None
        prediction = predictor.fold(checked, **asked, details=report)
        if relax:
            prediction = prediction.relax(ph)
        with Results(as_json, each_model=True) as results:
            well = _write(prediction, output, FORMATS[format_], command, results)
            results.end()
    if not well:
        sys.exit(1)


def _command() -> str:
    """Return the command line for a report; say so where the report will lack its 3D viewer."""
    from betafold_mlx.report.threedmol import find_viewer  # only a report needs it

    if find_viewer() is None:
        say(
            "no 3D viewer is installed, so the report shows a flat picture: "
            "get one with `betafold-mlx viewer install`"
        )
    return command_line()


def _write(
    prediction: Prediction, directory: Path, suffixes: tuple[str, ...], command: str | None, results: Results
) -> bool:
    """Write the files of one peptide and print its results; return whether all went well."""
    try:
        name = safe_name(prediction.id)
        sweep_temporary(directory, f".{name[:80]}.")
        kinds = (*suffixes, ".json", *([".html"] if command is not None else []))
        files = [prediction.save(directory / f"{name}{kind}", command) for kind in kinds]
        results.prediction(prediction, files)
    except BetafoldError as error:
        results.failure(prediction.id, error)
        return False
    return prediction.constraints_met


def _load(model: str | None, embedder: Path | None, templates: str) -> Predictor:
    """Load the model, and say what the user did not ask for: a choice, weights that are not what they seem."""
    from betafold_mlx.fold.predictor import Predictor

    predictor = Predictor.load(model, embedder, None if templates == NO_TEMPLATES else templates)
    loaded, esm = predictor.loaded, predictor.embedder and predictor.embedder.esm
    if (model is None and loaded.name != DEFAULT_MODEL) or (esm and not esm.published):
        features = f" on {esm.label}" if esm else ""
        say(f"folding with {loaded.name}{features}")
    return predictor
