"""Reads and writes backbone JSON lines: one chain a line, plain or gzipped.

Each line is an object with ``id``, ``seq`` and ``backbone`` (a flat list of L * 4 * 3 numbers: N, CA, C, O of
each residue, Angstrom), and where known ``pdb``, ``chain``, ``method``, ``resolution``, ``kind``, ``cyclic``,
``disulfides`` (1-based pairs), ``cluster`` and ``chi`` (L * 4 numbers: chi1 to chi4 of each residue in tenths of a
degree, null where undefined).
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import atomic_path
from betafold_mlx.gzipped import read_lines
from betafold_mlx.structure.backbone import Backbone, backbone_problem, ring_closed


class _RecordError(Exception):
    """What is wrong with one record."""


def read_backbones(path: Path, on_problem: Callable[[str, str], None] | None = None) -> Iterator[Backbone]:
    """Yield the records of a backbone JSON lines file, plain or gzipped, one by one, checked by `backbone_problem`.

    A record without ``cyclic`` has it measured (`betafold_mlx.structure.backbone.ring_closed`). A record
    without ``disulfides`` has none here; `betafold_mlx.structure.bonds.infer_disulfides` can guess them.

    A record that cannot be used is skipped after ``on_problem(name, reason)``, with its id or ``line N`` as the name;
    without `on_problem` the first one raises BetafoldError, as a file does that cannot be read or is not text.
    """
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        name = f"line {number}"
        try:
            record = _parsed(line)
            if isinstance(record.get("id"), str):
                name = record["id"] or name
            backbone = _backbone(record)
        except _RecordError as error:
            if on_problem is None:
                raise BetafoldError(f"{path}, line {number}: {error}") from error
            on_problem(name, str(error))
        else:
            yield backbone


def read_chi(path: Path) -> dict[tuple[str, str], np.ndarray]:
    """Read side-chain angles that lie apart from their backbones: JSON lines with ``id``, ``seq`` and ``chi``.

    (id, sequence) -> (L, 4) float32 radians, NaN where undefined. BetafoldError for a file that cannot be read, or
    the first bad record.
    """
    found = {}
    for number, line in enumerate(read_lines(path), start=1):
        try:
            record = _parsed(line)
            for key in ("id", "seq"):
                if not isinstance(record.get(key), str):
                    raise _RecordError(f"'{key}' must be {_FIELDS[key][0]}")
            found[record["id"], record["seq"]] = _chi(record.get("chi"), len(record["seq"]))
        except _RecordError as error:
            raise BetafoldError(f"{path}, line {number}: {error}") from error
    return found


def write_backbones(path: Path, records: Iterable[Backbone]) -> None:
    """Write records, one at a time, as backbone JSON lines, gzipped where the name ends in ``.gz``.

    Coordinates come back bit for bit as float32, chi angles to 0.05 degrees. The same records give the same bytes.
    The file is replaced only when all are written; BetafoldError where the file system refuses, or a record could not
    be read again.
    """
    path = Path(path)
    with atomic_path(path) as temporary, temporary.open("wb") as raw:
        # No time stamp and no name in the header: they would change the bytes.
        handle: BinaryIO = raw
        if path.suffix == ".gz":
            handle = gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6, mtime=0)  # type: ignore
        with handle:
            for record in records:
                handle.write(_line(record))


def _line(record: Backbone) -> bytes:
    problem = None if _is_printable(record.id) else f"'id' must be {_FIELDS['id'][0]}"
    problem = problem or backbone_problem(record.sequence, record.coordinates, record.disulfides)
    if problem:
        raise BetafoldError(f"record {record.id!r}: {problem}")
    exact = record.coordinates.astype(np.float64)
    short = np.round(exact, 3)  # the precision of PDB files; most records come from there
    numbers = np.where(short.astype(np.float32) == record.coordinates, short, exact)
    document: dict[str, Any] = {
        "id": record.id,
        "pdb": record.pdb,
        "chain": record.chain,
        "seq": record.sequence,
        "backbone": numbers.ravel().tolist(),
        "method": record.method,
        "resolution": record.resolution,
        "kind": record.kind,
        "cyclic": record.cyclic,
        "disulfides": record.disulfides,
    }
    if record.cluster is not None:
        document["cluster"] = record.cluster
    if record.chi is not None:
        tenths = np.degrees(record.chi.astype(np.float64)).ravel() * 10
        document["chi"] = [round(value) if math.isfinite(value) else None for value in tenths.tolist()]
    return (json.dumps(document, allow_nan=False) + "\n").encode()


def _parsed(line: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise _RecordError(f"broken JSON: {error.msg} at column {error.colno}") from error
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits; brackets nested without end
        raise _RecordError("broken JSON: a number is too large, or the nesting too deep") from error
    if not isinstance(record, dict):
        raise _RecordError("not a JSON object")
    return record


def _is_printable(value: Any) -> bool:
    return isinstance(value, str) and bool(value) and value.isprintable()


def _is_resolution(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < math.inf


def _is_pairs(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(type(place) is int for place in pair)
        for pair in value
    )


_FIELDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "id": ("printable text", _is_printable),
    "seq": ("text", lambda value: isinstance(value, str)),
    "backbone": ("a list of numbers", lambda value: isinstance(value, list)),
    "disulfides": ("a list of pairs of positions", _is_pairs),
    "cyclic": ("true, false or null", lambda value: isinstance(value, bool)),
    "resolution": ("a number or null", _is_resolution),
    "cluster": ("a whole number or null", lambda value: type(value) is int),
    **dict.fromkeys(
        ("kind", "pdb", "chain", "method"), ("text or null", lambda value: isinstance(value, str))
    ),
}
"""What each field must be, in words and as a check; all but `_REQUIRED` may be absent or null."""

_REQUIRED = ("id", "seq", "backbone")


def _backbone(record: dict[str, Any]) -> Backbone:
    for key, (what, check) in _FIELDS.items():
        value = record.get(key)
        if not check(value) and (value is not None or key in _REQUIRED):
            raise _RecordError(f"'{key}' must be {what}")
    sequence, coordinates = record["seq"], _coordinates(record["backbone"])
    disulfides = tuple(sorted((min(pair), max(pair)) for pair in record.get("disulfides") or ()))
    if coordinates.size == 12 * len(sequence):
        coordinates = coordinates.reshape(-1, 4, 3)
    problem = backbone_problem(sequence, coordinates, disulfides)
    if problem:
        raise _RecordError(problem)
    cyclic, resolution = record.get("cyclic"), record.get("resolution")
    return Backbone(
        id=record["id"],
        sequence=sequence,
        coordinates=coordinates.astype(np.float32),
        kind=record.get("kind") or "unknown",
        cyclic=ring_closed(coordinates) if cyclic is None else cyclic,
        disulfides=disulfides,
        pdb=record.get("pdb"),
        chain=record.get("chain"),
        method=record.get("method"),
        resolution=None if resolution is None else float(resolution),
        cluster=record.get("cluster"),
        chi=None if record.get("chi") is None else _chi(record["chi"], len(sequence)),
    )


def _chi(tenths: Any, length: int) -> np.ndarray:
    """Return (L, 4) radians of a flat list of tenths of a degree."""
    if not (
        isinstance(tenths, list)
        and len(tenths) == 4 * length
        and all(value is None or (type(value) in (int, float) and abs(value) <= 3600) for value in tenths)
    ):
        raise _RecordError(f"'chi' must be {4 * length} tenths of a degree or nulls")
    angles = np.radians(np.array(tenths, np.float64) / 10).astype(np.float32)
    return np.arctan2(np.sin(angles), np.cos(angles)).reshape(-1, 4)


def _coordinates(numbers: list[Any]) -> np.ndarray:
    try:
        array = np.array(numbers)
    except ValueError:  # lists of unequal length
        array = np.array(None)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iuf"):
        raise _RecordError("'backbone' must be a flat list of numbers")
    return array.astype(np.float64)
