"""Reading the sources of a data set: structure files, folders of them, and backbone JSON lines."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from betafold_mlx.data.store import is_peptide
from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import file_sha256
from betafold_mlx.structure.backbone import Backbone
from betafold_mlx.structure.bonds import infer_disulfides
from betafold_mlx.structure.jsonl import read_backbones, read_chi
from betafold_mlx.structure.reader import find_structure_files, read_structure

JSON_LINES_SUFFIXES = (".jsonl", ".jsonl.gz")

Dropped = tuple[str, str, str]
"""Name of what was left out, the reason in a word or two, and the details."""


@dataclass
class Reading:
    """What was read from the sources."""

    backbones: list[Backbone] = field(default_factory=list)  # in the order of the sources
    # whether its disulfides were guessed from the backbone
    inferred: list[bool] = field(default_factory=list)
    sources: list[dict[str, str | int]] = field(default_factory=list)  # ``name``, ``sha256``, ``records``
    dropped: list[Dropped] = field(default_factory=list)  # what cannot be used of the files that were read
    failed: list[str] = field(default_factory=list)  # one message for each file that cannot be read


def read_sources(paths: Sequence[Path], progress: Callable[[str], None] = lambda message: None) -> Reading:
    """Read all sources; a file that cannot be read is noted and passed over.

    They are backbone JSON lines (by their suffix), PDB or mmCIF files, or folders, which are searched for both.
    `progress` gets a line after each JSON lines file and after the structure files.
    """
    reading = Reading()
    structures = chains = 0
    for path in _files(paths, reading):
        read = _read_json_lines if is_json_lines(path) else _read_structure
        try:
            backbones, inferred, dropped = read(path)
            digest = file_sha256(path)
        except (BetafoldError, OSError) as error:
            reading.failed.append(_failure(path, error))
            continue
        reading.backbones += backbones
        reading.inferred += inferred
        reading.dropped += dropped
        reading.sources.append({"name": path.name, "sha256": digest, "records": len(backbones)})
        if is_json_lines(path):
            progress(f"read {path.name}: {len(backbones)} records")
        else:
            structures, chains = structures + 1, chains + len(backbones)
    if structures:
        progress(f"read {structures} structure files: {chains} chains")
    return reading


def add_chi(reading: Reading, path: Path) -> None:
    """Give backbones their side-chain angles from a file apart (`read_chi`), by id and sequence.

    What is there for another sequence of a record is not used, and noted among what was dropped.
    """
    known = read_chi(path)
    used = set()
    for n, backbone in enumerate(reading.backbones):
        key = backbone.id, backbone.sequence
        if key in known:
            reading.backbones[n] = dataclasses.replace(backbone, chi=known[key])
            used.add(key)
    ids = {backbone.id for backbone in reading.backbones}
    for name, sequence in known.keys() - used:
        if name in ids:
            details = f"{len(sequence)} residues that are not those of the record"
            reading.dropped.append((f"{path.name}: {name}", "side chains of another sequence", details))


def is_json_lines(path: Path) -> bool:
    """Return whether the file's name is that of backbone JSON lines."""
    return path.name.lower().endswith(JSON_LINES_SUFFIXES)


def _failure(path: Path, error: BetafoldError | OSError) -> str:
    """Return what is wrong with a file, with its name."""
    text = str(error) if isinstance(error, BetafoldError) else error.strerror or str(error)
    return text if str(path) in text else f"{path}: {text}"


def _files(paths: Sequence[Path], reading: Reading) -> Iterator[Path]:
    """Yield each file once, those of a folder in the order of their names; note what is not there."""
    seen: set[Path] = set()
    for path in paths:
        try:
            found = _find(path)
        except (BetafoldError, OSError) as error:
            reading.failed.append(_failure(path, error))
            continue
        for file in found:
            if file.resolve() not in seen:
                seen.add(file.resolve())
                yield file


def _find(path: Path) -> list[Path]:
    """Return the path, or what is in that folder."""
    lines: list[Path] = []
    if path.is_dir():
        lines = [file for file in path.rglob("*") if is_json_lines(file) and not file.name.startswith(".")]
    try:
        return sorted(lines + find_structure_files(path))
    except BetafoldError:  # no structure file in there
        if not lines:
            raise
        return sorted(lines)


def _read_json_lines(path: Path) -> tuple[list[Backbone], list[bool], list[Dropped]]:
    backbones, inferred, dropped = [], [], []

    def note(name: str, reason: str) -> None:
        dropped.append((f"{path.name}: {name}", "bad records", reason))

    for backbone in read_backbones(path, on_problem=note):
        guess: tuple[tuple[int, int], ...] = ()
        if not backbone.disulfides and not is_peptide(backbone.kind, len(backbone)):
            guess = infer_disulfides(backbone.sequence, backbone.coordinates)
        backbones.append(dataclasses.replace(backbone, disulfides=guess) if guess else backbone)
        inferred.append(bool(guess))
    return backbones, inferred, dropped


def _read_structure(path: Path) -> tuple[list[Backbone], list[bool], list[Dropped]]:
    structure = read_structure(path)
    dropped = [(path.name, "unusable residues or breaks", str(part)) for part in structure.dropped]
    return structure.backbones, [False] * len(structure.backbones), dropped
