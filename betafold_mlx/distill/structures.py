"""Structures that another predictor made: what it is sure of, as backbones."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import gemmi

from betafold_mlx.data.identity import canonical
from betafold_mlx.data.store import SHORTEST
from betafold_mlx.distill.confidence import read_confidence
from betafold_mlx.distill.gathering import Gathering
from betafold_mlx.distill.guard import Guard
from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import file_sha256
from betafold_mlx.structure.backbone import Backbone
from betafold_mlx.structure.parsing import parse_structure
from betafold_mlx.structure.reader import Dropped, find_structure_files, read_parsed

_TOGETHER = 64
"""Files whose chains are compared with the evaluation splits at once."""


class Read(NamedTuple):
    """The confident parts of one file.

    Attributes
    ----------
    backbones : list of Backbone
        Unbroken pieces of confident residues, of any length.
    unsure : int
        Residues below the threshold, and those without a confidence.
    dropped : list of Dropped
        What cannot be used for other reasons.
    scale : str
        Where the confidence stood, and its scale.
    """

    backbones: list[Backbone]
    unsure: int
    dropped: list[Dropped]
    scale: str


def read_confident(path: Path, least: float) -> Read:
    """Read the parts of a predicted structure that its predictor is sure of.

    A residue below the threshold is not part of a backbone: the chain is cut there, as at a residue that is missing
    (`betafold_mlx.structure.reader.read_structure`), and its pieces are of kind ``segment``.

    Parameters
    ----------
    path : Path
        PDB or mmCIF, plain or gzipped; its first model counts.
    least : float
        Least pLDDT, 0 to 100.

    Raises
    ------
    BetafoldError
        A file that cannot be read, or as `betafold_mlx.distill.confidence.read_confidence`.
    """
    structure = parse_structure(path, first_model_only=True)
    confidence = read_confidence(path, structure)
    scale = f"{confidence.source}, 0 to {confidence.scale:g}"
    unsure = set()
    for chain in structure[0]:
        for residue in chain:
            key = chain.name, str(residue.seqid), residue.name
            if key in confidence.alphas and not confidence.plddt.get(key, 0.0) >= least:
                unsure.add(key[:2])
                _take_out(residue)
    try:
        file = read_parsed(path, structure)
    except BetafoldError:
        if not unsure:
            raise
        return Read([], len(unsure), [], scale)  # all of it is unsure
    dropped = [part for part in file.dropped if (part.chain, part.residues) not in unsure]
    return Read(file.backbones, len(unsure), dropped, scale)


def _take_out(residue: gemmi.Residue) -> None:
    """Leave a residue in its chain, but without a place: what reads the chain must see that it was there."""
    for atom in residue:
        atom.pos = gemmi.Position(math.nan, math.nan, math.nan)


def gather_structures(
    path: Path,
    guard: Guard,
    least: float,
    advance: Callable[[int], None] = lambda number: None,
) -> Gathering:
    """Read the predicted structures of a file or folder.

    Parameters
    ----------
    path : Path
        PDB and mmCIF files, plain or gzipped.
    guard : Guard
        What must not come in.
    least : float
        Least pLDDT of a residue, 0 to 100.
    advance : callable
        Told that so many more files are done.

    Returns
    -------
    Gathering
        Confident pieces of at least `SHORTEST` residues. What is left out is too short, a duplicate, has an
        experimental structure or is like something of the evaluation splits.

    Raises
    ------
    BetafoldError
        No such file or folder.
    """
    found = Gathering()
    seen: dict[tuple[str, bool], str] = {}
    files = find_structure_files(path)
    for first in range(0, len(files), _TOGETHER):
        some = files[first : first + _TOGETHER]
        pieces = [piece for file in some for piece in _read(file, least, found)]
        usable = [piece for piece in pieces if _is_usable(piece, guard, found, seen)]
        leaks = guard.leaks([b.sequence for b in usable], [b.cyclic for b in usable])
        for backbone, leak in zip(usable, leaks, strict=True):
            if leak is None:
                found.backbones.append(replace(backbone, pdb=None, method=None, resolution=None))
            else:
                found.drop(backbone.id, "like evaluation data", leak)
        advance(len(some))
    return found


def _read(path: Path, least: float, found: Gathering) -> list[Backbone]:
    try:
        read = read_confident(path, least)
        digest = file_sha256(path)
    except BetafoldError as error:
        text = str(error)
        found.failed.append(text if str(path) in text else f"{path}: {text}")
        return []
    found.read += len(read.backbones)
    found.sources.append({"name": path.name, "sha256": digest, "records": len(read.backbones)})
    found.scales[read.scale] += 1
    found.residues += sum(map(len, read.backbones))
    found.unsure += read.unsure
    if not read.backbones:
        found.drop(path.name, "low confidence", f"all {read.unsure} residues")
    for part in read.dropped:
        found.drop(path.name, "unusable residues or breaks", str(part))
    return read.backbones


def _is_usable(backbone: Backbone, guard: Guard, found: Gathering, seen: dict[tuple[str, bool], str]) -> bool:
    key = canonical(backbone.sequence, backbone.cyclic), backbone.cyclic
    if len(backbone) < SHORTEST:
        found.drop(backbone.id, "too short", f"{len(backbone)} of {SHORTEST} residues")
    elif key in seen:
        found.drop(backbone.id, "duplicates", f"of {seen[key]}")
    elif guard.is_known(backbone.sequence, backbone.cyclic):
        found.drop(backbone.id, "with an experimental structure", "in the train split")
    else:
        seen[key] = backbone.id
        return True
    return False
