"""A rank of `betafold-mlx fold` with the stand-in of `library_helpers` for a model: a window takes it 30 ms.

What it folds is noted beside: a byte a window in ``folded.RANK``. ``BREAKS=RANK`` breaks a rank's third window.
"""

import os
import sys
import time
from pathlib import Path

from library_helpers import Quick

from betafold_mlx.cli import fold
from betafold_mlx.cli.main import main
from betafold_mlx.errors import BetafoldError

RANK = os.environ.get("MLX_RANK", "0")


class Slow(Quick):
    """Takes its time, as a model does."""

    def fold_many(self, peptides, **options):
        """Fold, and note that."""
        time.sleep(0.03)
        with Path(f"folded.{RANK}").open("ab") as file:
            file.write(b".")
        made = super().fold_many(peptides, **options)
        if os.environ.get("BREAKS") == RANK and len(self.calls) == 3:
            raise BetafoldError("model toy gives no finite numbers: its weights are damaged")
        return made


if __name__ == "__main__":
    fold._load = lambda *_: Slow()
    main(sys.argv[1:])
