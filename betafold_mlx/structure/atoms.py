"""The atoms of a predicted model as structure files have them: which, where, and with which B-factor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from betafold_mlx.structure.components import Monomer


class WrittenModel(NamedTuple):
    """The A atoms of one model, in the order of the file.

    Attributes
    ----------
    positions : list of int
        0-based position of each atom in the chain.
    monomers : list of Monomer
        That position.
    names : list of str
        Of the atoms. The first letter is the element.
    coordinates : list of list of float
        (A, 3) Angstrom, rounded to 0.001, without -0.
    b_factors : list of float
    """

    positions: list[int]
    monomers: list[Monomer]
    names: list[str]
    coordinates: list[list[float]]
    b_factors: list[float]


def written_model(
    chain: Sequence[Monomer], atoms: Sequence[np.ndarray], b_factors: Sequence[float]
) -> WrittenModel:
    """Return the atoms of a model that are written: all but the CB of glycine, and any CB that is NaN.

    Parameters
    ----------
    chain : sequence of Monomer
        Residues, and caps where there are any.
    atoms : sequence of numpy.ndarray
        For each position its atoms (n, 3), Angstrom, as `Monomer.atoms` names them.
    b_factors : sequence of float
        One a position.
    """
    flat = np.concatenate([np.asarray(position, np.float64) for position in atoms])
    places = [(position, monomer, name) for position, monomer in enumerate(chain) for name in monomer.atoms]
    absent = np.isnan(flat).any(axis=1).tolist()
    kept = [
        row
        for row, ((_, monomer, name), nowhere) in enumerate(zip(places, absent, strict=True))
        if name != "CB" or not (nowhere or monomer.letter == "G")
    ]
    positions, found, names = zip(*(places[row] for row in kept), strict=True)
    rounded = np.round(flat[kept], 3) + 0.0  # and no -0
    return WrittenModel(
        list(positions),
        list(found),
        list(names),
        rounded.tolist(),
        [b_factors[position] for position in positions],
    )
