"""``betafold-mlx fold``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import click

from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import to_json
from betafold_mlx.output import FORMATS, OutputFolder
from betafold_mlx.predict import Predictor
from betafold_mlx.prediction import SCHEMA_VERSION, Prediction
from betafold_mlx.sequence import FastaRecord, Peptide, parse_fasta, parse_pair

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
@click.option("--model", help="Model directory, or the name of a bundled model.", default=None)
@click.option(
    "--samples", type=click.IntRange(1, 1000), default=1, help="Models for each peptide, ranked best first."
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, help="Random seed of the samples.")
@click.option("--cyclic", is_flag=True, help="The peptide is closed head to tail.")
@click.option(
    "--disulfide", "disulfides", multiple=True, metavar="I-J", help="Bonded cysteines, 1-based; repeatable."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def fold(
    peptide: str,
    output: Path,
    format_: str,
    model: str | None,
    samples: int,
    seed: int,
    cyclic: bool,
    disulfides: tuple[str, ...],
    as_json: bool,
) -> None:
    r"""Fold one peptide, a FASTA file, or standard input.

    Writes ID.cif (or .pdb) with the models, best first, and ID.json; for FASTA also summary.csv. The B-factor is the
    predicted lDDT, 0 to 100. In FASTA headers the words `cyclic` and `disulfides=1-15,5-19` state the chemistry.

    \b
    betafold-mlx fold GIGKFLHSAKKFGKAFVGEIMNS
    betafold-mlx fold GRCTKSIPPICFPD --cyclic --disulfide 3-11 --format pdb
    betafold-mlx fold peptides.fasta -o structures --json
    """
    if peptide == "-" or _is_file(peptide):
        if cyclic or disulfides:
            raise click.UsageError(
                "--cyclic and --disulfide are for one peptide: in FASTA state them in the headers"
            )
        run = _Run(Predictor.load(model), OutputFolder(output, format_), samples, seed)
        try:
            run.fold_all(_records(peptide))
        finally:
            if run.count:
                run.folder.write_summary()
        if not run.count:
            raise BetafoldError(f"{'standard input' if peptide == '-' else peptide} holds no FASTA records")
    else:
        try:
            checked = Peptide.parse(peptide, cyclic, [parse_pair(pair) for pair in disulfides])
        except BetafoldError as error:
            raise click.UsageError(str(error)) from error
        run = _Run(Predictor.load(model), OutputFolder(output, format_), samples, seed)
        run.fold_chunk([(checked.sequence, checked)])
    _print(run, as_json)
    if run.failures or not all(prediction.constraints_met for prediction, _ in run.done):
        sys.exit(1)


class _Run:
    """The predictions and failures of one call."""

    def __init__(self, predictor: Predictor, folder: OutputFolder, samples: int, seed: int) -> None:
        self.predictor, self.folder, self.samples, self.seed = predictor, folder, samples, seed
        self.done: list[tuple[Prediction, list[Path]]] = []
        self.failures: list[dict[str, str]] = []
        self.count = 0

    def fold_all(self, records: Iterator[FastaRecord]) -> None:
        """Fold records chunk by chunk; what cannot be folded is noted and passed over."""
        while chunk := self._next_chunk(records):
            checked = []
            for record in chunk:
                self.count += 1
                try:
                    peptide = record.peptide()
                    checked.append((record.id or peptide.sequence, peptide))
                except BetafoldError as error:
                    self._fail(record.id or f"record at line {record.line}", record.text, str(error))
            self.fold_chunk(checked)

    def _next_chunk(self, records: Iterator[FastaRecord]) -> list[FastaRecord]:
        chunk = []
        try:
            for record in islice(records, CHUNK):
                chunk.append(record)
        except BetafoldError as error:  # the file itself is broken here: fold what came before
            self.count += 1
            self._fail("input", "", str(error))
        return chunk

    def fold_chunk(self, checked: list[tuple[str, Peptide]]) -> None:
        """Fold and write checked peptides."""
        predictions = self.predictor.fold_many(
            [peptide for _, peptide in checked],
            ids=[name for name, _ in checked],
            samples=self.samples,
            seed=self.seed,
        )
        for prediction in predictions:
            for warning in prediction.warnings:
                click.echo(f"betafold-mlx: {prediction.id}: {warning}", err=True)
            self.done.append((prediction, self.folder.save(prediction)))

    def _fail(self, name: str, text: str, message: str) -> None:
        self.failures.append({"id": name, "error": message})
        self.folder.note_failure(name, "".join(text.split()).upper()[:64], message)
        click.echo(f"betafold-mlx: {name}: {message}", err=True)


def _is_file(text: str) -> bool:
    """Tell a FASTA path from a sequence: it exists, or it looks like a path."""
    try:
        if Path(text).is_file():
            return True
    except (OSError, ValueError):  # too long for a path, or a NUL in it
        return False
    if Path(text).is_dir() and text:
        raise click.UsageError(f"{text} is a folder: give a sequence or a FASTA file")
    if "/" in text or Path(text).suffix.lower() in (".fasta", ".fa", ".faa", ".fas", ".txt"):
        raise click.UsageError(f"there is no FASTA file {text}")
    return False


def _records(source: str) -> Iterator[FastaRecord]:
    try:
        if source == "-":
            sys.stdin.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
            yield from parse_fasta(sys.stdin)
        else:
            with Path(source).open(encoding="utf-8") as file:
                yield from parse_fasta(file)
    except UnicodeDecodeError as error:
        raise BetafoldError("this is a binary file or not UTF-8, not FASTA text") from error
    except OSError as error:
        raise BetafoldError(f"cannot read {source}: {error.strerror or error}") from error


def _print(run: _Run, as_json: bool) -> None:
    if as_json:
        results: list[dict[str, Any]] = [
            prediction.to_dict() | {"files": [str(path) for path in files]} for prediction, files in run.done
        ]
        document = {"schema_version": SCHEMA_VERSION, "results": results, "errors": run.failures}
        click.echo(to_json(document), nl=False)
        return
    width = min(40, max((len(prediction.id) for prediction, _ in run.done), default=0))
    for prediction, files in run.done:
        click.echo(
            f"{prediction.id:<{width}}  {len(prediction.peptide):>2}  pLDDT {prediction.plddt[0].mean():5.1f}  "
            f"{prediction.secondary_structure[0]}  {files[0]}"
        )
