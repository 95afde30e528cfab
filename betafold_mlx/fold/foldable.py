"""Peptides that can be read but not folded yet."""

from __future__ import annotations

import numpy as np

from betafold_mlx.errors import BetafoldError
from betafold_mlx.peptide.sequence import Peptide


def unfoldable(peptide: Peptide) -> str | None:
    """Return one line on why a peptide cannot be folded yet, or None."""
    places = set(peptide.modified)
    if peptide.d_residues.any() and not peptide.d_amino_acids:
        places |= {int(place) + 1 for place in np.flatnonzero(peptide.d_residues)}
    parts = [f"{peptide.residues[place - 1]} at {place}" for place in sorted(places)]
    parts += [f"the bond {bond}" for bond in peptide.other_bonds]
    if not parts:
        return None
    return (
        f"cannot fold {', '.join(parts)} yet: only the 20 standard residues, all L or all D, "
        "with a ring and disulfides"
    )


def check_foldable(peptide: Peptide) -> Peptide:
    """Return the peptide.

    Raises
    ------
    BetafoldError
        Where it cannot be folded (`unfoldable`).
    """
    if problem := unfoldable(peptide):
        raise BetafoldError(problem)
    return peptide
