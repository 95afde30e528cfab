"""One peptide: residues by CCD codes, caps and bonds."""

import numpy as np
import pytest

from betafold_mlx.errors import BetafoldError
from betafold_mlx.fold.foldable import unfoldable
from betafold_mlx.peptide.bonds import StatedBond, parse_bond
from betafold_mlx.peptide.header_words import header_chemistry
from betafold_mlx.peptide.residue_table import RESIDUES
from betafold_mlx.peptide.sequence import ALPHABET, D_THREE_LETTER, THREE_LETTER, Peptide


def test_a_ring_and_a_disulfide_are_bonds_between_named_atoms():
    peptide = Peptide.parse("GRCTKSIPPICFPD", cyclic=True, disulfides=[(11, 3)])
    assert peptide.bonds == (StatedBond(1, "N", 14, "C"), StatedBond(3, "SG", 11, "SG"))
    assert peptide.cyclic and peptide.disulfides == ((3, 11),) and peptide.other_bonds == ()
    assert peptide.residues[:3] == ("GLY", "ARG", "CYS")
    open_ring = peptide.with_disulfides(())
    assert open_ring.bonds == (StatedBond(1, "N", 14, "C"),) and len(open_ring) == 14


def test_a_disulfide_of_the_ends_does_not_close_the_backbone():
    peptide = Peptide.parse("CGKFLC", disulfides=[(1, 6)])
    assert not peptide.cyclic and peptide.disulfides == ((1, 6),)


def test_a_lactam_is_no_peptide_bond():
    peptide = Peptide.parse("KGFLGD", bonds=[parse_bond("6:CG-1:NZ")])
    assert not peptide.cyclic and peptide.other_bonds == (StatedBond(1, "NZ", 6, "CG"),)
    assert unfoldable(peptide) is None


def test_hands():
    mixed = Peptide(("ALA", "DPN", "GLY", "AIB"))
    assert mixed.sequence == "AFGA" and mixed.d_residues.tolist() == [False, True, False, False]
    assert not mixed.d_amino_acids and mixed.modified == (4,)
    assert unfoldable(mixed) is None
    mirror = Peptide.parse("GKFL", d_amino_acids=True)
    assert mirror.residues == ("GLY", "DLY", "DPN", "DLE") and mirror.d_amino_acids
    assert unfoldable(mirror) is None
    assert not Peptide.parse("GGGG", d_amino_acids=True).d_amino_acids  # glycine has no hand
    assert np.array_equal(mirror.ids, Peptide.of("GKFL").ids)


def test_letters_are_no_residues():
    with pytest.raises(TypeError, match=r"Peptide\.of"):
        Peptide("GIGK")


@pytest.mark.parametrize(
    ("bonds", "message"),
    [
        (["1:NZ-9:CG"], "from 1 to 6"),
        (["2:N-6:CG"], "N of residue 2 is already bonded to its neighbour in the chain"),
        (["1:NZ-6:CG", "1:NZ-4:CG"], r"NZ of residue 1 is already bonded to another residue \(1:NZ-4:CG\)"),
        (["1:NZ-1:CG"], "itself"),
    ],
)
def test_impossible_bonds(bonds, message):
    with pytest.raises(BetafoldError, match=message):
        Peptide.parse("KGFDGD", bonds=[parse_bond(bond) for bond in bonds])


@pytest.mark.parametrize("text", ["", "1-6", "1:NZ", "1:NZ-6", "1:NZZZZ-6:CG", "x:NZ-6:CG"])
def test_bonds_of_another_form(text):
    with pytest.raises(BetafoldError, match="I:ATOM-J:ATOM"):
        parse_bond(text)


@pytest.mark.parametrize(
    "peptide",
    [
        Peptide(("LYS", "DPN", "AIB", "ASP"), "ACE", "NH2", (StatedBond(1, "NZ", 4, "CG"),)),
        Peptide(("DAL", "DNE", "GLY", "DPN")),
        Peptide(("DAL", "GLY", "PCA", "DPN")),
        Peptide(("ALA", "GLY", "AIB", "DPN"), bonds=(StatedBond(1, "N", 4, "C"),)),
    ],
)
def test_chemistry_is_all_that_the_letters_do_not_show(peptide):
    assert Peptide.parse(peptide.sequence, **header_chemistry(peptide.chemistry)) == peptide


def test_the_twenty_and_their_d_forms_are_known():
    for letter in ALPHABET:
        assert RESIDUES[THREE_LETTER[letter]].parent == RESIDUES[D_THREE_LETTER[letter]].parent == letter
    assert RESIDUES["GLY"].hand == "" and RESIDUES["DPN"].hand == "D"
