"""Stated chemistry: pairs, caps, and the words of FASTA headers."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from betafold_mlx.errors import BetafoldError
from betafold_mlx.peptide.bonds import parse_pair
from betafold_mlx.peptide.chemistry import checked_caps, header_chemistry
from betafold_mlx.peptide.sequence import Peptide

SETTINGS = settings(derandomize=True, deadline=None, max_examples=200)


def test_parse_pair():
    assert parse_pair(" 3 - 11 ") == (3, 11)
    for text in ("3", "3-", "a-b", "3-4-5", "-3-4", "٣-٤", ""):
        with pytest.raises(BetafoldError, match="I-J"):
            parse_pair(text)


def test_caps_are_known_in_either_case_or_none():
    assert checked_caps("ace", "Nh2", False) == ("ACE", "NH2")
    assert checked_caps(None, "NONE", True) == (None, None)


@pytest.mark.parametrize(
    ("caps", "message"),
    [
        (("acetyl", None), "n-cap 'acetyl' is not known: write ACE or none"),
        ((None, "ACE"), "c-cap 'ACE' is not known: write NH2 or none"),
        (("", None), "n-cap ''"),
        (("x" * 5000, None), "n-cap 'x{40}' is"),
    ],
)
def test_unknown_caps(caps, message):
    with pytest.raises(BetafoldError, match=message):
        checked_caps(*caps, False)


@pytest.mark.parametrize("caps", [("ACE", None), (None, "NH2")])
def test_a_ring_has_no_ends(caps):
    with pytest.raises(BetafoldError, match="no ends to cap"):
        Peptide.parse("GIGKFLHS", True, (), False, *caps)


@pytest.mark.parametrize(
    ("words", "stated"),
    [
        ("", {}),
        ("disulfides= cyclic=", {"disulfides": [], "cyclic": True}),
        ("a peptide about cyclic_things, disulfide bonds and an n-cap", {}),
        ("sp|P1|X_Y Magainin OS=Xenopus laevis OX=8355 GN=magainins PE=1 SV=1 type=linear len=23", {}),
        ("Cyclic ALL-D", {"cyclic": True, "d_amino_acids": True}),
        ("all_d=yes n_cap=ACE C-Cap=none", {"d_amino_acids": True, "n_cap": "ACE", "c_cap": "none"}),
        ("cyclic=no all-d=False", {"cyclic": False, "d_amino_acids": False}),
        ("disulfides=1-15,5-19, disulfide=2-3", {"disulfides": [(1, 15), (5, 19), (2, 3)]}),
    ],
)
def test_header_words(words, stated):
    assert header_chemistry(words) == stated


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("cyclic=maybe", "'cyclic=maybe' in the header: write cyclic"),
        ("all-d=L", "write all-d"),
        ("ncap=ACE", "is n-cap meant"),
        ("c-kap=NH2", "is c-cap meant"),
        ("alld=yes", "is all-d meant"),
        ("disulphides=1-15", "is disulfides meant"),
        ("cyclical=true", "is cyclic meant"),
        ("disulfides=1:15", "I-J"),
    ],
)
def test_a_slip_in_a_header_does_not_fold_another_molecule(word, message):
    with pytest.raises(BetafoldError, match=message):
        header_chemistry(f"some {word} words")


@SETTINGS
@given(st.text(max_size=80))
def test_any_header_is_read_or_refused_in_one_line(text):
    try:
        header_chemistry(text)
    except BetafoldError as error:
        assert len(str(error).splitlines()) == 1


@pytest.mark.parametrize("hand", [False, True])
@pytest.mark.parametrize("pairs", [(), ((1, 6), (3, 12))])
@pytest.mark.parametrize(
    "ends", [(True, None, None), *itertools.product([False], [None, "ACE"], [None, "NH2"])]
)
def test_a_peptide_tells_its_chemistry_as_headers_do(hand, pairs, ends):
    cyclic, n_cap, c_cap = ends
    peptide = Peptide.parse("CGCGCCGGGGGC", cyclic, pairs, hand, n_cap, c_cap)
    assert Peptide.parse(peptide.sequence, **header_chemistry(peptide.chemistry)) == peptide
    assert (peptide.chemistry == "") == (peptide == Peptide.of(peptide.sequence))
