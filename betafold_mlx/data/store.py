"""Data sets on disk: ``dataset.json`` (records, fragments, report) beside ``arrays.safetensors``.

The residues of all records are concatenated in flat arrays; a record is a range of rows.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import atomic_directory, file_sha256, os_errors, read_json, write_text
from betafold_mlx.peptide.sequence import ALPHABET
from betafold_mlx.structure.backbone import Backbone

FORMAT, SCHEMA_VERSION = "betafold-dataset", 1
DATASET_FILE, ARRAYS_FILE = "dataset.json", "arrays.safetensors"

SPLITS = ("train", "validation", "test")
MIN_PEPTIDE, MAX_PEPTIDE = 8, 50
"""Residues of a peptide. Shorter records are dropped; longer ones are chains to cut windows from."""
PEPTIDE_KINDS = ("free", "oligomer", "bound", "mhc_bound", "unknown")
"""Kinds that are peptides where their length is; a short ``segment`` of a chain, say, stays a chain."""
EXPERIMENTAL, DISTILLED = ORIGINS = ("experimental", "distilled")
"""Where structures are from: an experiment, or another model (`betafold_mlx.distill`). The second are to learn from,
never to measure against."""


@dataclass(frozen=True)
class Record:
    """One unbroken chain of the data set; the first fields are those of `betafold_mlx.structure.backbone.Backbone`."""

    id: str
    sequence: str
    kind: str
    cyclic: bool
    disulfides: tuple[tuple[int, int], ...]
    disulfides_inferred: bool  # guessed from the backbone because the source says nothing of them
    pdb: str | None
    chain: str | None
    method: str | None
    resolution: float | None
    source_cluster: int | None  # the source's own cluster, to sample by
    cluster: int  # ours, in one split: alike peptides, or chains that share a word or a source cluster
    split: str  # one of `SPLITS`
    start: int  # with the length, its rows in the arrays
    length: int

    @classmethod
    def of(cls, backbone: Backbone, **fields: Any) -> Record:
        """Return the record of a backbone; `fields` are those that a backbone has not, and those to change."""
        names = ("id", "sequence", "kind", "cyclic", "disulfides", "pdb", "chain", "method", "resolution")
        known = {name: getattr(backbone, name) for name in names}
        return cls(**{**known, "source_cluster": backbone.cluster, "length": len(backbone), **fields})

    @property
    def is_peptide(self) -> bool:
        """Whether this is a whole peptide and not a chain to cut windows from."""
        return is_peptide(self.kind, self.length)


def is_peptide(kind: str, length: int) -> bool:
    """Return whether a record of this kind and length is a whole peptide."""
    return kind in PEPTIDE_KINDS and MIN_PEPTIDE <= length <= MAX_PEPTIDE


@dataclass(frozen=True)
class Fragment:
    """A fixed window of a validation or test chain, to measure on."""

    record: int  # index of the chain in `Dataset.records`
    start: int  # 0-based first residue in the chain
    length: int
    split: str  # ``validation`` or ``test``
    cluster: int  # the chain's cluster


@dataclass(frozen=True)
class Dataset:
    """Backbones with torsions and splits."""

    records: list[Record]  # record i owns the rows ``start : start + length`` of the arrays
    coordinates: np.ndarray  # (R, 4, 3) float32, Angstrom: N, CA, C, O. Finite
    torsions: np.ndarray  # (R, 3) float32, radians: phi, psi, omega; 0 where undefined
    # (R, 3) bool. False for phi of the first, psi and omega of the last residue of each record
    torsion_mask: np.ndarray
    # evaluation windows of validation and test chains
    fragments: list[Fragment] = field(default_factory=list)
    # ``name`` and ``sha256`` of each file the data set was built from
    sources: list[dict[str, str]] = field(default_factory=list)
    # what was read, dropped and why, and the counts of each split
    report: dict[str, Any] = field(default_factory=dict)
    # one of `ORIGINS`. A distilled data set is all ``train``, has no fragments, and its report says under
    # ``distillation`` who predicted it and which data set it was kept apart from
    origin: str = EXPERIMENTAL
    # (R, 4) float32, radians: chi1 to chi4; NaN where a residue has none, or it is not known. None where the sources
    # say nothing of side chains
    chi: np.ndarray | None = None

    def of_split(self, split: str) -> list[Record]:
        """Return the records of a split."""
        return [record for record in self.records if record.split == split]

    def peptides(self, split: str) -> list[Record]:
        """Return the whole peptides of a split."""
        return [record for record in self.of_split(split) if record.is_peptide]

    def chains(self, split: str) -> list[Record]:
        """Return the longer chains of a split, to cut windows from."""
        return [record for record in self.of_split(split) if not record.is_peptide]

    def rows(self, split: str) -> np.ndarray:
        """Return which rows of the arrays are a split's, (n,), in the order of its records."""
        ranges = [np.arange(record.start, record.start + record.length) for record in self.of_split(split)]
        return np.concatenate([np.zeros(0, np.int64), *ranges])

    def fragment_sequence(self, fragment: Fragment) -> str:
        """Return the residues of an evaluation window."""
        return self.records[fragment.record].sequence[fragment.start : fragment.start + fragment.length]

    def save(self, directory: Path, report_text: str = "") -> None:
        """Write the data set and ``report.txt``, whole or not at all; an older one at `directory` is replaced."""
        document = {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            # Said where it is not the usual one: the same structures go on to give the same bytes.
            **({} if self.origin == EXPERIMENTAL else {"origin": self.origin}),
            "sources": self.sources,
            "report": self.report,
            "records": [dataclasses.asdict(record) for record in self.records],
            "fragments": [dataclasses.asdict(fragment) for fragment in self.fragments],
        }
        arrays = {name: getattr(self, name) for name in ("coordinates", "torsions", "torsion_mask")}
        if self.chi is not None:
            arrays["chi"] = self.chi
        with atomic_directory(Path(directory)) as temporary:
            (temporary / ARRAYS_FILE).write_bytes(save(arrays))
            write_text(temporary / DATASET_FILE, _to_json(document))
            write_text(temporary / "report.txt", report_text)

    @classmethod
    def load(cls, directory: Path) -> Dataset:
        """Read a data set and check that it is whole.

        BetafoldError for no data set there, another schema, a damaged file, or records that do not fit the arrays.
        """
        document = _read_document(Path(directory))
        try:
            arrays = load_file(Path(directory) / ARRAYS_FILE)
            dataset = cls(
                [
                    Record(**entry | {"disulfides": tuple((int(i), int(j)) for i, j in entry["disulfides"])})
                    for entry in document["records"]
                ],
                **{name: arrays[name] for name in ("coordinates", "torsions", "torsion_mask")},
                fragments=[Fragment(**entry) for entry in document["fragments"]],
                sources=list(document["sources"]),
                report=dict(document["report"]),
                origin=document.get("origin", EXPERIMENTAL),
                chi=arrays.get("chi"),
            )
            _check(dataset)
        except OSError as error:
            raise BetafoldError(f"cannot read {directory}: {error.strerror or error}") from error
        except (SafetensorError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise BetafoldError(
                f"{directory} is a damaged data set ({error}): build it again with `dataset build`"
            ) from error
        return dataset


def is_dataset(directory: Path) -> bool:
    """Return whether there is a data set at `directory`, of this or another version, whole or damaged.

    The first lines of its document decide, so that a truncated one can be replaced.
    """
    try:
        with (directory / DATASET_FILE).open("rb") as file:
            return f'"format": "{FORMAT}"'.encode() in file.read(100)
    except OSError:
        return False


def _to_json(document: dict[str, Any]) -> str:
    """One record a line: readable, and no longer than it must be."""
    parts = []
    for key, value in document.items():
        if isinstance(value, list) and value:
            lines = ",\n".join(json.dumps(entry, allow_nan=False) for entry in value)
            parts.append(f"{json.dumps(key)}: [\n{lines}\n]")
        else:
            parts.append(f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _read_document(directory: Path) -> dict[str, Any]:
    path = directory / DATASET_FILE
    if not path.is_file():
        raise BetafoldError(f"there is no data set at {directory}: make one with `dataset build`")
    document = read_json(path)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise BetafoldError(f"{path} does not describe a betafold data set")
    version = document.get("schema_version")
    if version != SCHEMA_VERSION:
        raise BetafoldError(
            f"{directory} has schema {version!r:.40}, this version reads {SCHEMA_VERSION}: build it again"
        )
    return document


def _check(dataset: Dataset) -> None:
    """Raise ValueError where records, fragments and arrays do not fit together."""

    def demand(fits: bool, problem: str) -> None:
        if not fits:
            raise ValueError(problem)

    rows = 0
    for record in dataset.records:
        fits = record.start == rows and record.length == len(record.sequence) >= MIN_PEPTIDE
        demand(fits, f"record {record.id} does not fit its rows")
        known = record.split in SPLITS and set(record.sequence) <= set(ALPHABET)
        demand(known, f"record {record.id} has an unknown split or residue")
        possible = all(1 <= i < j <= record.length for i, j in record.disulfides)
        demand(possible, f"record {record.id} has an impossible disulfide")
        rows += record.length
    for name, shape, kind in (
        ("coordinates", (rows, 4, 3), np.float32),
        ("torsions", (rows, 3), np.float32),
        ("torsion_mask", (rows, 3), np.bool_),
    ):
        array = getattr(dataset, name)
        demand(array.shape == shape and array.dtype == kind, f"{name} does not fit the records")
        demand(bool(np.isfinite(array).all()), f"{name} holds NaN or infinite numbers")
    if dataset.chi is not None:
        fits = dataset.chi.shape == (rows, 4) and dataset.chi.dtype == np.float32
        demand(fits and not np.isinf(dataset.chi).any(), "chi does not fit the records")
    ends = np.array([record.start for record in dataset.records] + [rows], dtype=np.int64)
    beyond = dataset.torsion_mask[ends[:-1], 0].any() or dataset.torsion_mask[ends[1:] - 1, 1:].any()
    demand(not beyond, "a torsion past the end of a chain is not masked")
    for fragment in dataset.fragments:
        chain = dataset.records[fragment.record]
        end = fragment.start + fragment.length
        inside = fragment.record >= 0 and 0 <= fragment.start < end <= chain.length
        alike = (fragment.split, fragment.cluster) == (chain.split, chain.cluster)
        demand(inside and alike, f"a fragment does not fit record {chain.id}")
    demand(dataset.origin in ORIGINS, "an unknown origin")
    if dataset.origin == DISTILLED:
        train = all(record.split == SPLITS[0] for record in dataset.records) and not dataset.fragments
        demand(train, "distilled records outside of the train split")
        against = dataset.report["distillation"]["against"]
        demand(isinstance(against, str), "a distilled data set that was kept apart from none")


def dataset_sha256(directory: Path) -> str:
    """Return one SHA-256 over a data set's two files, as hexadecimal text: the name of exactly these data."""
    paths = [Path(directory) / name for name in (DATASET_FILE, ARRAYS_FILE)]
    with os_errors(f"cannot read {directory}"):
        return hashlib.sha256("".join(map(file_sha256, paths)).encode()).hexdigest()
