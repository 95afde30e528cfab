"""Peptides that can be read but not folded."""

from __future__ import annotations

from betafold_mlx.errors import BetafoldError
from betafold_mlx.peptide.sequence import Peptide

BETA = ("BAL",)
"""Residues with one more atom in their backbone."""


def unfoldable(peptide: Peptide) -> str | None:
    """Return one line on why a peptide cannot be folded, or None."""
    for place, code in enumerate(peptide.residues, start=1):
        if code in BETA:
            return (
                f"cannot fold {code} at {place}: its backbone has one more atom than that of an alpha residue"
            )
    return None


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
