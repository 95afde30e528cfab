"""What leaves when a bond is made, and whether a chain ends in a carboxylate."""

import pytest

from betafold_mlx.peptide.bonds import StatedBond
from betafold_mlx.peptide.leaving import leaving_atoms, open_end
from betafold_mlx.peptide.sequence import Peptide


@pytest.mark.parametrize(
    ("bond", "leaving"),
    [
        (StatedBond(2, "SG", 4, "SG"), set()),
        (StatedBond(1, "NZ", 3, "CD"), {(3, "OE2")}),
        (StatedBond(1, "NZ", 5, "CG"), {(5, "OD2")}),
        (StatedBond(1, "NZ", 6, "CG"), {(6, "ND2")}),
        (StatedBond(1, "NZ", 8, "C"), {(8, "OXT")}),
        (StatedBond(1, "N", 8, "C"), {(8, "OXT")}),
        (StatedBond(2, "SG", 7, "CB"), set()),
        (StatedBond(3, "CD", 7, "OG"), {(3, "OE2")}),
    ],
)
def test_an_atom_without_hydrogens_gives_its_hydroxyl_or_amine(bond, leaving):
    peptide = Peptide(("LYS", "CYS", "GLU", "CYS", "ASP", "ASN", "SER", "ALA"), bonds=(bond,))
    assert leaving_atoms(peptide) == leaving
    assert open_end(peptide) == ((8, "OXT") not in leaving)


def test_a_cap_leaves_no_open_end():
    assert open_end(Peptide.of("AAAA")) and open_end(Peptide.of("AAAA", n_cap="ACE"))
    assert not open_end(Peptide.of("AAAA", c_cap="NH2")) and not open_end(Peptide.of("AAAA", cyclic=True))
