"""Where the predictions of a library go: files of their own, or one container.

What is to be written of predictions is made in one step (rendered), by whichever machine folded them, and written in
another, by the one that has the files.
"""

from __future__ import annotations

import errno
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import write_text
from betafold_mlx.fold.output import FORMATS
from betafold_mlx.fold.prediction import Prediction
from betafold_mlx.library.appended import AppendedFile

Rendered = list[list[bytes] | BetafoldError]
"""What is to be written of some predictions, in their order, or what is wrong with one: known to their sink alone."""

_NO_MORE_WILL_DO = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE)
"""Failures of the file system that are none of one record: the run stops, to go on when they are mended."""


class Sink(ABC):
    """Takes predictions, and from time to time makes sure of them.

    Attributes
    ----------
    windows : int
        Windows of records between two commits.
    """

    windows = 1

    @abstractmethod
    def restore(self, length: int) -> None:
        """Go back to what `commit` returned, 0 for a new run; what came after that is removed."""

    @abstractmethod
    def render(self, names: Sequence[str], predictions: Sequence[Prediction]) -> Rendered:
        """Return what is to be written of predictions under these names; touch no file."""

    @abstractmethod
    def write(self, names: Sequence[str], rendered: Rendered) -> list[list[Path] | BetafoldError]:
        """Write what `render` returned for these names.

        Returns
        -------
        list
            For each name the files in which its prediction is, or why it is in none.

        Raises
        ------
        BetafoldError
            Where the file system refuses more than one of them.
        """

    @abstractmethod
    def commit(self) -> int:
        """Write what is not yet written, and return how much there is."""

    def finish(self) -> None:  # noqa: B027 - files of their own are where they belong
        """Put a container in its place, where an older one may be; all is committed."""

    def close(self) -> None:  # noqa: B027 - and are not left open
        """Let go of open files."""


def make_sink(output: str, directory: Path, format: str, report: str | None = None) -> Sink:
    """Return the sink of a `betafold_mlx.fold.output.OUTPUT_FORMATS`.

    Raises
    ------
    BetafoldError
        Parquet without pyarrow.
    """
    if output == "jsonl":
        return JsonLinesSink(directory)
    if output == "parquet":
        from betafold_mlx.library.parquet import ParquetSink  # pyarrow is an extra, and heavy

        return ParquetSink(directory)
    return FilesSink(directory, format, report)


class FilesSink(Sink):
    """Files of its own for each peptide: structure, JSON, and a report where a command line for it is given.

    Each appears whole, so there is nothing to commit.
    """

    def __init__(self, directory: Path, format: str, report: str | None = None) -> None:
        self._directory = directory
        self._report = report
        self._suffixes = (*FORMATS[format], ".json", *([".html"] if report is not None else []))

    def restore(self, length: int) -> None:
        """Do nothing: what is written again is the same."""

    def render(self, names: Sequence[str], predictions: Sequence[Prediction]) -> Rendered:
        """Return the texts of the files."""
        return [self._texts(prediction) for prediction in predictions]

    def write(self, names: Sequence[str], rendered: Rendered) -> list[list[Path] | BetafoldError]:
        """Write the files."""
        return [self._files(name, texts) for name, texts in zip(names, rendered, strict=True)]

    def _texts(self, prediction: Prediction) -> list[bytes] | BetafoldError:
        try:
            return [self._text(prediction, suffix).encode() for suffix in self._suffixes]
        except BetafoldError as error:
            return error

    def _text(self, prediction: Prediction, suffix: str) -> str:
        return prediction.text(suffix[1:], self._report)

    def _files(self, name: str, texts: list[bytes] | BetafoldError) -> list[Path] | BetafoldError:
        if isinstance(texts, BetafoldError):
            return texts
        files = [self._directory / (name + suffix) for suffix in self._suffixes]
        try:
            for path, text in zip(files, texts, strict=True):
                write_text(path, text.decode())
        except BetafoldError as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and cause.errno in _NO_MORE_WILL_DO:
                raise
            return error
        return files

    def commit(self) -> int:
        """Do nothing."""
        return 0


class JsonLinesSink(Sink):
    """``predictions.jsonl``: a line for each peptide, its JSON document with its name and the coordinates.

    Until it is whole it is called ``predictions.jsonl.part``.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / "predictions.jsonl"
        self._file = AppendedFile(directory / "predictions.jsonl.part")
        self._lines: list[str] = []

    def restore(self, length: int) -> None:
        """Cut off what is not committed."""
        part = self._file.path
        # A process may have been killed between its last two steps.
        if length and not part.exists() and self._path.exists() and self._path.stat().st_size == length:
            self._path.replace(part)
        self._file.restore(length)

    def render(self, names: Sequence[str], predictions: Sequence[Prediction]) -> Rendered:
        """Return the lines."""
        return [[_line(name, prediction)] for name, prediction in zip(names, predictions, strict=True)]

    def write(self, names: Sequence[str], rendered: Rendered) -> list[list[Path] | BetafoldError]:
        """Keep the lines for the next commit."""
        self._lines += [line.decode() for item in rendered if isinstance(item, list) for line in item]
        return [[self._path] for _ in names]

    def commit(self) -> int:
        """Append the lines, and return how many bytes there are."""
        self._file.append("".join(self._lines))
        self._lines.clear()
        return self._file.length

    def finish(self) -> None:
        """Give the file its name; where nothing was folded there is none."""
        self._file.close()
        try:
            if self._file.length:
                self._file.path.replace(self._path)
            else:
                self._path.unlink(missing_ok=True)
        except OSError as error:
            raise BetafoldError(f"cannot write {self._path}: {error.strerror or error}") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _line(name: str, prediction: Prediction) -> bytes:
    document = with_coordinates(name, prediction)
    line = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return (line + "\n").encode()


def with_coordinates(name: str, prediction: Prediction) -> dict[str, Any]:
    """Return the JSON document of a prediction with its name and, in each model, ``coordinates``.

    They are L residues of 5 atoms (N, CA, C, O, CB) of x, y, z in Angstrom, rounded to 0.001; null for an atom that is
    not there, the CB of glycine.
    """
    document = prediction.to_dict()
    for model, residues in zip(
        document["models"], prediction.coordinates.astype(float).round(3).tolist(), strict=True
    ):
        model["coordinates"] = [
            [atom if atom[0] == atom[0] else None for atom in residue] for residue in residues
        ]
    return {"schema_version": document["schema_version"], "name": name} | document
