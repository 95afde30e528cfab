"""Flat pictures of a model: its CA trace, seen so that it is longest, and the rows of the sequence picture."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np

from betafold_mlx.geometry.checks import Bond
from betafold_mlx.report.view import PredictionView

_CA = 1
WIDTH, HEIGHT = 480.0, 320.0
_MARGIN = 30.0


_STRUCTURES = {"H": "helix", "E": "strand", "C": "coil"}


def trace_picture(view: PredictionView, rank: int) -> dict[str, Any]:
    """Return the geometry of a model's picture, in pixels.

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


def tracks_picture(view: PredictionView, rank: int) -> dict[str, Any]:
    """Return the rows of a model: ``bonds`` with their lanes, ``depth`` of the lanes, ``runs`` of the structure."""
    bonds = view.prediction.bonds[rank]
    lanes = bond_lanes(bonds)
    return {
        "bonds": list(zip(lanes, bonds, strict=True)),
        "depth": max(lanes, default=-1) + 1,
        "runs": structure_runs(view.prediction.secondary_structure[rank]),
    }


def bond_lanes(bonds: Sequence[Bond]) -> list[int]:
    """Return a lane for each bond, 0 nearest to the sequence, so that no two cross in a lane; short ones lie inside."""
    lanes = [0] * len(bonds)
    taken: list[list[tuple[int, int]]] = []
    order = sorted(range(len(bonds)), key=lambda n: bonds[n].residues[1] - bonds[n].residues[0])
    for n in order:
        i, j = bonds[n].residues
        free = (lane for lane, spans in enumerate(taken) if all(j < a or b < i for a, b in spans))
        # Inside means below: not in a lane under something that it holds.
        inner = max(
            (lane for lane, spans in enumerate(taken) if any(i <= a and b <= j for a, b in spans)), default=-1
        )
        lane = next((lane for lane in free if lane > inner), len(taken))
        if lane == len(taken):
            taken.append([])
        taken[lane].append((i, j))
        lanes[n] = lane
    return lanes


def structure_runs(letters: str) -> list[tuple[str, int, int]]:
    """Return the runs of a secondary structure: kind, first and last residue, from 1.

    >>> structure_runs("CHHHC")
    [('coil', 1, 1), ('helix', 2, 4), ('coil', 5, 5)]
    """
    runs, start = [], 1
    for letter, group in groupby(letters):
        count = len(list(group))
        runs.append((_STRUCTURES[letter], start, start + count - 1))
        start += count
    return runs
