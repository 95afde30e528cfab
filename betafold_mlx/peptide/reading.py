"""What a notation says of a peptide, before it is checked."""

from __future__ import annotations

from dataclasses import dataclass, field

from betafold_mlx.errors import BetafoldError
from betafold_mlx.peptide.bonds import CAP_ATOM, StatedBond
from betafold_mlx.peptide.changes import changed_residue
from betafold_mlx.peptide.names import nearest_name, residue_code
from betafold_mlx.peptide.side_chains import SIDE_CHAIN_ATOMS, side_chain_bond

_DISULFIDES = (
    "",
    "disulfide",
    "xlink:disulfide",
    "x:disulfide",
    "xlmod:02009",
    "x:02009",
    "mod:00034",
    "m:l-cystine",
)
"""How ProForma (HUPO-PSI) names a crosslink that is a disulfide."""


@dataclass
class Reading:
    """Residues as they are read, with what goes with them."""

    residues: list[str] = field(default_factory=list)  # CCD codes
    # CCD codes; empty for an end that is said to be free; None where nothing is said
    n_cap: str | None = None
    c_cap: str | None = None
    cyclic: bool = False  # closed head to tail
    bonds: list[StatedBond] = field(default_factory=list)  # other bonds
    notes: list[str] = field(default_factory=list)  # what could be meant otherwise
    # 1-based positions, and atoms where they are named, that a label like ``(1)`` bonds
    labels: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    lower: list[int] = field(default_factory=list)  # 1-based positions of lower-case letters
    upper: bool = False  # there are upper-case letters

    @property
    def place(self) -> int:
        """1-based position of the next residue."""
        return len(self.residues) + 1

    def add_name(self, name: str) -> None:
        """Add a residue by its name; BetafoldError, with the nearest that is known, for one that is not."""
        try:
            code = residue_code(name)
        except BetafoldError as error:
            raise BetafoldError(f"residue {self.place}: {error}") from error
        if code is None:
            raise BetafoldError(f"residue {self.place}: {name[:40]!r} is not known{nearest_name(name)}")
        self.residues.append(code)

    def add_group(self, group: str) -> None:
        """Take what stands in brackets behind a residue: a label of a bond, a modification of it, or another residue.

        BetafoldError for what is none of these.
        """
        label, _, atom = group.strip().partition(":")
        change, crosslink, number = group.partition("#")
        if label.isascii() and label.isdigit() and len(label) < 3 and self.residues:
            self.labels.setdefault(label, []).append((len(self.residues), atom.strip().upper()))
        elif crosslink and self.residues:  # ProForma: C[XLMOD:02009#XL1] ... C[#XL1]
            if change.strip().lower() not in _DISULFIDES:
                raise BetafoldError(f"residue {len(self.residues)}: the linker {change[:40]!r} is not known")
            self.labels.setdefault(f"#{number.strip()}", []).append((len(self.residues), ""))
        elif self.residues and (new := changed_residue(self.residues[-1], group)):
            self.residues[-1] = new
        elif self.residues and self._unknown(group):
            raise BetafoldError(
                f"{group[:40]!r} behind residue {len(self.residues)} is neither a residue nor a known change of "
                f"{self.residues[-1]}{nearest_name(group)}"
            )
        else:
            self.add_name(group)

    @staticmethod
    def _unknown(name: str) -> bool:
        try:
            return residue_code(name) is None
        except BetafoldError:
            return False

    def bond_labels(self) -> None:
        """Make bonds of the labels; BetafoldError for one that does not stand at two residues."""
        for label, ends in self.labels.items():
            if len(ends) != 2:
                raise BetafoldError(f"label ({label}) must stand at two residues, not {len(ends)}")
            (i, atom_i), (j, atom_j) = ends
            if not i:
                atom_i, atom_j = CAP_ATOM, atom_j or SIDE_CHAIN_ATOMS.get(self.residues[j - 1], "")
            if bool(atom_i) != bool(atom_j):
                raise BetafoldError(f"label ({label}): name both atoms, or none")
            if i == j:
                raise BetafoldError(f"label ({label}): a residue cannot bond to itself")
            bond = (
                StatedBond(i, atom_i, j, atom_j)
                if atom_i
                else side_chain_bond(self.residues, i, j, f"label ({label})")
            )
            self.bonds.append(bond)
        self.labels = {}
