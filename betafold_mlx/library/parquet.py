"""Parquet files of predictions: one row a model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
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
_BOND = {
    "kind": pa.string(),
    "residues": pa.list_(pa.int32()),
    "distance": pa.float32(),
    "formed": pa.bool_(),
}
_FIELDS = {
    **dict.fromkeys(("id", "name", "sequence", "chemistry"), pa.string()),
    **dict.fromkeys(("rank", "cluster"), pa.int32()),
    **dict.fromkeys(("rmsd_to_first", "mean_plddt"), pa.float32()),
    "secondary_structure": pa.string(),
    **dict.fromkeys(("plddt", "phi", "psi", "omega", "coordinates"), _NUMBERS),
    "atom_names": pa.list_(pa.string()),
    "stated_bonds": pa.list_(pa.struct(_BOND.items())),
    "warnings": pa.list_(pa.string()),
}


def parquet_file(predictions: Sequence[tuple[str, Prediction]]) -> bytes:
    """Return a Parquet file of predictions, given with their names: one row a model, NaN as null.

    ``coordinates`` are x, y, z of all heavy atoms one after another, ``atom_names`` the names of those of each residue
    in one text.
    """
    first = predictions[0][1]
    about = {  # what is the same for all rows
        "schema_version": SCHEMA_VERSION,
        "seed": first.seed,
        "model": {"name": first.model_name, "sha256": first.model_sha256},
        "embedder": first.embedder,
        "versions": versions(),
    }
    schema = pa.schema(_FIELDS.items(), metadata={"betafold-mlx": json.dumps(about, sort_keys=True)})
    rows = [row for name, prediction in predictions for row in _rows(name, prediction)]
    columns = [
        pa.array([row[name] for row in rows], kind, from_pandas=True) for name, kind in _FIELDS.items()
    ]
    stream = pa.BufferOutputStream()
    pq.write_table(pa.table(columns, schema=schema), stream, compression="zstd")
    return bytes(stream.getvalue().to_pybytes())


def _rows(name: str, prediction: Prediction) -> Iterator[dict[str, Any]]:
    """Yield the values of each model by their columns."""
    atoms = prediction.heavy_atoms()
    for rank, model in enumerate(prediction.to_dict()["models"]):
        phi, psi, omega = np.degrees(prediction.torsions[rank].astype(np.float64)).astype(np.float32).T
        yield model | {
            "id": prediction.id,
            "name": name,
            "sequence": prediction.sequence,
            "chemistry": prediction.peptide.chemistry,
            "mean_plddt": prediction.plddt[rank].mean(),
            "plddt": prediction.plddt[rank],
            "phi": phi,
            "psi": psi,
            "omega": omega,
            "coordinates": atoms[rank].reshape(-1),
            "atom_names": [" ".join(names) for names in prediction.names],
            "warnings": prediction.warnings,
        }
