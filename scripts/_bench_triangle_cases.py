"""What the section `triangle` of ``scripts/bench`` measures."""

from __future__ import annotations

from typing import NamedTuple

from betafold_mlx.model.config import TRIANGLES

ATTENTION, UPDATE, GRADIENT, STRUCTURE, STRUCTURE_GRADIENT = (
    "attention",
    "updates of a block",
    "updates of a block, with gradient",
    "heads and structure",
    "heads and structure, with gradient",
)
UNBIASED = "additive without bias"
FLOAT, HALF = "float32", "bfloat16"

LENGTHS, WIDTHS = (32, 64, 128, 256), (32, 64, 128)
LONGEST = 512  # of what never holds n^3 numbers
QUICK_LENGTHS, QUICK_WIDTHS = (32, 64, 128), (32,)
PEPTIDE = 32  # residues at which training and precision are measured
WIDEST = 256  # of an update with gradient: how cost grows with width


class Case(NamedTuple):
    """One measurement.

    Attributes
    ----------
    what : str
        ``attention``: a form alone, from queries to what is attended to; ``updates of a block``: all that a block does
        to the pairs; ``heads and structure``: from the trunk's states to a backbone and its loss; ``with gradient``:
        forth and back.
    form : str
        Form of triangle attention; nothing for what has none.
    length, width : int
        Residues, and channels of a pair (of a residue, for heads and structure).
    dtype : str
        What it is computed in.
    """

    what: str
    form: str
    length: int
    width: int
    dtype: str = FLOAT


def cases(quick: bool) -> list[Case]:
    """Return all measurements, short ones first."""
    lengths, widths = (QUICK_LENGTHS, QUICK_WIDTHS) if quick else (LENGTHS, WIDTHS)
    found = [
        Case(what, form, n, width)
        for n in lengths
        for width in widths
        for what, forms in ((ATTENTION, (*TRIANGLES, UNBIASED)), (UPDATE, TRIANGLES))
        for form in forms
    ]
    found += [Case(GRADIENT, form, PEPTIDE, width) for width in widths for form in TRIANGLES]
    found += [Case(what, "gated", PEPTIDE, w, HALF) for w in widths for what in (UPDATE, GRADIENT)]
    if not quick:
        found.append(Case(GRADIENT, "gated", PEPTIDE, WIDEST))
        found += [
            Case(ATTENTION, form, LONGEST, w) for w in widths for form in ("additive", "gated", UNBIASED)
        ]
    found += [Case(what, "", PEPTIDE, RESIDUE_WIDTH) for what in (STRUCTURE, STRUCTURE_GRADIENT)]
    return found


RESIDUE_WIDTH = 320
"""Width of a residue's state in the default network."""
