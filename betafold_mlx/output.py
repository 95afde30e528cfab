"""What `fold` leaves in a folder: structure files, a JSON document for each peptide, and a summary table."""

from __future__ import annotations

import csv
import io
import re
import tempfile
import unicodedata
from pathlib import Path

from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import write_text
from betafold_mlx.prediction import Prediction

FORMATS = {"cif": (".cif",), "pdb": (".pdb",), "both": (".cif", ".pdb")}
SUMMARY_FILE = "summary.csv"
SUMMARY_COLUMNS = (
    "id",
    "sequence",
    "length",
    "chemistry",
    "mean_plddt",
    "secondary_structure",
    "status",
    "message",
    "files",
    "model",
)

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


class OutputFolder:
    """Writes predictions into one folder without ever overwriting one by another.

    Parameters
    ----------
    directory : Path
        Made where it does not exist.
    format : str
        ``cif``, ``pdb`` or ``both``.
    """

    def __init__(self, directory: Path, format: str = "cif") -> None:
        self.directory = Path(directory)
        self.suffixes = FORMATS[format]
        self._taken: set[str] = set()
        self._numbers: dict[str, int] = {}
        self._rows: list[tuple[object, ...]] = []

    def prepare(self) -> None:
        """Make the folder and try to write into it, before minutes of work go into what cannot be kept.

        Raises
        ------
        BetafoldError
            Where the file system refuses.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.directory) as file:
                file.write(b"?")
        except FileExistsError as error:
            raise BetafoldError(f"cannot write into {self.directory}: it is not a folder") from error
        except OSError as error:
            raise BetafoldError(f"cannot write into {self.directory}: {error.strerror or error}") from error

    def claim(self, identifier: str) -> str:
        """Return a file name for `identifier` that no other record of this run has."""
        base = name = safe_name(identifier)
        number = self._numbers.get(base.casefold(), 1)
        while name.casefold() in self._taken:  # some file systems do not tell A from a
            number += 1
            name = f"{base}_{number}"
        self._numbers[base.casefold()] = number
        self._taken.add(name.casefold())
        return name

    def save(self, prediction: Prediction) -> list[Path]:
        """Write the files of a prediction and note it in the summary.

        Raises
        ------
        BetafoldError
            Where the file system refuses.
        """
        name = self.claim(prediction.id)
        files = [prediction.save(self.directory / (name + suffix)) for suffix in (*self.suffixes, ".json")]
        first = prediction.plddt[0].mean()
        self._rows.append(
            (
                prediction.id,
                prediction.sequence,
                len(prediction.peptide),
                prediction.peptide.chemistry,
                f"{first:.2f}",
                prediction.secondary_structure[0],
                "ok" if prediction.constraints_met else "constraints not met",
                "; ".join(prediction.warnings),
                " ".join(path.name for path in files),
                prediction.made_by,
            )
        )
        return files

    def note_failure(self, identifier: str, sequence: str, message: str) -> None:
        """Note a record that could not be folded in the summary."""
        text = "".join(sequence.split()).upper()
        self._rows.append((identifier, text[:_SHOWN], len(text), "", "", "", "failed", message, "", ""))

    def write_summary(self) -> Path:
        """Write ``summary.csv`` with a row for each record so far, in order.

        Raises
        ------
        BetafoldError
            Where the file system refuses.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(SUMMARY_COLUMNS)
        writer.writerows(self._rows)
        path = self.directory / SUMMARY_FILE
        write_text(path, text.getvalue())
        return path
