"""Read a peptide from text in any notation, with what is stated beside it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from betafold_mlx.errors import BetafoldError
from betafold_mlx.peptide.bonds import (
    StatedBond,
    checked_bonds,
    checked_disulfides,
    disulfide_bond,
    ring_bond,
)
from betafold_mlx.peptide.cap_bonds import bond_chloroacetyl
from betafold_mlx.peptide.end_groups import CHLOROACETYL, cap_code
from betafold_mlx.peptide.linear import read_linear
from betafold_mlx.peptide.names import d_form
from betafold_mlx.peptide.reading import Reading
from betafold_mlx.peptide.residue_table import RESIDUES
from betafold_mlx.peptide.sequence import MAX_LENGTH, MIN_LENGTH, Peptide

_LONGEST_TEXT = 4000
"""Characters: 50 residues with long names and bonds take less than half."""


def read_peptide(
    text: str,
    *,
    cyclic: bool = False,
    disulfides: Iterable[tuple[int, int]] = (),
    d_amino_acids: bool = False,
    n_cap: str | None = None,
    c_cap: str | None = None,
    bonds: Iterable[StatedBond] = (),
    residues: Mapping[int, str] | None = None,
    notes: Iterable[str] = (),
) -> Peptide:
    """Read and check a peptide: see `betafold_mlx.peptide.sequence.Peptide.parse`."""
    reading = _read(text, d_amino_acids)
    codes = reading.residues
    if not MIN_LENGTH <= len(codes) <= MAX_LENGTH:
        count = "1 residue" if len(codes) == 1 else f"{len(codes)} residues"
        raise BetafoldError(f"{count}: a peptide has {MIN_LENGTH} to {MAX_LENGTH} residues here")
    if d_amino_acids:
        _mirror(codes)
    for place, code in (residues or {}).items():
        if not 1 <= place <= len(codes):
            raise BetafoldError(f"residue {place} {code[:20]}: positions run from 1 to {len(codes)}")
        if code not in RESIDUES:
            raise BetafoldError(f"residue {place}: {code[:20]!r} is not a known residue")
        codes[place - 1] = code
    cyclic = cyclic or reading.cyclic
    n_cap, c_cap = _cap("n", reading.n_cap, n_cap), _cap("c", reading.c_cap, c_cap)
    if cyclic and (n_cap or c_cap):
        raise BetafoldError("a cyclic peptide has no ends to cap: leave out n-cap and c-cap, or cyclic")
    stated = [disulfide_bond(i, j) for i, j in checked_disulfides(codes, disulfides)]
    stated += [ring_bond(len(codes))] if cyclic else []
    stated += [*reading.bonds, *bonds]
    said = [*notes, *reading.notes]
    if n_cap == CHLOROACETYL:
        n_cap = "ACE"
        if all(bond.i for bond in stated):
            bond, note = bond_chloroacetyl(codes, stated)
            stated.append(bond)
            said.append(note)
    return Peptide(tuple(codes), n_cap, c_cap, checked_bonds(codes, n_cap, c_cap, stated), tuple(said))


def _read(text: str, d_amino_acids: bool) -> Reading:
    """Return what a text says, in whichever notation it is."""
    if len(text) > _LONGEST_TEXT:
        raise BetafoldError(
            f"{len(text)} characters: a peptide has {MIN_LENGTH} to {MAX_LENGTH} residues here"
        )
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise BetafoldError("the sequence is empty")
    if re.match(r"(?i)\s*(PEPTIDE|RNA|CHEM|BLOB)\d+\s*\{", text):
        from betafold_mlx.peptide.helm import read_helm  # rare

        return read_helm(text)
    if len(lines) > 1:
        raise BetafoldError(
            f"{len(lines)} lines: write one peptide on one line, and several as FASTA records"
        )
    return read_linear(text, d_amino_acids)


def _mirror(codes: list[str]) -> None:
    """Make all residues D; BetafoldError where some are stated as D already, or have no D form in the table."""
    for place, code in enumerate(codes, start=1):
        if RESIDUES[code].hand == "D":
            raise BetafoldError(
                f"all residues are stated as D, and residue {place} is written as D itself: state one of the two"
            )
        form = d_form(code)
        if form is None:
            raise BetafoldError(f"residue {place}: the D form of {code} is not in the table")
        codes[place - 1] = form


def _cap(end: str, read: str | None, stated: str | None) -> str | None:
    """Return the cap of an end, which the text and what stands beside it must not state differently."""
    code = cap_code(end, stated)
    if read is None:
        return code
    if stated is not None and code is not None and code != (read or None):
        raise BetafoldError(
            f"the {end}-cap is {read or 'none'} in the sequence, and {code} is stated beside it"
        )
    return read or None
