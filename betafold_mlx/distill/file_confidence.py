"""The confidence that another predictor wrote into its PDB and mmCIF files, on one scale.

ModelCIF has a category for it, ``_ma_qa_metric_local``, and says of each metric what it is. PDB files have it in the
place of the B-factor: AlphaFold DB writes 0 to 100, ESMFold 0 to 100 or 0 to 1.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import gemmi

from betafold_mlx.errors import BetafoldError
from betafold_mlx.gzipped import read_bytes

METRIC, B_FACTOR = "_ma_qa_metric_local", "B-factor"
_EXPERIMENTS = ("DIFFRACTION", "NMR", "RESONANCE", "MICROSCOPY", "SCATTERING", "CRYSTALLOGRAPHY")
"""Words of the experimental methods of the wwPDB; of a model the method is missing or ``THEORETICAL MODEL``."""


Key = tuple[str, str, str]


class Confidence(NamedTuple):
    """How sure a predictor is of the residues of a file."""

    source: str  # `METRIC` or `B_FACTOR`
    scale: float  # 1 or 100: the value of full confidence in the file
    plddt: dict[Key, float]  # (chain, residue number with insertion code, residue name) -> pLDDT, 0 to 100
    alphas: set[Key]  # such keys of all residues with a CA; one that is not in `plddt` has no confidence


def read_confidence(path: Path, structure: gemmi.Structure) -> Confidence:
    """Read the confidence of the residues of the first model of a file, which holds this structure.

    ``_ma_qa_metric_local`` is preferred where the file has a pLDDT there, else the B-factors of CA count. Where the
    file does not say that its pLDDT lies between 0 and 1, it does where no value exceeds 1: of a hundred, that would
    be less than anything is written for. BetafoldError for an experimental structure, or values that are no confidence:
    out of range, or all the same.
    """
    method = dict(structure.info.items()).get("_exptl.method", "").upper()
    if any(word in method for word in _EXPERIMENTS):
        raise BetafoldError(
            f"{path} is an experimental structure ({method}): its B-factors are not a confidence"
        )
    alphas = {
        (chain.name, str(residue.seqid), residue.name): (residue, atom)
        for chain in structure[0]
        for residue in chain
        if (atom := residue.find_atom("CA", "*", gemmi.Element("C"))) is not None
    }
    source, in_one = B_FACTOR, False
    values = {key: float(atom.b_iso) for key, (_, atom) in alphas.items()}
    metric = _local_metric(path)
    if metric is not None:
        source, in_one = METRIC, metric.in_one
        places = {key: (residue.subchain, str(residue.label_seq)) for key, (residue, _) in alphas.items()}
        values = {key: metric.told.get(place, math.nan) for key, place in places.items()}
    known = {key: value for key, value in values.items() if not math.isnan(value)}
    if not known:
        raise BetafoldError(f"{path}: its {source} has no values for its residues")
    low, high = min(known.values()), max(known.values())
    scale = 1.0 if in_one or high <= 1.0 else 100.0
    if not 0.0 <= low <= high <= scale:
        raise BetafoldError(
            f"{path}: its {source} runs from {low:g} to {high:g}, a pLDDT from 0 to {scale:g}"
        )
    if low == high and len(known) > 1:
        raise BetafoldError(f"{path}: its {source} is {low:g} everywhere: that is not a confidence")
    return Confidence(
        source, scale, {key: 100.0 * value / scale for key, value in known.items()}, set(alphas)
    )


class _Metric(NamedTuple):
    """Local pLDDT by (label_asym_id, label_seq_id), and whether the file says that it ends at 1."""

    told: dict[tuple[str, str], float]
    in_one: bool


def _local_metric(path: Path) -> _Metric | None:
    """Return the local pLDDT of the first model of an mmCIF file, None where it has none."""
    content = read_bytes(path)
    if METRIC.encode() not in content:
        return None
    try:
        document = gemmi.cif.read_string(content.decode("utf-8", errors="replace"))
    except (ValueError, RuntimeError):  # a PDB file with these words in a remark
        return None
    for block in document:
        kinds = {
            number: kind
            for number, kind, mode in _rows(block, "_ma_qa_metric.", ("id", "type", "mode"))
            if mode == "local" and "plddt" in kind.lower()
        }
        columns = ("metric_id", "model_id", "label_asym_id", "label_seq_id", "metric_value")
        rows = [row for row in _rows(block, f"{METRIC}.", columns) if row[0] in kinds]
        if rows:
            metric, model = rows[0][:2]
            told = {
                (asym, number): gemmi.cif.as_number(value)
                for of_metric, of_model, asym, number, value in rows
                if (of_metric, of_model) == (metric, model)
            }
            return _Metric(told, "[0,1]" in kinds[metric])
    return None


def _rows(block: gemmi.cif.Block, category: str, columns: tuple[str, ...]) -> list[list[str]]:
    return [[gemmi.cif.as_string(value) for value in row] for row in block.find(category, list(columns))]
