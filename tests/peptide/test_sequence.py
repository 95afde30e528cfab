import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from betafold_mlx.errors import BetafoldError
from betafold_mlx.peptide.sequence import (
    ALPHABET,
    THREE_LETTER,
    Peptide,
    residue_ids,
)

SETTINGS = settings(derandomize=True, deadline=None, max_examples=200)
sequences = st.text(alphabet=ALPHABET, min_size=4, max_size=32)


def test_the_alphabet_is_the_twenty_standard_residues():
    import gemmi

    assert len(ALPHABET) == 20 and sorted(ALPHABET) == list(ALPHABET)
    for letter, name in THREE_LETTER.items():
        assert gemmi.find_tabulated_residue(name).one_letter_code == letter


@SETTINGS
@given(sequences, st.randoms(use_true_random=False))
def test_spaces_are_ignored_and_so_is_case_where_all_are_lower(sequence, random):
    messy = "".join(random.choice(["", " ", "\t"]) + letter for letter in sequence)
    assert Peptide.parse(messy) == Peptide.parse(messy.lower()) == Peptide.of(sequence)


def test_several_lines_are_several_peptides():
    with pytest.raises(BetafoldError, match="2 lines: write one peptide on one line"):
        Peptide.parse("GIGKFLHSAKKF\nGKAFVGEIMNS")
    assert Peptide.parse("\nGIGKFLHS\n\n") == Peptide.of("GIGKFLHS")


@SETTINGS
@given(sequences)
def test_residue_ids_are_places_in_the_alphabet(sequence):
    ids = residue_ids(sequence)
    assert ids.dtype == np.int32
    assert "".join(ALPHABET[i] for i in ids) == sequence


@pytest.mark.parametrize("text", ["AX", "A1", "a", "Aé", "A-"])
def test_residue_ids_refuse_other_letters(text):
    with pytest.raises(BetafoldError):
        residue_ids(text)


@SETTINGS
@given(st.text(max_size=50))
def test_any_text_gives_a_peptide_or_one_line(text):
    try:
        peptide = Peptide.parse(text)
    except BetafoldError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert 4 <= len(peptide) <= 32 and set(peptide.sequence) <= set(ALPHABET)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ("GIGX", "'X' at position 4"),
        ("GIG4KF", "'4' at position 4"),
        ("GIG", "3 residues"),
        ("A" * 51, "51 residues"),
        ("GIG*KF", r"'\*' at position 4"),
        ("GIGſKF", "'ſ' at position 4"),  # S in capitals
        ("GIGKßF", "'ß' at position 5"),  # SS in capitals
    ],
)
def test_what_is_wrong_is_said(text, message):
    with pytest.raises(BetafoldError, match=message):
        Peptide.parse(text)


def test_disulfides_are_sorted():
    peptide = Peptide.parse("CCGCGC", disulfides=[(6, 2), (4, 1)])
    assert peptide.disulfides == ((1, 4), (2, 6))


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([(1, 7)], "from 1 to 6"),
        ([(0, 2)], "from 1 to 6"),
        ([(1, 3)], "residue 3 is GLY, not CYS"),
        ([(2, 2)], "itself"),
        ([(1, 2), (2, 4)], "cysteine 2 is already"),
    ],
)
def test_impossible_disulfides(pairs, message):
    with pytest.raises(BetafoldError, match=message):
        Peptide.parse("CCGCGC", disulfides=pairs)
