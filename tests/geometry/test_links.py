"""The geometry of stated bonds beside what other parts of the package know of the same bonds."""

import numpy as np
import pytest

from betafold_mlx.fold.restraints import ring_distances
from betafold_mlx.geometry import ideal
from betafold_mlx.geometry.checks import measure_links
from betafold_mlx.geometry.disulfides import ACROSS, SG_SG
from betafold_mlx.geometry.links import link_reach, link_terms, misfits
from betafold_mlx.peptide.bonds import StatedBond, disulfide_bond, ring_bond
from betafold_mlx.peptide.sequence import ALPHABET, Peptide


def distances(peptide, bond):
    return {frozenset(term.atoms): term for term in link_terms(peptide, bond) if len(term.atoms) == 2}


def test_the_bond_of_a_ring_is_a_peptide_bond():
    peptide = Peptide.of("AGFA", cyclic=True)
    found = distances(peptide, ring_bond(4))
    pairs = (("C", "N"), ("CA", "N"), ("C", "CA"), ("CA", "CA"))
    a = ALPHABET.index("A")
    for (last, first), wanted in zip(pairs, ring_distances(a, a), strict=True):
        assert found[frozenset(((4, last), (1, first)))].low == pytest.approx(wanted, abs=0.01)
    o = found[frozenset(((4, "O"), (1, "N")))].low
    c_o, c_n = ideal.C_O[a], ideal.C_N[a]
    assert o == pytest.approx(np.sqrt(c_o**2 + c_n**2 - 2 * c_o * c_n * np.cos(ideal.O_C_N[a, 0])), abs=0.01)


def test_a_disulfide_is_that_of_the_other_closing():
    peptide = Peptide.of("CAAC", disulfides=((1, 4),))
    found = distances(peptide, disulfide_bond(1, 4))
    assert found[frozenset(((1, "SG"), (4, "SG")))].low == pytest.approx(SG_SG)
    for pair in (((1, "CB"), (4, "SG")), ((4, "CB"), (1, "SG"))):
        assert found[frozenset(pair)].low == pytest.approx(ACROSS)


@pytest.mark.parametrize(
    ("text", "bond", "length"),
    [
        ("AKAAAEA", StatedBond(2, "NZ", 6, "CD"), 1.33),  # amide
        ("ASAAAEA", StatedBond(2, "OG", 6, "CD"), 1.336),  # ester
        ("ACAAAEA", StatedBond(2, "SG", 6, "CD"), 1.762),  # thioester
        ("ACAAAAA", StatedBond(2, "SG", 6, "CB"), 1.819),  # thioether
        ("AAAAAAA", StatedBond(2, "CB", 6, "CB"), 1.53),
        ("ASAAASA", StatedBond(2, "OG", 6, "OG"), 1.32),  # by covalent radii
    ],
)
def test_lengths_by_kind(text, bond, length):
    assert link_terms(Peptide.parse(text, bonds=[bond]), bond)[0].low == pytest.approx(length)


def test_what_leaves_has_no_terms():
    bond = StatedBond(2, "NZ", 6, "CD")
    named = {atom for term in link_terms(Peptide.parse("AKAAAEA", bonds=[bond]), bond) for atom in term.atoms}
    assert (6, "OE1") in named and (6, "OE2") not in named


def test_reach_is_the_longest_extended_chain_between_two_ca():
    lactam = StatedBond(2, "NZ", 6, "CD")
    assert link_reach(Peptide.parse("AKAAAEA", bonds=[lactam]), lactam) == pytest.approx(9 * 1.27)
    assert link_reach(Peptide.of("AGFA", cyclic=True), ring_bond(4)) == pytest.approx(3 * 1.27)


def test_misfits_are_zero_within_a_range_and_count_beyond_it():
    bond = StatedBond(2, "CB", 6, "CB")
    (length, *_) = link_terms(Peptide.parse("AAAAAAA", bonds=[bond]), bond)
    at = np.array([1.53, 1.40, 1.73])
    points = {(2, "CB"): np.zeros((3, 3)), (6, "CB"): np.stack([at, 0 * at, 0 * at], axis=-1)}
    np.testing.assert_allclose(misfits([length], points)[:, 0], [0, -0.13, 0.2], atol=1e-9)


def test_a_bond_that_is_far_from_made_is_described():
    bond = StatedBond(1, "CB", 4, "CB")
    peptide = Peptide.parse("AAAA", bonds=[bond])
    backbone = np.zeros((1, 4, 5, 3))
    backbone[0, :, 1:3] = [[0, 1.5, 0], [1.5, 1.5, 0]]
    backbone[0, 3] += 9.0
    ((measured,),) = measure_links(peptide, backbone, np.full((1, 4, 1), np.nan))
    assert not measured.formed and measured.distance == pytest.approx(9 * np.sqrt(3), abs=2e-3)
    assert measured.describe() == "bond 1:CB-4:CB, 15.59 A, wanted 1.51 to 1.55"
