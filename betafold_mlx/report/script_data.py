"""The numbers that the report's script reads, inside the page."""

from __future__ import annotations

import base64
import json
from itertools import islice
from typing import Any

import numpy as np
from markupsafe import Markup

from betafold_mlx.peptide.residue_table import RESIDUES
from betafold_mlx.report.bands import BANDS
from betafold_mlx.report.view import PredictionView


def script_data(view: PredictionView) -> Markup:
    """Return what the script needs, as JSON that cannot end its element."""
    prediction, details = view.prediction, view.prediction.details
    document = {
        "sequence": prediction.sequence,
        "names": [residue.name for residue in view.residues[0]],
        "atoms": prediction.names,
        "elements": [
            [RESIDUES[code].elements.get(atom, "O") for atom in names]
            for code, names in zip(prediction.peptide.residues, prediction.names, strict=True)
        ],
        "chain_bonds": _chain_bonds(view),
        "bands": [[band.lowest, band.colour, band.name] for band in BANDS],
        "models": [_model_data(view, rank) for rank in view.ranks],
        "distance": None if details is None else _tenths(details.distance),
        "deviation": None if details is None else _tenths(details.deviation),
        "attention": None if details is None else _packed(details.attention),
        "heads": 0 if details is None else details.attention.shape[1],
    }
    return Markup(json.dumps(document, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"))


def _tenths(matrix: np.ndarray) -> list[list[int | None]]:
    """Return Angstroms in tenths, null where there is no number."""
    return [[None if np.isnan(value) else round(float(value) * 10) for value in row] for row in matrix]


def _packed(weights: np.ndarray) -> str:
    """Return attention weights in 255ths, as base64 of bytes in the order of the array."""
    return base64.b64encode(np.clip(np.round(weights * 255.0), 0, 255).astype(np.uint8).tobytes()).decode()


def _chain_bonds(view: PredictionView) -> list[list[int]]:
    """Return the bonds of the chain: two atoms, counted from 0 through all residues, and the order.

    The stated bonds are not among them: not every model has them.
    """
    residues, names = view.prediction.peptide.residues, view.prediction.names
    number: dict[tuple[int, str], int] = {}
    for place, of_residue in enumerate(names):
        for atom in of_residue:
            number[place, atom] = len(number)
    bonds = [
        ((place, first), (place, second), order)
        for place, code in enumerate(residues)
        for first, second, order in (*RESIDUES[code].bonds, ("C", "OXT", 1))
    ]
    bonds += [((place, "C"), (place + 1, "N"), 1) for place in range(len(residues) - 1)]
    return [[number[a], number[b], order] for a, b, order in bonds if a in number and b in number]


def _model_data(view: PredictionView, rank: int) -> dict[str, Any]:
    """Return a model: the atoms of each residue in hundredths of an Angstrom, and its stated bonds."""
    hundredths = np.round(view.atoms[rank] * 100).astype(int).tolist()
    rows = iter(hundredths)
    return {
        "plddt": np.round(view.prediction.plddt[rank].astype(float), 1).tolist(),
        "structure": view.prediction.secondary_structure[rank],
        "atoms": [list(islice(rows, len(names))) for names in view.prediction.names],
        "bonds": [
            {"kind": bond.kind, "residues": list(bond.residues), "formed": bond.formed}
            for bond in view.prediction.bonds[rank]
        ],
    }
