"""A library as a folder of Parquet files: one row a model."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from betafold_mlx.errors import BetafoldError
from betafold_mlx.fold.prediction import SCHEMA_VERSION, Prediction, versions
from betafold_mlx.library.sinks import Rendered, Sink

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
_MODELS_TOGETHER = 4096  # as many are in memory, and as many or a window more in a row group


class ParquetSink(Sink):
    """``predictions.parquet``: a folder of Parquet files, which readers take for one table, a row a model.

    Until it is whole it is called ``predictions.parquet.part``.

    A file has no end until it is closed and cannot be cut back, so each holds the records between two commits.
    """

    windows = 16

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "predictions.parquet"
        self._part = directory / "predictions.parquet.part"
        self._growing = self._part / ".growing"
        self._count = 0
        self._waiting: list[pa.Table] = []
        self._models = 0
        self._writer: pq.ParquetWriter | None = None

    def restore(self, length: int) -> None:
        """Remove the files that are not committed."""
        self._count = length
        wanted = {_file_name(number) for number in range(length)}
        try:
            if not length and self._part.exists():
                shutil.rmtree(self._part)
            # A process may have been killed between its last two steps.
            if length and not self._part.exists() and _names(self._directory) == wanted:
                self._directory.replace(self._part)
            found = _names(self._part)
            for name in found - wanted:
                (self._part / name).unlink()
        except OSError as error:
            raise self._refused(error) from error
        if wanted - found:
            raise BetafoldError(
                f"{self._part / min(wanted - found)} of the unfinished run is gone: start that anew with --restart"
            )

    def render(self, names: Sequence[str], predictions: Sequence[Prediction]) -> Rendered:
        """Return a table of all models, as an Arrow stream."""
        if not predictions:
            return []
        table = _table(list(zip(names, predictions, strict=True)), _schema(predictions[0]))
        stream = pa.BufferOutputStream()
        with pa.ipc.new_stream(stream, table.schema) as writer:
            writer.write_table(table)
        return [[stream.getvalue().to_pybytes()]]

    def write(self, names: Sequence[str], rendered: Rendered) -> list[list[Path] | BetafoldError]:
        """Keep the models until there are enough of them to write."""
        for item in rendered:
            assert isinstance(item, list)
            table = pa.ipc.open_stream(item[0]).read_all()
            self._waiting.append(table)
            self._models += table.num_rows
        if self._models >= _MODELS_TOGETHER:
            self._write_group()
        return [[self._directory / _file_name(self._count)] for _ in names]

    def commit(self) -> int:
        """End a file, and return how many there are."""
        if self._waiting:
            self._write_group()
        if self._writer is not None:
            try:
                self._writer.close()
                self._growing.replace(self._part / _file_name(self._count))
            except OSError as error:
                raise self._refused(error) from error
            self._writer = None
            self._count += 1
        return self._count

    def finish(self) -> None:
        """Give the folder its name; where nothing was folded there is none."""
        try:
            if self._directory.exists():
                shutil.rmtree(self._directory)
            if self._count:
                self._part.replace(self._directory)
        except OSError as error:
            raise self._refused(error) from error

    def close(self) -> None:
        """Drop what is not committed."""
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.close()
                self._growing.unlink(missing_ok=True)

    def _write_group(self) -> None:
        table = pa.concat_tables(self._waiting)
        try:
            if self._writer is None:
                self._part.mkdir(exist_ok=True)
                self._writer = pq.ParquetWriter(self._growing, table.schema, compression="zstd")
            self._writer.write_table(table)
        except OSError as error:
            raise self._refused(error) from error
        self._waiting.clear()
        self._models = 0

    def _refused(self, error: OSError) -> BetafoldError:
        return BetafoldError(f"cannot write {self._directory}: {error.strerror or error}")


def _file_name(number: int) -> str:
    return f"part-{number:06}.parquet"


def _names(directory: Path) -> set[str]:
    """Return the names of all that is in a folder; nothing where there is none."""
    return {path.name for path in directory.iterdir()} if directory.exists() else set()


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
