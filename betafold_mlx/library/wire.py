"""Tasks and what came out of them as bytes, for the way between machines: JSON, and arrays and texts behind it.

Numbers arrive as they were, bit by bit.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from math import prod
from typing import Any

import numpy as np

from betafold_mlx.errors import BetafoldError
from betafold_mlx.fold.disulfides import DisulfidePattern
from betafold_mlx.fold.prediction import Prediction
from betafold_mlx.geometry.closure import Bond
from betafold_mlx.library.work import Folded, Task
from betafold_mlx.peptide.sequence import Peptide

_ARRAYS = {"coordinates": (5, 3), "plddt": (), "torsions": (3,)}
"""What belongs to each residue of each model."""

_PLAIN = sorted({field.name for field in fields(Prediction)} - {*_ARRAYS, "details"})


def pack_task(task: Task) -> bytes:
    """Return a task as bytes."""
    return _pack({**task._asdict(), "peptides": [asdict(peptide) for peptide in task.peptides]})


def unpack_task(data: bytes) -> Task:
    """Return the task of `pack_task`."""
    document, _ = _unpack(data)
    return Task(document["names"], document["ids"], [_peptide(entry) for entry in document["peptides"]])


def pack_folded(folded: Folded) -> bytes:
    """Return what came out of a task, rendered, as bytes. Details, which are for reports alone, are left behind."""
    assert folded.rendered is not None
    document = {
        "predictions": [_document(prediction) for prediction in folded.predictions],
        "rendered": [
            str(item) if isinstance(item, BetafoldError) else list(map(len, item)) for item in folded.rendered
        ],
    }
    arrays = [
        getattr(prediction, name).astype("<f4").tobytes()
        for prediction in folded.predictions
        for name in _ARRAYS
    ]
    texts = [text for item in folded.rendered if not isinstance(item, BetafoldError) for text in item]
    return _pack(document, [*arrays, *texts])


def unpack_folded(data: bytes) -> Folded:
    """Return what `pack_folded` was given."""
    document, rest = _unpack(data)
    begin = 0

    def cut(size: int) -> memoryview:
        nonlocal begin
        begin += size
        return rest[begin - size : begin]

    predictions = []
    for entry in document["predictions"]:
        shapes = {name: (entry["models"], entry["residues"], *shape) for name, shape in _ARRAYS.items()}
        arrays = {
            name: np.frombuffer(cut(4 * prod(shape)), "<f4").reshape(shape) for name, shape in shapes.items()
        }
        predictions.append(_prediction(entry, arrays))
    rendered = [
        BetafoldError(item) if isinstance(item, str) else [bytes(cut(size)) for size in item]
        for item in document["rendered"]
    ]
    return Folded(predictions, rendered)


def _document(prediction: Prediction) -> dict[str, Any]:
    models, residues = prediction.plddt.shape
    return {
        **{name: getattr(prediction, name) for name in _PLAIN},
        "peptide": asdict(prediction.peptide),
        "bonds": [[asdict(bond) for bond in bonds] for bonds in prediction.bonds],
        "disulfide_patterns": [asdict(pattern) for pattern in prediction.disulfide_patterns],
        "models": models,
        "residues": residues,
        "secondary_structure": prediction.secondary_structure,
    }


def _prediction(entry: dict[str, Any], arrays: dict[str, np.ndarray]) -> Prediction:
    made: dict[str, Any] = {
        **arrays,
        **{name: entry[name] for name in _PLAIN},
        "peptide": _peptide(entry["peptide"]),
        "bonds": tuple(
            tuple(Bond(**{**bond, "residues": tuple(bond["residues"])}) for bond in bonds)
            for bonds in entry["bonds"]
        ),
        "disulfide_patterns": tuple(
            DisulfidePattern(_pairs(pattern["disulfides"]), pattern["probability"])
            for pattern in entry["disulfide_patterns"]
        ),
        "secondary_structure": tuple(entry["secondary_structure"]),
        "warnings": tuple(entry["warnings"]),
    }
    return Prediction(**made)


def _peptide(entry: dict[str, Any]) -> Peptide:
    return Peptide(**{**entry, "disulfides": _pairs(entry["disulfides"])})


def _pairs(pairs: Sequence[Sequence[int]]) -> tuple[tuple[int, int], ...]:
    return tuple((i, j) for i, j in pairs)


def _pack(document: Any, parts: Sequence[bytes] = ()) -> bytes:
    return b"".join([json.dumps(document).encode(), b"\n", *parts])


def _unpack(data: bytes) -> tuple[Any, memoryview]:
    end = data.index(b"\n")
    return json.loads(data[:end]), memoryview(data)[end + 1 :]
