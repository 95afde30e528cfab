"""The numbers that the report's script reads, inside the page."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from betafold_mlx.geometry.closure import Bond
from betafold_mlx.report import maps
from betafold_mlx.report.bands import BANDS
from betafold_mlx.report.markup import Markup
from betafold_mlx.report.shown import Shown, residue_name


def script_data(view: Shown) -> Markup:
    """Return what the script needs, as JSON that cannot end its element."""
    prediction = view.prediction
    details = prediction.details
    document = {
        "sequence": prediction.sequence,
        "names": [residue_name(prediction, place) for place in range(len(prediction.sequence))],
        "bands": [[band.lowest, band.colour, band.name] for band in BANDS],
        "models": [_model_data(view, rank) for rank in view.ranks],
        "distance": None if details is None else _tenths(details.distance),
        "deviation": None if details is None else _tenths(details.deviation),
        "attention": None if details is None else maps.packed_attention(view),
        "heads": 0 if details is None else details.attention.shape[1],
    }
    packed = json.dumps(document, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return Markup(f'<script type="application/json" id="data">{packed}</script>')


def _tenths(matrix: np.ndarray) -> list[list[int | None]]:
    """Return Angstroms in tenths, null where there is no number."""
    return [[None if np.isnan(value) else round(float(value) * 10) for value in row] for row in matrix]


def _model_data(view: Shown, rank: int) -> dict[str, Any]:
    """Return a model: its atoms N, CA, C, O, CB of each residue in hundredths of an Angstrom, null where one is not."""
    atoms = view.coordinates[rank]
    return {
        "plddt": np.round(view.prediction.plddt[rank].astype(float), 1).tolist(),
        "structure": view.prediction.secondary_structure[rank],
        "atoms": [
            [None if np.isnan(atom).any() else np.round(atom * 100).astype(int).tolist() for atom in residue]
            for residue in atoms
        ],
        "bonds": [_bond_data(bond) for bond in view.prediction.bonds[rank]],
    }


def _bond_data(bond: Bond) -> dict[str, Any]:
    return {"kind": bond.kind, "residues": list(bond.residues), "formed": bond.formed}
