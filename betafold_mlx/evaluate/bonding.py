"""Rings and disulfides: whether stated bonds are made, and whether unstated disulfides are found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from betafold_mlx.fold.disulfides import DisulfidePattern
from betafold_mlx.geometry.closure import Bond
from betafold_mlx.peptide.chemistry import Disulfides
from betafold_mlx.peptide.sequence import Peptide

KINDS = ("ring", "disulfide")
"""Kinds of `betafold_mlx.geometry.closure.Bond`."""


def bond_figures(bonds: Sequence[Sequence[Sequence[Bond]]]) -> dict[str, dict[str, Any]]:
    """Return how often stated bonds are made, by kind.

    Parameters
    ----------
    bonds : sequence of sequence of sequence of Bond
        For each item, for each of its models (first the judged one), the stated bonds as the coordinates have them.

    Returns
    -------
    dict
        ``ring`` and ``disulfide``, where any item has one -> ``items`` and ``models`` that have such bonds stated, and
        the share of them in which all are made, ``formed_first`` (of the first models, one an item) and
        ``formed_all`` (of all models).
    """
    figures = {}
    for kind in KINDS:
        made = [
            [all(bond.formed for bond in model if bond.kind == kind) for model in models]
            for models in bonds
            if any(bond.kind == kind for bond in models[0])
        ]
        if made:
            every = [formed for models in made for formed in models]
            figures[kind] = {
                "items": len(made),
                "models": len(every),
                "formed_first": float(np.mean([models[0] for models in made])),
                "formed_all": float(np.mean(every)),
            }
    return figures


def count_pairings(cysteines: int) -> int:
    """Return in how many ways cysteines can be paired, all of them, or all but one where their number is odd.

    (n - 1)!! for even n, and n times that of n - 1 for odd n; 1 for none or one.
    """
    if cysteines % 2:
        return cysteines * count_pairings(cysteines - 1)
    return math.prod(range(1, cysteines, 2))


@dataclass(frozen=True)
class PreferredPairing:
    """The disulfides that a model prefers for a peptide of which it was told none.

    Attributes
    ----------
    cysteines : int
        Number of cysteines of the peptide.
    native : tuple of (int, int)
        1-based disulfides of the experimental structure.
    preferred : tuple of (int, int)
        The model's.
    probability : float
        How sure the model is, 0 to 1, given that all cysteines (but one of an odd number) are bonded.
    """

    cysteines: int
    native: Disulfides
    preferred: Disulfides
    probability: float

    @property
    def ways(self) -> int:
        """Number of ways that the model had."""
        return count_pairings(self.cysteines)

    @property
    def answerable(self) -> bool:
        """Whether the native way is one of them: at most one cysteine is free."""
        return self.cysteines - 2 * len(self.native) <= 1

    @property
    def right(self) -> bool:
        """Whether the preferred disulfides are the native ones, all of them."""
        return set(self.preferred) == set(self.native)


def preferred_pairing(peptide: Peptide, patterns: Sequence[DisulfidePattern]) -> PreferredPairing | None:
    """Set what a model prefers beside the truth.

    Parameters
    ----------
    peptide : Peptide
        With its native disulfides.
    patterns : sequence of DisulfidePattern
        The model's ranking, best first, made without being told of any.

    Returns
    -------
    PreferredPairing or None
        None for a peptide without disulfides, or where the model ranks nothing.
    """
    if not peptide.disulfides or not patterns:
        return None
    first = patterns[0]
    return PreferredPairing(
        peptide.sequence.count("C"), peptide.disulfides, first.disulfides, first.probability
    )


def pairing_figures(pairings: Sequence[PreferredPairing | None]) -> dict[str, Any] | None:
    """Return how often the preferred disulfides are the native ones.

    Parameters
    ----------
    pairings : sequence of PreferredPairing or None
        One an item.

    Returns
    -------
    dict or None
        None where no item was asked. ``n``: items whose cysteines can be bonded in more than one way, one of which is
        native; over these ``right`` (share whose preferred way is the native one), ``chance`` (mean of 1 / ways) and
        ``mean_probability`` (what the model says of its preferred ways), NaN where n is 0. Left out of them are
        ``single``, the items with two cysteines, and ``unanswerable``, those with more free cysteines than one.
    """
    asked = [pairing for pairing in pairings if pairing is not None]
    if not asked:
        return None
    single = sum(pairing.ways == 1 for pairing in asked)
    counted = [pairing for pairing in asked if pairing.ways > 1 and pairing.answerable]
    columns = np.array([(one.right, 1 / one.ways, one.probability) for one in counted]).reshape(-1, 3)
    right, chance, probability = columns.mean(axis=0) if counted else np.full(3, np.nan)
    return {
        "n": len(counted),
        "right": right,
        "chance": chance,
        "mean_probability": probability,
        "single": single,
        "unanswerable": len(asked) - len(counted) - single,
    }
