"""The atoms of a PDB file and what frames them."""

from __future__ import annotations

from collections.abc import Sequence

from betafold_mlx.structure.atoms import WrittenModel
from betafold_mlx.structure.components import CHAIN

_CRYST1 = "CRYST1    1.000    1.000    1.000  90.00  90.00  90.00 P 1"
"""What the format asks for where there is no crystal."""


def pdb_atoms(models: Sequence[WrittenModel]) -> str:
    """Return CRYST1, ATOM, HETATM and TER records, in MODEL and ENDMDL where there are several models, and END.

    Returns
    -------
    str
        Lines of 80 characters.
    """
    lines = [_CRYST1]
    for number, model in enumerate(models, start=1):
        if len(models) > 1:
            lines.append(f"MODEL     {number:>4}")
        lines += _atom_lines(model)
        last = model.monomers[-1]
        lines.append(f"TER   {len(model.names) + 1:>5}      {last.name:>3} {CHAIN}{last.number:>4}")
        if len(models) > 1:
            lines.append("ENDMDL")
    lines.append("END")
    return "".join(f"{line:<80}\n" for line in lines)


def _atom_lines(model: WrittenModel) -> list[str]:
    rows = zip(model.monomers, model.names, model.coordinates, model.b_factors, strict=True)
    return [
        f"{'ATOM' if monomer.standard else 'HETATM':<6}{serial:>5}  {name:<3} {monomer.name:>3} {CHAIN}"
        f"{monomer.number:>4}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00{b_factor:6.2f}          {name[0]:>2}"
        for serial, (monomer, name, (x, y, z), b_factor) in enumerate(rows, start=1)
    ]
