"""Import the confident parts of structures that another predictor made."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import gemmi

from betafold_mlx.data.store import MIN_PEPTIDE, Dataset
from betafold_mlx.distill.collection import Collection
from betafold_mlx.distill.file_confidence import read_confidence
from betafold_mlx.distill.labelling import Labelling
from betafold_mlx.distill.labels import Advance
from betafold_mlx.distill.leakage import LeakageCheck
from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import file_sha256
from betafold_mlx.structure.backbone import Backbone
from betafold_mlx.structure.parsing import parse_structure
from betafold_mlx.structure.reader import Dropped, find_structure_files, read_parsed

_TOGETHER = 64
"""Files whose chains are compared with the evaluation splits at once."""


class ConfidentParts(NamedTuple):
    """The confident parts of one file."""

    backbones: list[Backbone]  # unbroken pieces of confident residues, of any length
    unsure: int  # residues below the threshold, and those without a confidence
    dropped: list[Dropped]  # what cannot be used for other reasons
    scale: str  # where the confidence stood, and its scale


def from_structures(
    path: Path,
    check: LeakageCheck,
    min_plddt: float = Labelling.min_plddt,
    advance: Advance = lambda number: None,
) -> tuple[Dataset, list[str]]:
    """Take over the confident pieces, of `MIN_PEPTIDE` residues or more, of the structures of a file or folder.

    Return the data set, the same for the same files, settings and versions, and a message for each file that cannot
    be used. `advance` is called with the number of further files that are done. BetafoldError where there is no such
    file or folder, or nothing to keep.
    """
    found = Collection(check)
    scales: Counter[str] = Counter()
    residues = unsure = 0
    files = find_structure_files(path)
    for first in range(0, len(files), _TOGETHER):
        some = files[first : first + _TOGETHER]
        pieces = []
        for file in some:
            parts = _read(file, min_plddt, found)
            if parts is not None:
                scales[parts.scale] += 1
                residues += sum(map(len, parts.backbones))
                unsure += parts.unsure
                pieces += parts.backbones
        long = [piece for piece in pieces if len(piece) >= MIN_PEPTIDE]
        for piece in pieces:
            if len(piece) < MIN_PEPTIDE:
                found.drop(piece.id, "too short", f"{len(piece)} of {MIN_PEPTIDE} residues")
        places = found.sift([b.id for b in long], [b.sequence for b in long], [b.cyclic for b in long])
        found.backbones += [replace(long[n], pdb=None, method=None, resolution=None) for n in places]
        advance(len(some))
    known = dict(sorted(scales.items()))
    dataset = found.dataset(
        0,
        f"structures of another predictor, residues of pLDDT {min_plddt:g} or more "
        f"({residues} of {residues + unsure}); confidence in "
        + ", ".join(f"{name} ({count})" for name, count in known.items()),
        {"min_plddt": min_plddt, "confidence": known, "residues": residues, "residues_below": unsure},
    )
    return dataset, found.failed


def _read(path: Path, min_plddt: float, found: Collection) -> ConfidentParts | None:
    """Read a file and note what it is and what is left out of it; None where it cannot be read."""
    try:
        parts = read_confident(path, min_plddt)
        digest = file_sha256(path)
    except BetafoldError as error:
        text = str(error)
        found.failed.append(text if str(path) in text else f"{path}: {text}")
        return None
    found.read += len(parts.backbones)
    found.sources.append({"name": path.name, "sha256": digest, "records": len(parts.backbones)})
    if not parts.backbones:
        found.drop(path.name, "low confidence", f"all {parts.unsure} residues")
    for part in parts.dropped:
        found.drop(path.name, "unusable residues or breaks", str(part))
    return parts


def read_confident(path: Path, min_plddt: float) -> ConfidentParts:
    """Read the parts of a predicted structure whose residues have at least a pLDDT, 0 to 100.

    A residue below the threshold is not part of a backbone: the chain is cut there, as at a residue that is missing
    (`betafold_mlx.structure.reader.read_structure`), and its pieces are of kind ``segment``. The first model counts.
    """
    structure = parse_structure(path, first_model_only=True)
    confidence = read_confidence(path, structure)
    scale = f"{confidence.source}, 0 to {confidence.scale:g}"
    unsure = set()
    for chain in structure[0]:
        for residue in chain:
            key = chain.name, str(residue.seqid), residue.name
            if key in confidence.alphas and not confidence.plddt.get(key, 0.0) >= min_plddt:
                unsure.add(key[:2])
                for atom in residue:  # what reads the chain must see that a residue was there
                    atom.pos = gemmi.Position(math.nan, math.nan, math.nan)
    try:
        file = read_parsed(path, structure)
    except BetafoldError:
        if not unsure:
            raise
        return ConfidentParts([], len(unsure), [], scale)  # all of it is unsure
    dropped = [part for part in file.dropped if (part.chain, part.residues) not in unsure]
    return ConfidentParts(file.backbones, len(unsure), dropped, scale)
