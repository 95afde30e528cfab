"""The template library: whole peptides and stretches of chains with known backbones, in one safetensors file.

All residues lie one after another; an entry is a range of rows. Coordinates and torsions are float16: exact to 0.02
Angstrom within 30 Angstrom of an entry's centre, and to 0.002 radians.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import atomic_path
from betafold_mlx.peptide.sequence import ALPHABET
from betafold_mlx.templates.chains import ChainLibrary

LIBRARY_FILE = "templates.safetensors"
SCHEMA_VERSION = 1
_OF_CHAINS = "chains."

GAP_CODE = 60
"""Code of a place past the end of an entry; smaller ones are residue id + 20 x side (0: no disulfide, 1: first, 2:
second cysteine of one)."""


@dataclass(frozen=True)
class TemplateLibrary:
    """E backbones of known structures with R residues in all.

    Attributes
    ----------
    names : tuple of str
        PDB entry and chain of each entry; of a stretch also its first and last residue, ``1ABC_A:12-49``.
    clusters : numpy.ndarray
        (E,) int32, cluster of the record in the data set it comes from.
    offsets : numpy.ndarray
        (E + 1,) int32, first row of each entry, and R.
    residues : numpy.ndarray
        (R,) uint8 residue ids (`ALPHABET`).
    partner : numpy.ndarray
        (R,) int16, the residue of the same entry (from 0) that a cysteine is bonded to, else -1.
    cyclic : numpy.ndarray
        (E,) bool, closed head to tail.
    ca : numpy.ndarray
        (R, 3) float16 Angstrom, C-alpha, about the entry's centre.
    torsions : numpy.ndarray
        (R, 3) float16 radians phi, psi, omega; NaN where undefined.
    chains : ChainLibrary, optional
        Whole chains to look in beside the entries.
    """

    names: tuple[str, ...]
    clusters: np.ndarray
    offsets: np.ndarray
    residues: np.ndarray
    partner: np.ndarray
    cyclic: np.ndarray
    ca: np.ndarray
    torsions: np.ndarray
    chains: ChainLibrary | None = None

    def __len__(self) -> int:
        return len(self.names)

    def rows(self, entry: int) -> slice:
        """Return the rows of an entry."""
        return slice(int(self.offsets[entry]), int(self.offsets[entry + 1]))

    def sequence(self, entry: int) -> str:
        """Return the one-letter sequence of an entry."""
        return "".join(ALPHABET[residue] for residue in self.residues[self.rows(entry)])

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of what is in the library, as hexadecimal text."""
        digest = hashlib.sha256("\n".join(self.names).encode())
        for array in self._arrays().values():
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    @cached_property
    def rotations(self) -> tuple[np.ndarray, np.ndarray]:
        """Entry and first residue of each sequence that is searched: a ring stands among them in every rotation."""
        turns = np.where(self.cyclic, np.diff(self.offsets), 1)
        entry = np.repeat(np.arange(len(self)), turns)
        first = np.arange(len(entry)) - np.repeat(np.cumsum(turns) - turns, turns)
        return entry, first

    @cached_property
    def codes(self) -> np.ndarray:
        """(rotations, longest entry) uint8 codes of the searched sequences, `GAP_CODE` past their ends."""
        entry, first = self.rotations
        lengths = np.diff(self.offsets)[entry][:, None]
        place = np.arange(int(lengths.max()))[None, :]
        inside = place < lengths
        row = self.offsets[entry][:, None] + np.where(inside, (place + first[:, None]) % lengths, 0)
        partner = self.partner[row].astype(np.int32)
        side = np.where(partner < 0, 0, np.where((partner - first[:, None]) % lengths > place, 1, 2))
        return np.where(inside, self.residues[row] + 20 * side, GAP_CODE).astype(np.uint8)

    def subset(self, keep: np.ndarray) -> TemplateLibrary:
        """Return a library of some of the entries: `keep` is (E,) bool."""
        lengths = np.diff(self.offsets)
        rows = np.repeat(keep, lengths)
        return TemplateLibrary(
            tuple(name for name, kept in zip(self.names, keep, strict=True) if kept),
            self.clusters[keep],
            np.concatenate([[0], np.cumsum(lengths[keep])]).astype(np.int32),
            self.residues[rows],
            self.partner[rows],
            self.cyclic[keep],
            self.ca[rows],
            self.torsions[rows],
            self.chains,
        )

    def without(self, records: Collection[str]) -> TemplateLibrary:
        """Return the library without what comes of some records (PDB entry and chain)."""
        kept = self.subset(np.array([name.split(":")[0] not in records for name in self.names]))
        if self.chains is None:
            return kept
        chains = self.chains.subset(np.array([name not in records for name in self.chains.names]))
        return dataclasses.replace(kept, chains=chains)

    def save(self, path: Path) -> None:
        """Write the library, whole or not at all, to a file whose name ends in ``.safetensors``."""
        if Path(path).suffix != ".safetensors":
            raise BetafoldError(f"cannot save {Path(path).name}: the name must end in .safetensors")
        arrays = {name: mx.array(array) for name, array in self._arrays().items()}
        metadata = {"schema_version": str(SCHEMA_VERSION), "names": json.dumps(self.names)}
        if self.chains is not None:
            metadata["chain_names"] = json.dumps(self.chains.names)
        with atomic_path(path) as temporary:
            mx.save_safetensors(str(temporary), arrays, metadata)

    @classmethod
    def load(cls, path: Path) -> TemplateLibrary:
        """Read a library.

        Raises
        ------
        BetafoldError
            Not there, damaged, or of another version.
        """
        path = Path(path)
        if not path.is_file():
            raise BetafoldError(f"no template library at {path}")
        try:
            loaded: Any = mx.load(str(path), format="safetensors", return_metadata=True)
            arrays, metadata = loaded
            if metadata["schema_version"] != str(SCHEMA_VERSION):
                raise BetafoldError(f"{path} is a template library of another version")
            columns = {name: np.array(array) for name, array in arrays.items() if "." not in name}
            of_chains = {
                name[len(_OF_CHAINS) :]: np.array(array) for name, array in arrays.items() if "." in name
            }
            chains = None
            if of_chains:
                chains = ChainLibrary(_names(metadata["chain_names"]), **of_chains)
                chains.check()
            library = cls(_names(metadata["names"]), **columns, chains=chains)
            library._check()
        except BetafoldError:
            raise
        except Exception as error:  # MLX raises RuntimeError or ValueError, by the place of the damage
            raise BetafoldError(f"{path} is not a whole template library") from error
        return library

    def _arrays(self) -> dict[str, np.ndarray]:
        """Return all arrays by name, those of the chains with a prefix."""
        fields = dataclasses.fields(self)
        arrays = {f.name: getattr(self, f.name) for f in fields if f.name not in ("names", "chains")}
        if self.chains is not None:
            for field in dataclasses.fields(self.chains):
                if field.name != "names":
                    arrays[_OF_CHAINS + field.name] = getattr(self.chains, field.name)
        return arrays

    def _check(self) -> None:
        count, rows = len(self), len(self.residues)
        kinds = {
            "clusters": ((count,), np.integer),
            "offsets": ((count + 1,), np.integer),
            "residues": ((rows,), np.integer),
            "partner": ((rows,), np.integer),
            "cyclic": ((count,), np.bool_),
            "ca": ((rows, 3), np.floating),
            "torsions": ((rows, 3), np.floating),
        }
        for name, (shape, kind) in kinds.items():
            array = getattr(self, name)
            if not count or array.shape != shape or not np.issubdtype(array.dtype, kind):
                raise ValueError(f"{name} does not fit the library")
        if not all(isinstance(name, str) for name in self.names):
            raise ValueError("names that are not text")
        lengths = np.diff(self.offsets)
        if self.offsets[0] != 0 or self.offsets[-1] != rows or (lengths < 1).any():
            raise ValueError("entries do not fit the rows")
        if (self.residues >= len(ALPHABET)).any() or (self.residues < 0).any():
            raise ValueError("an unknown residue")
        if not np.isfinite(self.ca).all() or np.isinf(self.torsions).any():
            raise ValueError("numbers that are not finite")
        bonded = np.flatnonzero(self.partner >= 0)
        first = np.repeat(self.offsets[:-1], lengths)
        if (self.partner < -1).any() or (self.partner >= np.repeat(lengths, lengths)).any():
            raise ValueError("a disulfide that leaves its entry")
        if (self.partner[first[bonded] + self.partner[bonded]] != bonded - first[bonded]).any():
            raise ValueError("a disulfide of one end")


def _names(text: str) -> tuple[str, ...]:
    names = json.loads(text)
    if not isinstance(names, list):
        raise ValueError("names that are no list")
    return tuple(names)
