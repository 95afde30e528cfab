"""Folding a library from the command line: what `fold` does with FASTA."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from betafold_mlx.cli.progress import Progress
from betafold_mlx.cli.results import Results
from betafold_mlx.cli.terminal import is_live
from betafold_mlx.distributed.ranks import Ranks
from betafold_mlx.errors import BetafoldError
from betafold_mlx.fold.predictor import Predictor
from betafold_mlx.library.processes import Processes, automatic_processes
from betafold_mlx.library.run import fold_library
from betafold_mlx.library.settings import Settings
from betafold_mlx.library.share import agree, help_main
from betafold_mlx.library.writer import Observer, Outcome
from betafold_mlx.peptide.fasta import count_fasta, read_fasta


def fold_fasta(
    source: str,
    predictor: Predictor,
    directory: Path,
    settings: Settings,
    as_json: bool,
    ranks: Ranks | None = None,
    processes: int | None = None,
) -> bool:
    """Fold the records of a FASTA file or of standard input (``-``), or help the main rank with it.

    Parameters
    ----------
    source, predictor, directory, settings
        What, with what, where to, and how.
    as_json : bool
        Print one JSON document.
    ranks : Ranks, optional
        That share the work.
    processes : int, optional
        That share it where there are no ranks; by default as many as keep the machine busy.

    Returns
    -------
    bool
        All were folded, and all stated bonds formed. True for a rank that helped to the end: ``mlx.launch`` ends the
        main one as soon as another fails.

    Raises
    ------
    BetafoldError
        As `fold_library`, where there are no records, and where ranks would fold differently.
    """
    if ranks is None:
        with Processes(predictor, settings, processes or automatic_processes()) as helped:
            return _fold(source, predictor, directory, settings, as_json, helped)
    settings = agree(predictor, settings, ranks)
    if ranks.main:
        return _fold(source, predictor, directory, settings, as_json, ranks)
    help_main(predictor, settings, ranks)
    return True


def _fold(
    source: str, predictor: Predictor, directory: Path, settings: Settings, as_json: bool, ranks: Ranks
) -> bool:
    progress = Progress(count_fasta(source) if is_live(sys.stderr) else None)
    with Results(as_json, progress) as results:
        try:
            done = fold_library(
                predictor, read_fasta(source), directory, settings, _Teller(results, progress), ranks
            )
        finally:
            progress.hide()
        if not done.records:
            raise BetafoldError(f"{'standard input' if source == '-' else source} holds no FASTA records")
        results.end()
    return not (done.failed or done.unmet)


class _Teller(Observer):
    """Tells the user what becomes of the records."""

    def __init__(self, results: Results, progress: Progress) -> None:
        self._results, self._progress = results, progress

    def resumed(self, records: int) -> None:
        """Say where it goes on."""
        self._results.resumed(records)
        self._progress.begin(records)

    def outcomes(self, outcomes: Sequence[Outcome]) -> None:
        """Print them."""
        for entry, result, files in outcomes:
            if isinstance(result, BetafoldError):
                self._results.failure(entry.id, result)
            else:
                self._results.prediction(result, files)
        self._results.flush()
        self._progress.advance(len(outcomes))
