"""Stated bonds that the models make, and disulfide prediction where none are stated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from betafold_mlx.fold.disulfides import DisulfidePattern
from betafold_mlx.geometry.checks import Bond
from betafold_mlx.peptide.sequence import Peptide

KINDS = ("ring", "disulfide")
"""Kinds of `betafold_mlx.geometry.checks.Bond`."""


def bond_figures(bonds: Sequence[Sequence[Sequence[Bond]]]) -> dict[str, dict[str, Any]]:
    """Return how often stated bonds are made, by kind; kinds that no item has are left out.

    `bonds` are, for each item and each of its models (first the judged one), the stated bonds as the coordinates have
    them. Kind -> ``items`` and ``models`` that have such bonds stated, and the share of them in which all are made,
    ``formed_first`` (of the first models, one an item) and ``formed_all`` (of all models).
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


def disulfide_record(peptide: Peptide, ranked: Sequence[DisulfidePattern]) -> dict[str, Any] | None:
    """Compare the disulfides that a model prefers, where none are stated, with the native ones of the peptide.

    None for a peptide without disulfides, or where the model ranks nothing. Else ``cysteines``, ``native`` and
    ``preferred`` disulfides (1-based), the model's ``probability`` of these, the number of ``ways`` that it had,
    whether the native way is one of them (``answerable``: at most one cysteine is free), and whether the
    preferred disulfides are the native ones, all of them (``right``).
    """
    if not peptide.disulfides or not ranked:
        return None
    cysteines, preferred = peptide.sequence.count("C"), ranked[0]
    return {
        "cysteines": cysteines,
        "native": peptide.disulfides,
        "preferred": preferred.disulfides,
        "probability": preferred.probability,
        "ways": count_pairings(cysteines),
        "answerable": cysteines - 2 * len(peptide.disulfides) <= 1,
        "right": set(preferred.disulfides) == set(peptide.disulfides),
    }


def disulfide_figures(records: Sequence[dict[str, Any] | None]) -> dict[str, Any] | None:
    """Return how often the preferred disulfides are the native ones; None where no item was asked.

    ``n``: items whose cysteines can be bonded in more than one way, one of which is native; over these ``right``
    (share whose preferred way is the native one), ``chance`` (mean of 1 / ways) and ``mean_probability`` (what the
    model says of its preferred ways), NaN where n is 0. Left out of them are ``single``, the items with two cysteines,
    and ``unanswerable``, those with more free cysteines than one.
    """
    asked = [record for record in records if record is not None]
    if not asked:
        return None
    single = sum(one["ways"] == 1 for one in asked)
    counted = [one for one in asked if one["ways"] > 1 and one["answerable"]]
    columns = np.array([(one["right"], 1 / one["ways"], one["probability"]) for one in counted])
    right, chance, probability = columns.mean(axis=0) if counted else np.full(3, np.nan)
    return {
        "n": len(counted),
        "right": right,
        "chance": chance,
        "mean_probability": probability,
        "single": single,
        "unanswerable": len(asked) - len(counted) - single,
    }
