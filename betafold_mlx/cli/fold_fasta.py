"""Fold a FASTA file from the command line, and print what becomes of its records."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from betafold_mlx.cli.progress import Progress, is_live
from betafold_mlx.cli.results import Results
from betafold_mlx.errors import BetafoldError
from betafold_mlx.fold.predictor import Predictor
from betafold_mlx.library.fold_library import fold_library
from betafold_mlx.library.folder import WrittenRecord
from betafold_mlx.library.settings import LibrarySettings
from betafold_mlx.peptide.fasta import count_fasta, read_fasta


def fold_fasta(
    source: str,
    predictor: Predictor,
    directory: Path,
    settings: LibrarySettings,
    as_json: bool = False,
    processes: int | None = None,
    scheduler: str | None = None,
    restart: bool = False,
) -> bool:
    """Fold a FASTA file or standard input (``-``) by `betafold_mlx.library.fold_library`, and print the results.

    Return whether all were folded, and all stated bonds formed; raise BetafoldError where there are no records.
    """
    total = count_fasta(source) if is_live(sys.stderr) else None
    with Results(as_json) as results, Progress("peptides", total) as progress:

        def resumed(records: int) -> None:
            results.resumed(records)
            progress.restart(records, total)

        def written(records: Sequence[WrittenRecord]) -> None:
            for entry, result, files in records:
                if isinstance(result, BetafoldError):
                    results.failure(entry.id, result)
                else:
                    results.prediction(result, files)
            results.flush()
            progress.advance(len(records))

        totals = fold_library(
            predictor,
            read_fasta(source),
            directory,
            settings,
            processes=processes,
            scheduler=scheduler,
            restart=restart,
            resumed=resumed,
            written=written,
        )
        if not totals.records:
            raise BetafoldError(f"{'standard input' if source == '-' else source} holds no FASTA records")
        results.end()
    return not (totals.failed or totals.unmet)
