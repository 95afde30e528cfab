"""A cache of embeddings is filled while the user watches: what `embed` and `train` have in common."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from betafold_mlx.cli.progress import Progress, say
from betafold_mlx.data.fill import Embed, Filled, Reporter, fill_cache
from betafold_mlx.data.store import Dataset
from betafold_mlx.distributed.ranks import ALONE, Ranks
from betafold_mlx.model.config import EmbedderConfig


def fill(
    directory: Path,
    dataset: Dataset,
    dataset_sha256: str,
    embedder: EmbedderConfig,
    find: Callable[[], Path],
    windows: int | None = None,
    seed: int | None = None,
    ranks: Ranks = ALONE,
) -> Filled:
    """Make what a cache lacks, with a converted ESM-2.

    Parameters
    ----------
    directory, dataset, dataset_sha256, embedder, windows, seed, ranks
        As in `betafold_mlx.data.fill.fill_cache`.
    find : callable
        Returns the directory of the ESM-2. It is called where something is missing only.

    Returns
    -------
    Filled

    Raises
    ------
    BetafoldError
        As `fill_cache`, and for an ESM-2 that is damaged.
    """

    def load() -> Embed:
        from betafold_mlx.esm.features import EsmEmbedder  # a whole cache needs none of it

        return EsmEmbedder.load(find()).embed

    with Progress("sequences embedded") as progress:
        return fill_cache(
            directory,
            dataset,
            dataset_sha256,
            embedder,
            load,
            windows,
            seed,
            reporter=_Progress(progress) if ranks.main else None,
            ranks=ranks,
        )


def default_cache(dataset: Path, embedder: EmbedderConfig) -> Path:
    """Return where the cache of a data set and an embedder lies unless the user says otherwise: beside the data set."""
    path = Path(os.path.abspath(dataset))  # noqa: PTH100 - a name for `.` and `..`, and links as they are
    return path.with_name(f"{path.name}.esm2-{embedder.size}-{embedder.sha256:.12}")


class _Progress(Reporter):
    """Progress on standard error."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def begin(self, sequences: int) -> None:
        self._progress.restart(0, sequences)

    def say(self, text: str) -> None:
        say(text)

    def advance(self, sequences: int, embedded: bool) -> None:
        self._progress.advance(sequences)
