"""Names of output files, and the rows of ``summary.csv`` and ``errors.csv``."""

from __future__ import annotations

import csv
import io
import re
import tempfile
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from betafold_mlx.errors import BetafoldError

if TYPE_CHECKING:
    from betafold_mlx.fold.prediction import Prediction

FORMATS = {"cif": (".cif",), "pdb": (".pdb",), "both": (".cif", ".pdb")}
ATOMS = ("all", "backbone")
"""Of a prediction: all heavy atoms; N, CA, C, O and CB."""
OUTPUT_FORMATS = ("files", "jsonl", "parquet")
"""Of a library: files of its own for each peptide, or one container."""

SUMMARY_FILE = "summary.csv"
SUMMARY_COLUMNS = (
    *("id", "sequence", "length", "chemistry", "mean_plddt", "secondary_structure"),
    *("status", "message", "files", "model"),
)
ERRORS_FILE = "errors.csv"
ERRORS_COLUMNS = ("id", "line", "error")

_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)", flags=re.IGNORECASE)
_SHOWN = 64  # letters of a sequence that cannot be folded: it may be a chromosome


def safe_name(identifier: str) -> str:
    """Return an identifier as a file name that stays inside its folder on every file system.

    ASCII letters, digits, ``.``, ``_`` and ``-`` are kept, accents dropped, everything else becomes ``_``; no
    leading dot or dash, at most 100 characters, never empty, and ``_`` before what Windows keeps for devices.
    """
    plain = unicodedata.normalize("NFKD", identifier)
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    name = re.sub(r"[^A-Za-z0-9._-]", "_", plain).lstrip(".-")[:100] or "peptide"
    return f"_{name}" if _DEVICE.match(name) else name


def prepare(directory: Path) -> None:
    """Make a folder and try to write into it, before minutes of work go into what cannot be kept.

    Raises
    ------
    BetafoldError
        Where the file system refuses.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(b"?")
    except FileExistsError as error:
        raise BetafoldError(f"cannot write into {directory}: it is not a folder") from error
    except OSError as error:
        raise BetafoldError(f"cannot write into {directory}: {error.strerror or error}") from error


def summary_row(prediction: Prediction, files: Iterable[str]) -> tuple[object, ...]:
    """Return the row (`SUMMARY_COLUMNS`) of a prediction that is in these files."""
    return (
        prediction.id,
        prediction.sequence,
        len(prediction.peptide),
        prediction.peptide.chemistry,
        f"{prediction.plddt[0].mean():.2f}",
        prediction.secondary_structure[0],
        "ok" if prediction.constraints_met else "constraints not met",
        "; ".join(prediction.warnings),
        " ".join(files),
        prediction.made_by,
    )


def failure_row(identifier: str, sequence: str, message: str) -> tuple[object, ...]:
    """Return the row (`SUMMARY_COLUMNS`) of a record that could not be folded."""
    text = "".join(sequence.split()).upper()
    return (identifier, text[:_SHOWN], len(text), "", "", "", "failed", message, "", "")


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Return rows as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
