"""Parquet files of predictions: one row a model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from betafold_mlx.errors import BetafoldError
from betafold_mlx.fold.prediction import SCHEMA_VERSION, Prediction, versions

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:
    raise BetafoldError(
        "--output-format parquet needs pyarrow: install it with pip install 'betafold-mlx[parquet]'"
    ) from error

_NUMBERS = pa.list_(pa.float32())
_BOND = pa.struct(
    [
        ("kind", pa.string()),
        ("residues", pa.list_(pa.int32())),
        ("distance", pa.float32()),
        ("formed", pa.bool_()),
    ]
)
_TEXTS = ("id", "name", "sequence", "chemistry")
_FIELDS = [
    *((name, pa.string()) for name in _TEXTS),
    *((name, pa.int32()) for name in ("rank", "cluster")),
    *((name, pa.float32()) for name in ("rmsd_to_first", "mean_plddt")),
    ("secondary_structure", pa.string()),
    *((name, _NUMBERS) for name in ("plddt", "phi", "psi", "omega", "coordinates")),
    ("stated_bonds", pa.list_(_BOND)),
    ("warnings", pa.list_(pa.string())),
]
_FROM_DOCUMENT = ("rank", "cluster", "rmsd_to_first", "secondary_structure", "stated_bonds")


def parquet_file(predictions: Sequence[tuple[str, Prediction]]) -> bytes:
    """Return a Parquet file of predictions, given with their names: one row a model."""
    table = _table(predictions, _schema(predictions[0][1]))
    stream = pa.BufferOutputStream()
    pq.write_table(table, stream, compression="zstd")
    return bytes(stream.getvalue().to_pybytes())


def _schema(prediction: Prediction) -> pa.Schema:
    """Return the columns, and what is the same for all rows as metadata."""
    about = {
        "schema_version": SCHEMA_VERSION,
        "seed": prediction.seed,
        "model": {"name": prediction.model_name, "sha256": prediction.model_sha256},
        "embedder": prediction.embedder,
        "versions": versions(),
    }
    return pa.schema(_FIELDS, metadata={"betafold-mlx": json.dumps(about, sort_keys=True)})


def _table(predictions: Sequence[tuple[str, Prediction]], schema: pa.Schema) -> pa.Table:
    models = [
        (name, prediction, rank, document)
        for name, prediction in predictions
        for rank, document in enumerate(prediction.to_dict()["models"])
    ]
    texts = [(p.id, name, p.sequence, p.peptide.chemistry) for name, p, _, _ in models]
    torsions = [np.degrees(p.torsions[rank].astype(np.float64)) for _, p, rank, _ in models]
    columns: dict[str, Any] = {
        **dict(zip(_TEXTS, zip(*texts, strict=True), strict=True)),
        **{key: [document[key] for *_, document in models] for key in _FROM_DOCUMENT},
        "mean_plddt": [p.plddt[rank].mean() for _, p, rank, _ in models],
        "plddt": _lists([p.plddt[rank] for _, p, rank, _ in models]),
        "coordinates": _lists([p.coordinates[rank].reshape(-1) for _, p, rank, _ in models]),
        **{name: _lists([x[:, k] for x in torsions]) for k, name in enumerate(("phi", "psi", "omega"))},
        "warnings": [p.warnings for _, p, _, _ in models],
    }
    return pa.table(
        [
            column if isinstance(column, pa.Array) else pa.array(column, type=column_type)
            for column, column_type in ((columns[field.name], field.type) for field in schema)
        ],
        schema=schema,
    )


def _lists(rows: Sequence[np.ndarray]) -> pa.Array:
    """Return rows of numbers as a column of lists, NaN as null."""
    flat = np.concatenate(rows).astype(np.float32)
    ends = np.cumsum([0, *map(len, rows)], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(flat, mask=np.isnan(flat)))
