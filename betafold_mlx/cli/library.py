"""Folding a library from the command line: what `fold` does with FASTA."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from betafold_mlx.cli.fasta import count_records, read_records
from betafold_mlx.cli.progress import Progress
from betafold_mlx.cli.results import Results
from betafold_mlx.errors import BetafoldError
from betafold_mlx.library.run import Observer, Outcome, Settings, fold_library
from betafold_mlx.predict import Predictor


def fold_fasta(source: str, predictor: Predictor, directory: Path, settings: Settings, as_json: bool) -> bool:
    """Fold the records of a FASTA file or of standard input (``-``).

    Returns
    -------
    bool
        All were folded, and all stated bonds formed.

    Raises
    ------
    BetafoldError
        As `fold_library`, and where there are no records.
    """
    progress = Progress(count_records(source) if sys.stderr.isatty() else None)
    with Results(as_json, progress) as results:
        try:
            done = fold_library(
                predictor, read_records(source), directory, settings, _Teller(results, progress)
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
