"""Chains of predicted structure files, read leniently: a poor prediction is to be scored, not refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np

from betafold_mlx.structure.backbone import MAX_COORDINATE
from betafold_mlx.structure.parsing import parse_structure
from betafold_mlx.structure.residues import ReadResidue, read_chain

UNKNOWN = "X"


@dataclass(frozen=True)
class PredictedChain:
    """One chain of one model of a file."""

    model: int  # model number in the file
    sequence: str  # one-letter codes, length L; `UNKNOWN` for what is not one of the 20
    atoms: np.ndarray  # (L, 3, 3) Angstrom: N, CA, C; NaN where an atom is absent or unusable
    bfactors: np.ndarray  # (L,) of the CA atoms; NaN where absent

    @property
    def scorable(self) -> np.ndarray | None:
        """(L, 3, 3) atoms to score: whole, or CA alone where any N or C is missing; None without every CA."""
        if np.isfinite(self.atoms).all():
            return self.atoms
        if not np.isfinite(self.atoms[:, 1]).all():
            return None
        return np.where(np.arange(3)[:, None] == 1, self.atoms, np.nan)


def read_predictions(path: Path) -> list[PredictedChain]:
    """Read every protein chain of every model of a PDB or mmCIF file, plain or gzipped, in file order.

    Nothing is cut or dropped for its geometry. Caps, ligands and waters are no part of a chain. BetafoldError where
    the file cannot be read or is damaged.
    """
    chains = []
    for model in parse_structure(path, first_model_only=False):
        for chain in model:
            bfactors = _ca_bfactors(chain)
            chains += [_chain(model.num, residues, bfactors) for residues in read_chain(chain)]
    return chains


def _chain(
    model: int, residues: Sequence[ReadResidue], bfactors: dict[tuple[str, str], float]
) -> PredictedChain:
    atoms = np.stack([residue.atoms[:3] for residue in residues])
    usable = (np.abs(np.nan_to_num(atoms, nan=np.inf)) < MAX_COORDINATE).all(axis=-1, keepdims=True)
    return PredictedChain(
        model=model,
        sequence="".join(residue.letter or UNKNOWN for residue in residues),
        atoms=np.where(usable, atoms, np.nan),
        bfactors=np.array([bfactors.get((residue.number, residue.name), np.nan) for residue in residues]),
    )


def _ca_bfactors(chain: gemmi.Chain) -> dict[tuple[str, str], float]:
    """Return the B-factor of the first CA of each residue, by its number and name."""
    found: dict[tuple[str, str], float] = {}
    for residue in chain:
        for atom in residue:
            if atom.name == "CA":
                found.setdefault((str(residue.seqid), residue.name), atom.b_iso)
    return found


def plddt_scale(chains: Iterable[PredictedChain]) -> tuple[float | None, str]:
    """Return what turns the B-factors of a set of predictions of one tool into pLDDT, 0 to 100, and why.

    The factor is 1, 100, or None where the B-factors cannot be a confidence.
    """
    values = np.concatenate([chain.bfactors for chain in chains] or [np.zeros(0)])
    if not len(values) or not np.isfinite(values).all() or values.min() < 0 or values.max() > 100:
        return None, "B-factors do not lie in 0-100: not read as pLDDT"
    if values.min() == values.max():
        return None, f"every B-factor is {values.min():g}: not read as pLDDT"
    if values.max() <= 1:
        return 100.0, "B-factors lie in 0-1: read as pLDDT on that scale and multiplied by 100"
    return 1.0, "B-factors lie in 0-100: read as pLDDT on that scale"
