"""The output formats of a library: files of each peptide, or one container of all.

An `Output` renders where a peptide is folded (`files`, `part`), and puts a finished container in its place (`finish`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from betafold_mlx.files import atomic_path
from betafold_mlx.fold.output import FORMATS
from betafold_mlx.fold.prediction import Prediction
from betafold_mlx.library.settings import LibrarySettings

Named = Sequence[tuple[str, Prediction]]
"""Predictions with their names, unique in the library."""


class Output:
    """Files of each peptide, and no container."""

    container = ""  # the file or folder that holds all predictions

    def __init__(self, settings: LibrarySettings) -> None:
        self.settings = settings

    def files(self, prediction: Prediction) -> dict[str, bytes]:
        """Return the contents of a peptide's own files by their suffixes."""
        report = self.settings.report
        kinds = [*FORMATS[self.settings.format], ".json", *([] if report is None else [".html"])]
        return {kind: prediction.text(kind[1:], report).encode() for kind in kinds}

    def part(self, predictions: Named) -> bytes:
        """Return the contents of a part of the container; empty where there is none."""
        return b""

    def holder(self, part: str) -> str:
        """Return the path of what holds the predictions of a part of the container, given its file name."""
        return self.container

    def finish(self, parts: Path, container: Path) -> None:
        """Make the container of the folder of its parts; where that is gone, it was made before."""


class JsonLines(Output):
    """One file, a line a peptide."""

    container = "predictions.jsonl"

    def files(self, prediction: Prediction) -> dict[str, bytes]:
        """Return no files."""
        return {}

    def part(self, predictions: Named) -> bytes:
        """Return a line a peptide."""
        return b"".join(_line(name, prediction) for name, prediction in predictions)

    def finish(self, parts: Path, container: Path) -> None:
        """Put one part after the other."""
        join_texts(container, (path.read_text(encoding="utf-8") for path in sorted(parts.glob("part-*"))))


class Parquet(Output):
    """A folder of Parquet files, one a part."""

    container = "predictions.parquet"

    def __init__(self, settings: LibrarySettings) -> None:
        super().__init__(settings)
        import betafold_mlx.library.parquet  # noqa: F401 - says how to get pyarrow, before the work

    def files(self, prediction: Prediction) -> dict[str, bytes]:
        """Return no files."""
        return {}

    def part(self, predictions: Named) -> bytes:
        """Return a Parquet file."""
        from betafold_mlx.library.parquet import parquet_file

        return parquet_file(predictions) if predictions else b""

    def holder(self, part: str) -> str:
        """Return the path of the part itself."""
        return f"{self.container}/{part}"

    def finish(self, parts: Path, container: Path) -> None:
        """Give the folder of the parts its name."""
        if parts.exists():
            shutil.rmtree(container, ignore_errors=True)
            parts.replace(container)


OUTPUTS = {"files": Output, "jsonl": JsonLines, "parquet": Parquet}


def join_texts(path: Path, texts: Iterable[str], head: str = "") -> None:
    """Write a file of a head and texts; where all texts are empty there is none."""
    begun = False
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        for text in filter(None, texts):
            file.write(text if begun else head + text)
            begun = True
    if not begun:
        path.unlink()


def _line(name: str, prediction: Prediction) -> bytes:
    document = with_coordinates(name, prediction)
    line = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return (line + "\n").encode()


def with_coordinates(name: str, prediction: Prediction) -> dict[str, Any]:
    """Return the JSON document of a prediction with its name, ``atom_names`` and, in each model, ``coordinates``.

    These are of L residues: the names of the heavy atoms of each in one text, and x, y, z of each atom in Angstrom,
    rounded to 0.001.
    """
    document = prediction.to_dict()
    names, coordinates = prediction.names, prediction.heavy_atoms().astype(float).round(3)
    for model, atoms in zip(document["models"], coordinates.tolist(), strict=True):
        rows = iter(atoms)
        model["coordinates"] = [list(islice(rows, len(of_residue))) for of_residue in names]
    head = {"schema_version": document["schema_version"], "name": name}
    return head | document | {"atom_names": [" ".join(of_residue) for of_residue in names]}
