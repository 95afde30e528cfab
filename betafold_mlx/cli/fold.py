"""``betafold-mlx fold``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import click

from betafold_mlx.chemistry import C_CAPS, N_CAPS, NO_CAP, parse_pair
from betafold_mlx.cli.fasta import is_fasta, read_records, shown
from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import to_json
from betafold_mlx.output import FORMATS, SUMMARY_FILE, OutputFolder
from betafold_mlx.predict import Predictor
from betafold_mlx.prediction import SCHEMA_VERSION, Prediction
from betafold_mlx.sequence import FastaRecord, Peptide
from betafold_mlx.zoo import DEFAULT_MODEL

AUTO = "auto"
CHUNK = 64  # records folded together: enough to fill a batch, few enough to keep memory flat


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
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
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
    as_json: bool,
) -> None:
    """Fold one peptide, a FASTA file, or standard input.

    Writes ID.cif (or .pdb) with the models, best first, and ID.json; for FASTA also summary.csv. The B-factor is the
    predicted lDDT, 0 to 100. In FASTA headers the words `cyclic`, `disulfides=1-15,5-19`, `all-d`, `n-cap=ACE` and
    `c-cap=NH2` state the chemistry. Caps are not modelled: the network folds the peptide without them.

    Without --model the best installed model folds: of those in weights/ that were trained on the bundled model's data,
    and whose ESM-2 lies there too and is a published one, that with the lowest validation RMSD; else betafold-mini.
    Every file that is written names the model.

    \b
    betafold-mlx fold GIGKFLHSAKKFGKAFVGEIMNS
    betafold-mlx fold GRCTKSIPPICFPD --cyclic --disulfide 3-11 --format pdb
    betafold-mlx fold GCCSDPRCAWRC --disulfide auto --samples 5
    betafold-mlx fold KLAKLAKKLAKLAK --d-amino-acids --n-cap ACE --c-cap NH2
    betafold-mlx fold peptides.fasta -o structures --json
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
        run = _Run(_load(model, embedder), OutputFolder(output, format_), samples, seed, auto, as_json)
        try:
            run.fold_all(read_records(peptide))
        finally:
            run.write_summary()
        if not run.ready:
            raise BetafoldError(f"{'standard input' if peptide == '-' else peptide} holds no FASTA records")
    else:
        try:
            pairs = [] if auto else [parse_pair(pair) for pair in disulfides]
            checked = Peptide.parse(peptide, cyclic, pairs, d_amino_acids, n_cap, c_cap)
        except BetafoldError as error:
            raise click.UsageError(str(error)) from error
        run = _Run(_load(model, embedder), OutputFolder(output, format_), samples, seed, auto, as_json)
        run.fold_chunk([_Entry(checked.sequence, checked.sequence, checked)])
    run.print_results()
    if run.failures or run.unmet:
        sys.exit(1)


def _load(model: str | None, embedder: Path | None) -> Predictor:
    """Load the model, and say what the user did not ask for: a choice, weights that are not what they seem."""
    predictor = Predictor.load(model, embedder)
    loaded, esm = predictor.loaded, predictor.embedder and predictor.embedder.esm
    if (model is None and loaded.name != DEFAULT_MODEL) or (esm and not esm.published):
        features = f" on {esm.label}" if esm else ""
        click.echo(f"betafold-mlx: folding with {loaded.name}{features}", err=True)
    return predictor


class _Entry(NamedTuple):
    """One record: its peptide, or what is wrong with it."""

    id: str
    text: str
    checked: Peptide | BetafoldError


class _Run:
    """The results and failures of one call."""

    def __init__(
        self,
        predictor: Predictor,
        folder: OutputFolder,
        samples: int,
        seed: int,
        auto_disulfides: bool,
        as_json: bool,
    ) -> None:
        self.predictor, self.folder, self.samples, self.seed = predictor, folder, samples, seed
        self.auto_disulfides, self.as_json = auto_disulfides, as_json
        # What is printed at the end, and no more: the predictions of a long file would fill the memory.
        self.documents: list[dict[str, Any]] = []
        self.lines: list[tuple[str, str]] = []
        self.failures: list[dict[str, str]] = []
        self.unmet = False
        self.ready = False  # there is something to fold and a folder to write it to

    def fold_all(self, records: Iterator[FastaRecord]) -> None:
        """Fold records chunk by chunk; what cannot be folded is noted and passed over."""
        while chunk := self._next_chunk(records):
            self.fold_chunk(chunk)

    @staticmethod
    def _next_chunk(records: Iterator[FastaRecord]) -> list[_Entry]:
        chunk = []
        try:
            for record in islice(records, CHUNK):
                chunk.append(_checked(record))
        except BetafoldError as error:  # the file itself is broken here: fold what came before
            chunk.append(_Entry("input", "", error))
        return chunk

    def fold_chunk(self, chunk: list[_Entry]) -> None:
        """Fold and write records, in their order."""
        if not self.ready:
            self.folder.prepare()
            self.ready = True
        good = [(entry.id, entry.checked) for entry in chunk if isinstance(entry.checked, Peptide)]
        predictions = iter(
            self.predictor.fold_many(
                [peptide for _, peptide in good],
                ids=[name for name, _ in good],
                samples=self.samples,
                seed=self.seed,
                auto_disulfides=self.auto_disulfides,
            )
        )
        for entry in chunk:
            if isinstance(entry.checked, BetafoldError):
                self._fail(entry, entry.checked)
                continue
            try:
                self._keep(next(predictions))
            except BetafoldError as error:
                self._fail(entry, error)

    def _keep(self, prediction: Prediction) -> None:
        files = self.folder.save(prediction)
        for warning in prediction.warnings:
            click.echo(f"betafold-mlx: {shown(prediction.id)}: {warning}", err=True)
        self.unmet |= not prediction.constraints_met
        if self.as_json:
            self.documents.append(prediction.to_dict() | {"files": [str(path) for path in files]})
        else:
            figures = f"{len(prediction.peptide):>2}  pLDDT {prediction.plddt[0].mean():5.1f}"
            structure = prediction.secondary_structure[0]
            self.lines.append((shown(prediction.id), f"{figures}  {structure}  {files[0]}"))

    def _fail(self, entry: _Entry, error: BetafoldError) -> None:
        self.failures.append({"id": entry.id, "error": str(error)})
        self.folder.note_failure(entry.id, entry.text, str(error))
        click.echo(f"betafold-mlx: {shown(entry.id)}: {error}", err=True)

    def write_summary(self) -> None:
        """Write the table of all records so far, where there are any."""
        if self.ready:
            try:
                self.folder.write_summary()
            except BetafoldError as error:
                self._fail(_Entry(SUMMARY_FILE, "", error), error)

    def print_results(self) -> None:
        """Print a line for each peptide, or one JSON document."""
        if self.as_json:
            document = {
                "schema_version": SCHEMA_VERSION,
                "results": self.documents,
                "errors": self.failures,
            }
            click.echo(to_json(document), nl=False)
        width = max((len(name) for name, _ in self.lines), default=0)
        for name, text in self.lines:
            click.echo(f"{name:<{width}}  {text}")


def _checked(record: FastaRecord) -> _Entry:
    try:
        peptide = record.peptide()
        return _Entry(record.id or peptide.sequence, record.text, peptide)
    except BetafoldError as error:
        return _Entry(record.id or f"record at line {record.line}", record.text, error)
