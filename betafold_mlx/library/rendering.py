"""Render the contents of output files, in the process that folded: files of each peptide, or one container."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from betafold_mlx.fold.output import FORMATS
from betafold_mlx.fold.prediction import Prediction
from betafold_mlx.library.settings import LibrarySettings

CONTAINERS = {"jsonl": "predictions.jsonl", "parquet": "predictions.parquet"}


def peptide_files(prediction: Prediction, settings: LibrarySettings) -> dict[str, bytes]:
    """Return the contents of the files of a peptide by their suffixes; none where they go into a container."""
    if settings.output in CONTAINERS:
        return {}
    kinds = [*FORMATS[settings.format], ".json", *([] if settings.report is None else [".html"])]
    return {kind: prediction.text(kind[1:], settings.report).encode() for kind in kinds}


def container_part(predictions: Iterable[tuple[str, Prediction]], settings: LibrarySettings) -> bytes:
    """Return the part of a container that holds predictions, given with their names; empty where there is none."""
    predictions = list(predictions)
    if settings.output == "jsonl":
        return b"".join(_line(name, prediction) for name, prediction in predictions)
    if settings.output == "parquet" and predictions:
        from betafold_mlx.library.parquet import parquet_file  # pyarrow is an extra, and heavy

        return parquet_file(predictions)
    return b""


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
    coordinates = prediction.coordinates.astype(float).round(3).tolist()
    for model, residues in zip(document["models"], coordinates, strict=True):
        model["coordinates"] = [
            [atom if atom[0] == atom[0] else None for atom in residue] for residue in residues
        ]
    return {"schema_version": document["schema_version"], "name": name} | document
