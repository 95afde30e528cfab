"""The flat picture of a model: its CA trace along the two directions in which it is longest."""

from __future__ import annotations

from typing import Any

import numpy as np

from betafold_mlx.report.view import PredictionView

_CA = 1
WIDTH, HEIGHT = 480.0, 320.0
_MARGIN = 30.0


def trace_picture(view: PredictionView, rank: int) -> dict[str, Any]:
    """Return the geometry of a model's picture, in pixels.

    Returns
    -------
    dict
        ``places``, (L, 2) of the residues; ``scale``, pixels an Angstrom, the same for all models; ``drawn``, lines and
        residues in painter's order, each with a residue ``index`` or the ends, class and title of a line.
    """
    ca = view.coordinates[rank, :, _CA]
    places, scale = _places(view, ca)
    depth = ca[:, 2]

    def line(i: int, j: int, class_: str, title: str = "") -> tuple[float, dict[str, Any]]:
        behind = min(depth[i], depth[j]) - 0.1
        return behind, {"start": places[i], "end": places[j], "class": class_, "title": title}

    drawn = [line(i, i + 1, "chain") for i in range(len(ca) - 1)]
    for bond in view.prediction.bonds[rank]:
        i, j = (place - 1 for place in bond.residues)
        name = "ring" if bond.kind == "ring" else "bridge"
        drawn.append(line(i, j, name if bond.formed else f"{name} unmade", bond.describe()))
    drawn += [(depth[i], {"index": i}) for i in range(len(ca))]
    drawn.sort(key=lambda item: item[0])
    return {"places": places, "scale": scale, "drawn": [item for _, item in drawn]}


def _places(view: PredictionView, ca: np.ndarray) -> tuple[list[list[float]], float]:
    every = view.coordinates[:, :, _CA, :2]
    low, high = every.min(axis=(0, 1)), every.max(axis=(0, 1))
    room = np.array([WIDTH, HEIGHT]) - 2 * _MARGIN
    scale = float(min((room / np.maximum(high - low, 1.0)).min(), 30.0))
    flat = (ca[:, :2] - (low + high) / 2) * scale * [1.0, -1.0]  # up in space is up in the picture
    return (flat + np.array([WIDTH / 2, HEIGHT / 2])).tolist(), scale
