"""The rows of the sequence picture: lanes of the bonds, runs of the secondary structure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from betafold_mlx.geometry.checks import Bond
from betafold_mlx.report.view import PredictionView

_STRUCTURES = {"H": "helix", "E": "strand", "C": "coil"}


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
