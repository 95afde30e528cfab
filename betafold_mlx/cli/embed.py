"""``betafold-mlx embed``."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import rich_click as click

from betafold_mlx.cli.options import DATASET, FOLDER, SEED, device_option, esm_option, examples, json_option
from betafold_mlx.data.sampling import MAX_WINDOWS, MIN_WINDOWS
from betafold_mlx.files import to_json


@click.command(
    epilog=examples(
        "betafold-mlx embed datasets/mine --embedder weights/esm2_t6_8M_UR50D -o datasets/mine.esm2",
        "betafold-mlx train datasets/mine --embedder weights/esm2_t6_8M_UR50D --cache datasets/mine.esm2 -o runs/mine",
    )
)
@click.argument("dataset", metavar="DATASET", type=DATASET)
@esm_option
@click.option(
    "-o", "--output", type=FOLDER, show_default="DATASET.esm2-SIZE-SHA256", help="Folder of the cache."
)
@click.option(
    "--windows",
    type=click.IntRange(MIN_WINDOWS, MAX_WINDOWS),
    show_default="those of the cache, else 40,000",
    help="Windows of training chains to draw.",
)
@click.option(
    "--seed", type=SEED, show_default="that of the cache, else 0", help="Random seed of the windows."
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Embed on the Dask cluster of this scheduler, as in tcp://host:8786.",
)
@json_option
@device_option
def embed(
    dataset: Path,
    embedder: Path,
    output: Path | None,
    windows: int | None,
    seed: int | None,
    scheduler: str | None,
    as_json: bool,
) -> None:
    """Embed a data set with ESM-2, to train on its features.

    The cache holds every peptide and evaluation fragment, training rings in every rotation, and windows of 8 to 50
    residues drawn from the training chains; each is embedded by itself, as a peptide is when it is folded. About 13 kB
    a window for ESM2-8M.

    Run the same command to resume after an interrupt or a full disk; it replaces damaged files. With --scheduler the
    workers of a Dask cluster embed; they need betafold-mlx and the ESM-2 at the same path.
    """
    from betafold_mlx import executors
    from betafold_mlx.cli.training import ShownFilling
    from betafold_mlx.data.cache import index_document
    from betafold_mlx.data.store import Dataset, dataset_sha256
    from betafold_mlx.esm.converted import describe_esm
    from betafold_mlx.train.features import default_cache, fill_by_esm

    known = describe_esm(embedder).embedder_config()
    data = Dataset.load(dataset)
    place = output or default_cache(dataset, known)
    opened = nullcontext(executors.INLINE) if scheduler is None else executors.cluster(scheduler)
    with opened as workers, ShownFilling("sequences embedded") as reporter:
        filled = fill_by_esm(
            place, data, dataset_sha256(dataset), known, embedder.absolute, windows, seed, reporter, workers
        )
    index, size = filled.cache.index, filled.cache.bytes
    if as_json:
        document = {"cache": str(place), "bytes": size, "shards_made": filled.made}
        click.echo(to_json(index_document(index) | document), nl=False)
        return
    click.echo(f"{place}: {index.embedder.label}")
    click.echo(
        f"{index.sequences:,} sequences, {index.residues:,} residues, {size / 1e6:,.1f} MB in {index.shards} files, "
        f"{filled.made} of them made now"
    )
