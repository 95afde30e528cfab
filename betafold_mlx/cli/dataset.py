"""``betafold-mlx dataset build`` and ``dataset info``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click

from betafold_mlx.data.build import build_dataset
from betafold_mlx.data.report import empty_splits, format_report
from betafold_mlx.data.store import Dataset, dataset_sha256, is_dataset
from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import to_json


@click.group()
def dataset() -> None:
    """Build and inspect data sets of experimental structures."""


@dataset.command()
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder of the new data set."
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, help="Of the splits.")
@click.option("--force", is_flag=True, help="Replace an older data set.")
def build(sources: tuple[Path, ...], output: Path, seed: int, force: bool) -> None:
    """Build a data set with train, validation and test splits.

    A SOURCE is a PDB or mmCIF file, a file of backbone JSON lines (.jsonl), each also gzipped, or a folder.
    Peptides are split by exhaustive identity: nothing in test resembles what is in train. The folder gets
    dataset.json, arrays.safetensors and report.txt.

    \b
    betafold-mlx dataset build peptides.jsonl.gz chains.jsonl.gz -o data
    betafold-mlx dataset build 1le0.pdb.gz structures/ -o data --force
    """  # noqa: D301 - click wants the character, not the escape
    _check_output(output, force)
    built, failed = build_dataset(sources, seed, progress=_say)
    text = format_report(built.report)
    built.save(output, text)
    click.echo(text, err=True)
    for warning in empty_splits(built.report):
        _say(f"warning: {warning}")
    for failure in failed:
        _say(failure)
    click.echo(output)
    if failed:
        sys.exit(1)


@dataset.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def info(directory: Path, as_json: bool) -> None:
    """Say what a data set holds, after checking that it is whole."""
    loaded = Dataset.load(directory)
    digest = dataset_sha256(directory)
    if as_json:
        document = {"directory": str(directory), "sha256": digest, "sources": loaded.sources, **loaded.report}
        click.echo(to_json(document), nl=False)
        return
    click.echo(f"{directory}  sha256 {digest}")
    for source in loaded.sources:
        click.echo(f"source {source['name']}  sha256 {source['sha256']}")
    click.echo(format_report(loaded.report), nl=False)


def _say(message: str) -> None:
    click.echo(f"betafold-mlx: {message}", err=True)


def _check_output(output: Path, force: bool) -> None:
    """Refuse, before minutes of work, an output folder that must not or cannot be written."""
    if not output.name:
        raise BetafoldError(f"cannot write {output}: name a new folder")
    try:
        if output.exists():
            if is_dataset(output):
                if not force:
                    raise BetafoldError(f"{output} already holds a data set: give --force to replace it")
            elif not output.is_dir() or any(output.iterdir()):
                raise BetafoldError(f"{output} exists and is not a data set: choose another folder")
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent):
            pass
    except OSError as error:
        raise BetafoldError(f"cannot write {output}: {error.strerror or error}") from error
