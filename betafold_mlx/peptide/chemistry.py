"""Stated chemistry of a peptide: its arguments and its caps."""

from __future__ import annotations

from typing import TypedDict

from betafold_mlx.peptide.bonds import StatedBond

N_CAPS, C_CAPS = ("ACE", "FOR", "MYR", "ClAc"), ("NH2", "NME")
"""Terminal caps that are placed in structures, by their names in the wwPDB Chemical Component Dictionary, and
chloroacetyl, which is ACE with a bond to a cysteine."""

NO_CAP = "none"
"""What stands for a free end."""


class Chemistry(TypedDict, total=False):
    """What may be stated of a peptide: the arguments of `betafold_mlx.peptide.sequence.Peptide.parse`."""

    cyclic: bool
    disulfides: list[tuple[int, int]]
    d_amino_acids: bool
    n_cap: str
    c_cap: str
    bonds: list[StatedBond]
    residues: dict[int, str]
    notes: list[str]
