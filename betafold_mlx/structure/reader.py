"""Reads the protein chains of PDB and mmCIF files as backbones."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np

from betafold_mlx.errors import BetafoldError
from betafold_mlx.peptide.bonds import Disulfides
from betafold_mlx.peptide.sequence import MAX_LENGTH
from betafold_mlx.structure.backbone import Backbone, peptide_bonds, ring_closed
from betafold_mlx.structure.bonds import infer_disulfides, sulfur_disulfides
from betafold_mlx.structure.parsing import parse_structure
from betafold_mlx.structure.residues import ReadResidue, read_chain

SUFFIXES = (".pdb", ".ent", ".cif", ".mmcif")
"""File names that are taken for structures in a folder, each also with ``.gz``."""

CONTACT = 8.0
"""Angstrom. Chains with two backbone atoms (N, CA, C, O) closer than this count as bound to one another."""

MIN_SEGMENT = 2
"""Residues. A lone residue is a ligand or a leftover, not a chain."""


@dataclass(frozen=True)
class Dropped:
    """A part of a file that is in no backbone, or a place where a chain was cut."""

    model: int  # model number in the file
    chain: str  # chain name (author's); empty where the file has none
    residues: str  # author's residue numbers: one as ``5``, or two as ``5-9``
    reason: str  # why, for people

    def __str__(self) -> str:
        chain = f"chain {self.chain}" if self.chain else "unnamed chain"
        return f"{chain}, residue {self.residues}: {self.reason}"


@dataclass(frozen=True)
class StructureFile:
    """What was read from one file."""

    path: Path
    backbones: list[Backbone]  # in file order; at least one
    dropped: list[Dropped]  # in file order


def find_structure_files(path: Path) -> list[Path]:
    """Return the structure files that a path stands for, sorted; BetafoldError where there is none.

    The path is that of a file, whatever its name, or of a folder that is searched with all its subfolders for names
    that end in one of `SUFFIXES`, in upper or lower case, plain or with ``.gz``. Hidden files are left out.
    """
    path = Path(path)
    if not path.is_dir():
        if not path.exists():
            raise BetafoldError(f"no such file or folder: {path}")
        return [path]
    names = SUFFIXES + tuple(f"{suffix}.gz" for suffix in SUFFIXES)
    files = sorted(
        file
        for file in path.rglob("*")
        if file.name.lower().endswith(names) and not file.name.startswith(".") and file.is_file()
    )
    if not files:
        raise BetafoldError(f"{path} holds no structure file ({', '.join(SUFFIXES)}, each also with .gz)")
    return files


def read_structure(
    path: Path, *, first_model_only: bool = True, guess_disulfides: bool = False
) -> StructureFile:
    """Read the protein chains of the first model, or of every one, of a PDB or mmCIF file, plain or gzipped.

    A chain is cut at every residue that is not one of the 20 standard L residues (MSE counts as MET,
    force-field names of protonation states as their residue), that lacks one of N, CA, C, O, or that has
    unusable coordinates, and wherever C and the next N are not at bond length. Each piece is one `Backbone`.
    Caps, ligands, waters and nucleic acids are no part of a chain and are passed over.

    A backbone's `id` is ``FILE_CHAIN``, as ``1le0_A``: the file name without its suffixes, then the
    author's chain name (no ``_CHAIN`` where it is blank). ``.m2`` follows for model 2 where every model
    is read, and ``:5-17`` (author's numbers of the first and last residue) where it is a piece of a cut
    chain; ``~2`` tells apart chains of the same name.

    `kind` is ``segment`` for a piece of a cut chain and ``chain`` for a whole chain of more than 50
    residues. For a whole chain of up to 50 residues it is ``free`` where no other protein chain of the
    model is within `CONTACT`, ``oligomer`` where all such chains have up to 50 residues too, otherwise
    ``bound``.

    `disulfides` are within the backbone; where cysteines have no SG, `guess_disulfides` infers them from the
    backbone. `cyclic` is measured (`ring_closed`). BetafoldError where the file cannot be read, is damaged, or has no
    usable protein chain.
    """
    structure = parse_structure(Path(path), first_model_only=first_model_only)
    return read_parsed(path, structure, first_model_only=first_model_only, guess_disulfides=guess_disulfides)


def read_parsed(
    path: Path, structure: gemmi.Structure, *, first_model_only: bool = True, guess_disulfides: bool = False
) -> StructureFile:
    """Read the protein chains of a file that was parsed before, and perhaps changed: see `read_structure`."""
    path = Path(path)
    reader = _Reader(path, structure, first_model_only, guess_disulfides)
    for model in structure:
        reader.read_model(model)
    if not reader.backbones:
        reason = f" ({reader.dropped[0]})" if reader.dropped else ""
        raise BetafoldError(f"no protein chain in {path}{reason}")
    return StructureFile(path, reader.backbones, reader.dropped)


class _Reader:
    """Backbones and drops of one file, gathered model by model and chain by chain."""

    def __init__(
        self, path: Path, structure: gemmi.Structure, first_model_only: bool, guess_disulfides: bool
    ) -> None:
        self.backbones: list[Backbone] = []
        self.dropped: list[Dropped] = []
        self._name = _printable(_stem(path))
        self._number_models = not first_model_only and len(structure) > 1
        self._guess = guess_disulfides
        info = dict(structure.info.items())
        self._pdb = _pdb_code(info.get("_entry.id", ""))
        self._method = info.get("_exptl.method", "").strip() or None
        self._resolution = structure.resolution if 0 < structure.resolution < math.inf else None
        self._ids: set[str] = set()

    def read_model(self, model: gemmi.Model) -> None:
        chains = [(chain.name, residues) for chain in model for residues in read_chain(chain)]
        for index, (name, residues) in enumerate(chains):
            segments = list(self._segments(model.num, name, residues))
            whole = len(segments) == 1 and len(segments[0]) == len(residues)
            others = [
                other for k, (_, other) in enumerate(chains) if k != index and len(other) >= MIN_SEGMENT
            ]
            kind = _kind(residues, others) if whole else "segment"
            for segment in segments:
                identifier = self._id(model.num, name, None if whole else segment)
                self.backbones.append(self._backbone(identifier, name, kind, segment))

    def _segments(self, model: int, chain: str, residues: list[ReadResidue]) -> Iterator[list[ReadResidue]]:
        """Yield the unbroken pieces of a chain; note what is dropped and where it is cut."""
        atoms = np.stack([residue.atoms for residue in residues])  # (L, 6, 3)
        linked = [False, *peptide_bonds(atoms[:, :4])]  # to the residue before
        segment: list[ReadResidue] = []
        for residue, bond in zip([*residues, None], [*linked, False], strict=True):
            if segment and residue is not None and residue.problem is None:
                if bond:
                    segment.append(residue)
                    continue
                gap = f"{segment[-1].number}-{residue.number}"
                distance = np.linalg.norm(segment[-1].atoms[2] - residue.atoms[0])
                self.dropped.append(Dropped(model, chain, gap, f"chain break, C-N {distance:.1f} A"))
            if len(segment) >= MIN_SEGMENT:
                yield segment
            elif segment:
                lone = segment[0]
                self.dropped.append(Dropped(model, chain, lone.number, f"lone residue {lone.name}"))
            segment = []
            if residue is not None and residue.problem is None:
                segment = [residue]
            elif residue is not None:
                reason = f"{residue.name}: {residue.problem}"
                self.dropped.append(Dropped(model, chain, residue.number, reason))

    def _backbone(self, identifier: str, chain: str, kind: str, segment: list[ReadResidue]) -> Backbone:
        sequence = "".join(residue.letter for residue in segment)
        atoms = np.stack([residue.atoms for residue in segment])  # (L, 6, 3)
        chi = np.stack([residue.chi for residue in segment]).astype(np.float32)
        return Backbone(
            id=identifier,
            sequence=sequence,
            coordinates=atoms[:, :4].astype(np.float32),
            kind=kind,
            cyclic=ring_closed(atoms[:, :4]),
            disulfides=_disulfides(sequence, atoms, self._guess),
            pdb=self._pdb,
            chain=chain or None,
            method=self._method,
            resolution=self._resolution,
            chi=chi if np.isfinite(chi).any() else None,
        )

    def _id(self, model: int, chain: str, piece: list[ReadResidue] | None) -> str:
        identifier = f"{self._name}_{_printable(chain)}" if chain else self._name
        if self._number_models:
            identifier += f".m{model}"
        if piece is not None:
            identifier += f":{piece[0].number}-{piece[-1].number}"
        unique, count = identifier, 1
        while unique in self._ids:
            count += 1
            unique = f"{identifier}~{count}"
        self._ids.add(unique)
        return unique


def _disulfides(sequence: str, atoms: np.ndarray, guess: bool) -> Disulfides:
    """Return 1-based pairs from SG positions; if asked to, from the backbone for cysteines without SG."""
    cysteines = np.array([i for i, letter in enumerate(sequence) if letter == "C"], dtype=int)
    sulfurs = atoms[cysteines, 5]  # (K, 3)
    pairs = [(int(cysteines[i]) + 1, int(cysteines[j]) + 1) for i, j in sulfur_disulfides(sulfurs)]
    if guess:
        bare = cysteines[np.isnan(sulfurs).any(axis=1)]
        pairs += infer_disulfides("".join("C" if i in bare else "-" for i in range(len(sequence))), atoms)
    return tuple(sorted(pairs))


def _kind(residues: list[ReadResidue], others: list[list[ReadResidue]]) -> str:
    if len(residues) > MAX_LENGTH:
        return "chain"
    own = _backbone_atoms(residues)
    bound = [other for other in others if _touch(own, _backbone_atoms(other))]
    if not bound:
        return "free"
    return "bound" if any(len(other) > MAX_LENGTH for other in bound) else "oligomer"


def _backbone_atoms(residues: list[ReadResidue]) -> np.ndarray:
    return np.concatenate([residue.atoms[:4] for residue in residues])


def _touch(first: np.ndarray, second: np.ndarray) -> bool:
    # NaN, where an atom is absent, is never near.
    return any(bool((np.linalg.norm(second - atom, axis=-1) < CONTACT).any()) for atom in first)


def _stem(path: Path) -> str:
    """Return the file name without its suffixes; ``pdb1abc.ent`` is ``1abc``."""
    name = re.sub(r"\.gz$", "", path.name, flags=re.IGNORECASE)
    stem = re.sub(r"\.(pdb|ent|cif|mmcif)$", "", name, flags=re.IGNORECASE)
    entry = re.fullmatch(r"pdb([0-9][a-z0-9]{3})\.ent", name, flags=re.IGNORECASE)
    return entry[1] if entry else stem


def _pdb_code(code: str) -> str | None:
    return code.lower() if re.fullmatch(r"[0-9][A-Za-z0-9]{3}|pdb_[0-9A-Za-z]{8}", code) else None


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "_" for character in text)
