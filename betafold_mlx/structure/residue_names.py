"""Names that programs of molecular dynamics give the standard residues and their atoms in structure files."""

from __future__ import annotations

from functools import cache

from betafold_mlx.peptide.sequence import THREE_LETTER

_SAME = {
    "MET": "MSE",  # selenomethionine, in crystals for phasing
    # Protonation states and disulfide cysteine: AMBER, CHARMM, GROMOS and OPLS.
    "HIS": "HID HIE HIP HSD HSE HSP HISA HISB HISD HISE HISH HIS1 HIS2 HISP",
    "CYS": "CYX CYM CYS1 CYS2 CYSH CYSX",
    "ASP": "ASH ASPH ASPP",
    "GLU": "GLH GLUH GLUP",
    "LYS": "LYN LYSH LSN",
    "ARG": "ARN ARGN",
    "TYR": "TYM",
}
"""Standard residue, and names that stand for it: the same backbone and side chain, but for Se or a proton."""

OXYGENS = ("OT1", "O1", "OT", "OC1", "OXT", "OT2", "O2", "OC2")
"""Names of the oxygens of a C terminus, of which one stands for O where a file has none: CHARMM, GROMACS, GROMOS."""


@cache
def same_residues() -> dict[str, str]:
    """Return the names that stand for standard residues, and these."""
    same = {other: name for name, others in _SAME.items() for other in others.split()}
    known = same | {name: name for name in THREE_LETTER.values()}
    ends = {f"{end}{other}": name for other, name in known.items() for end in "NC" if len(other) == 3}
    return {**ends, **same}  # AMBER's NGLY and CGLY: the ends of a chain


def standard_name(name: str) -> str | None:
    """Return the standard residue that a name stands for, None where it is no such name."""
    return same_residues().get(name)
