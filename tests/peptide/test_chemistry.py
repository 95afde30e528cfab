"""Stated chemistry: pairs, caps, and the words of FASTA headers."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from betafold_mlx.errors import BetafoldError
from betafold_mlx.peptide.bonds import parse_bond, parse_pair
from betafold_mlx.peptide.end_groups import cap_code
from betafold_mlx.peptide.fasta import parse_fasta
from betafold_mlx.peptide.header_words import header_chemistry
from betafold_mlx.peptide.sequence import Peptide

SETTINGS = settings(derandomize=True, deadline=None, max_examples=200)


def test_parse_pair():
    assert parse_pair(" 3 - 11 ") == (3, 11)
    for text in ("3", "3-", "a-b", "3-4-5", "-3-4", "٣-٤", ""):
        with pytest.raises(BetafoldError, match="I-J"):
            parse_pair(text)


def test_caps_are_known_by_the_names_that_people_give_them():
    assert [cap_code("n", name) for name in ("ace", "ACE", "Ac", "acetyl", "Ac-")] == ["ACE"] * 5
    assert [cap_code("c", name) for name in ("Nh2", "amide", "amidated", "-NH2", "am")] == ["NH2"] * 5
    assert cap_code("c", "NHMe") == cap_code("c", "nme") == "NME"
    assert cap_code("n", None) is cap_code("n", "NONE") is cap_code("n", "H") is cap_code("c", "OH") is None


@pytest.mark.parametrize(
    ("end", "name", "message"),
    [
        ("c", "ACE", "c-cap 'ACE' is not known: write NH2, NME or none"),
        ("n", "", "n-cap '' is not known: write ACE, FOR, MYR, ClAc or none"),
        ("n", "NH2", "n-cap 'NH2' is not known"),
        ("n", "x" * 5000, "n-cap 'x{40}' is"),
        ("n", "biotin", "n-cap 'biotin' is not in the table: leave it out"),
    ],
)
def test_unknown_caps(end, name, message):
    with pytest.raises(BetafoldError, match=message):
        cap_code(end, name)


@pytest.mark.parametrize("caps", [("ACE", None), (None, "NH2")])
def test_a_ring_has_no_ends(caps):
    with pytest.raises(BetafoldError, match="no ends to cap"):
        Peptide.parse("GIGKFLHS", True, (), False, *caps)


NH2, BONDS = {"c_cap": "NH2"}, {"disulfides": [(3, 11)]}


@pytest.mark.parametrize(
    ("words", "stated"),
    [
        ("", {}),
        ("disulfides= cyclic=", {"disulfides": [], "cyclic": True}),
        ("sp|P1|X_Y Magainin OS=Xenopus laevis OX=8355 GN=magainins PE=1 SV=1 type=linear len=23", {}),
        ("zinc RING-finger-like peptide of the spring frog", {}),
        ("Cyclic ALL-D", {"cyclic": True, "d_amino_acids": True}),
        ("all_d=yes n_cap=ACE C-Cap=none", {"d_amino_acids": True, "n_cap": "ACE", "c_cap": "none"}),
        ("cyclic=no all-d=False", {"cyclic": False, "d_amino_acids": False}),
        ("disulfides=1-15,5-19, disulfide=2-3", {"disulfides": [(1, 15), (5, 19), (2, 3)]}),
        ("cyclic, disulfides=3-11", {"cyclic": True} | BONDS),
        ("cyclic,disulfides=3-11,c-cap=NH2", {"cyclic": True} | BONDS | NH2),
        ("cyclic|disulfides=3-11", {"cyclic": True} | BONDS),
        ("SFTI-1; cyclic; disulfide 3-11; amidated", {"cyclic": True} | BONDS | NH2),
        ("ring, ss=3-11", {"cyclic": True} | BONDS),
        ("disulfide bond: 3-11", BONDS),
        ("disulfides: 3-11", BONDS),
        ("disulfide_bridge=C3-C11", BONDS),
        ("disulphide Cys3-Cys11", BONDS),
        ("amidated", NH2),
        ("acetylated, amidated", {"n_cap": "ACE"} | NH2),
        ("n-term=Ac c-terminus=amide", {"n_cap": "Ac", "c_cap": "amide"}),
        ("bond=7:CD-3:NZ residues=5:aib,6:DPN", {"bonds": [parse_bond("3:NZ-7:CD")], "residues": {5: "AIB", 6: "DPN"}}),
        ("head-to-tail", {"cyclic": True}),
    ],
)  # fmt: skip
def test_header_words(words, stated):
    assert header_chemistry(words) == stated


@pytest.mark.parametrize(
    ("words", "passed"),
    [
        ("a peptide about cyclic_things, disulfide bonds and an n-cap", "disulfide"),
        ("amidated magainin", "amidated"),
        ("a ring of six residues", "ring"),
        ("not cyclic", "cyclic"),
        ("a lactam and a macrocycle (stapled).", "lactam, macrocycle, stapled"),
    ],
)
def test_words_that_look_like_chemistry_are_not_dropped_without_a_line(words, passed):
    stated = header_chemistry(words)
    (note,) = stated.pop("notes")
    assert not stated and f"not read as chemistry in the header: {passed};" in note
    (record,) = parse_fasta([f">x {words}", "GRCTKSIPPICFPD"])
    assert record.peptide().notes == (note,)


def test_words_behind_bars_of_the_id_are_read():
    (record,) = parse_fasta([">y|cyclic|disulfides=3-11", "GRCTKSIPPICFPD"])
    assert record.peptide() == Peptide.of("GRCTKSIPPICFPD", True, [(3, 11)])
    (record,) = parse_fasta([">y cyclic, disulfides=3-11", "GRCTKSIPPICFPD"])
    assert record.peptide() == Peptide.of("GRCTKSIPPICFPD", True, [(3, 11)])


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("cyclic=maybe", "'cyclic=maybe' in the header: write cyclic"),
        ("all-d=L", "write all-d"),
        ("ncap=ACE", "is n-cap meant"),
        ("c-kap=NH2", "is c-cap meant"),
        ("alld=yes", "is all-d meant"),
        ("dissulfides=1-15", "is disulfides meant"),
        ("cyclical=true", "is cyclic meant"),
        ("disulfides=1:15", "I-J"),
        ("bond=3-7", "I:ATOM-J:ATOM"),
        ("residues=x:AIB", "position and CCD code"),
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
