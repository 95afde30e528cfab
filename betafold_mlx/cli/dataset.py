"""``betafold-mlx dataset build``, ``info`` and ``entries``; ``dataset fetch`` is in `fetch.py`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from betafold_mlx.cli.fetch import fetch
from betafold_mlx.cli.options import FILE, FILE_OR_FOLDER, FOLDER, SEED, examples, json_option
from betafold_mlx.cli.progress import say
from betafold_mlx.files import check_output, sweep_temporary, to_json, write_text

if TYPE_CHECKING:
    from betafold_mlx.data.store import Dataset


@click.group(
    epilog=examples(
        "betafold-mlx dataset build peptides.jsonl.gz structures -o datasets/mine",
        "betafold-mlx dataset info datasets/mine",
        "betafold-mlx train datasets/mine -o runs/mine",
    )
)
def dataset() -> None:
    """Fetch structures, build data sets of them, and inspect these."""


dataset.add_command(fetch)


@dataset.command(
    epilog=examples(
        "betafold-mlx dataset build peptides.jsonl.gz chains.jsonl.gz -o data",
        "betafold-mlx dataset build 1le0.pdb.gz structures -o data --force",
        "betafold-mlx dataset build structures -o data --splits weights/betafold-mini/splits.txt",
    )
)
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True, type=FILE_OR_FOLDER)
@click.option("-o", "--output", required=True, type=FOLDER, help="Folder of the new data set.")
@click.option("--seed", type=SEED, default=0, help="Random seed of the splits.")
@click.option(
    "--splits",
    type=FILE_OR_FOLDER,
    help="Keep the splits of another data set, as `dataset entries` lists them.",
)
@click.option("--chi", type=FILE, help="JSON lines with the side-chain angles of records (id, seq, chi).")
@click.option(
    "--apart-from",
    multiple=True,
    type=FILE_OR_FOLDER,
    help="Leave out what resembles the peptides in this file or folder (repeatable).",
)
@click.option("--force", is_flag=True, help="Replace an older data set.")
def build(
    sources: tuple[Path, ...],
    output: Path,
    seed: int,
    splits: Path | None,
    chi: Path | None,
    apart_from: tuple[Path, ...],
    force: bool,
) -> None:
    """Build a data set with train, validation and test splits.

    A SOURCE is a PDB or mmCIF file, a file of backbone JSON lines (.jsonl), each also gzipped, or a folder.
    Peptides are split by exhaustive identity: nothing in test resembles what is in train. The folder gets
    dataset.json, arrays.safetensors and report.txt.

    With --splits a cluster goes where the entries of its members are in the other data set, to the earliest of train,
    validation and test; what that one has nothing of goes to train. So a model that was trained on the other data set
    can be measured on the test split of this one, too.
    """
    from betafold_mlx.data.build import build_dataset
    from betafold_mlx.data.known_splits import KnownSplits
    from betafold_mlx.data.store import is_dataset
    from betafold_mlx.data.summary import empty_splits

    check_output(output, is_dataset, "a data set", force)
    known = None if splits is None else KnownSplits.read(splits)
    built, failed = build_dataset(sources, seed, progress=say, known=known, chi=chi, apart_from=apart_from)
    save_dataset(built, [f"warning: {text}" for text in empty_splits(built.report)], failed, output)


def save_dataset(built: Dataset, warnings: list[str], failed: list[str], output: Path) -> None:
    """Write a data set, and print its report and what could not be read; exit with 1 where that is something."""
    from betafold_mlx.data.summary import format_report

    text = format_report(built.report)
    built.save(output, text)
    click.echo(text, err=True)
    for line in (*warnings, *failed):
        say(line)
    click.echo(output)
    if failed:
        sys.exit(1)


@dataset.command(
    epilog=examples(
        "betafold-mlx dataset info datasets/mine", "betafold-mlx dataset info datasets/mine --json"
    )
)
@click.argument("directory", metavar="DIR", type=FOLDER)
@json_option
def info(directory: Path, as_json: bool) -> None:
    """Say what a data set holds, after checking that it is whole."""
    from betafold_mlx.data.store import Dataset, dataset_sha256
    from betafold_mlx.data.summary import format_report

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


@dataset.command(epilog=examples("betafold-mlx dataset entries datasets/mine -o lists"))
@click.argument("directory", metavar="DIR", type=FOLDER)
@click.option("-o", "--output", required=True, type=FOLDER, help="Folder of the lists.")
def entries(directory: Path, output: Path) -> None:
    """List the PDB entries of a data set and their splits.

    Writes pdb_ids.txt, by which others fetch the entries (`dataset fetch --ids`), and splits.txt, by which others keep
    the splits (`dataset build --splits`).
    """
    from betafold_mlx.data.known_splits import KnownSplits, entry_list
    from betafold_mlx.data.store import Dataset, dataset_sha256

    loaded, digest = Dataset.load(directory), dataset_sha256(directory)
    lists = {"pdb_ids.txt": entry_list(loaded, digest), "splits.txt": KnownSplits.of(loaded, digest).text()}
    for name, text in lists.items():
        write_text(output / name, text)
        click.echo(output / name)
    sweep_temporary(output)


@dataset.command(
    epilog=examples(
        "betafold-mlx dataset templates datasets/mine -o runs/mine/best/templates.safetensors",
        "betafold-mlx dataset templates datasets/own -o own.safetensors --splits train,validation,test",
    )
)
@click.argument("directory", metavar="DIR", type=FOLDER)
@click.option("-o", "--output", required=True, type=FILE, help="File of the library.")
@click.option("--splits", default="train", help="Splits whose structures to take, separated by commas.")
def templates(directory: Path, output: Path, splits: str) -> None:
    """Make a template library of a data set, for `fold --templates`.

    It holds peptides, small chains and disulfide-rich stretches of larger ones.
    """
    from betafold_mlx.data.store import SPLITS, Dataset
    from betafold_mlx.data.template_library import build_template_library

    names = splits.split(",")
    if unknown := set(names) - set(SPLITS):
        raise click.UsageError(f"no split {min(unknown)!r}: {', '.join(SPLITS)}")
    library = build_template_library(Dataset.load(directory), names)
    library.save(output)
    sweep_temporary(output.parent, f".{output.stem[:80]}.")
    say(f"{len(library)} entries, {len(library.residues)} residues")
    click.echo(output)
