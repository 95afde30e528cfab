"""The exhaustive search for the most similar window."""

import gemmi
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from betafold_mlx.evaluate import neighbours
from betafold_mlx.evaluate.neighbours import Neighbour, nearest_windows
from betafold_mlx.peptide.sequence import ALPHABET, THREE_LETTER
from betafold_mlx.peptide.substitution import BLOSUM62


def test_blosum62_is_that_of_gemmi():
    scoring = gemmi.AlignmentScoring("b")  # a mismatch costs less than the two gaps that would avoid it
    for i, a in enumerate(ALPHABET):
        for j, b in enumerate(ALPHABET):
            pair = ([THREE_LETTER[a]], [THREE_LETTER[b]])
            assert BLOSUM62[i, j] == gemmi.align_string_sequences(*pair, [], scoring).score, a + b
    assert (BLOSUM62 == BLOSUM62.T).all()


def brute_force(sequence, chains):
    best = None
    for number, chain in enumerate(chains):
        for start in range(len(chain) - len(sequence) + 1):
            score = sum(
                int(BLOSUM62[ALPHABET.index(a), ALPHABET.index(b)])
                for a, b in zip(sequence, chain[start:], strict=False)
            )
            if best is None or score > best.score:
                best = Neighbour(number, start, score)
    return best


few_letters = st.text(alphabet="ACGW", min_size=1, max_size=12)  # few letters give many ties


@settings(deadline=None, derandomize=True, max_examples=150)
@given(st.lists(few_letters, min_size=1, max_size=5), st.lists(few_letters, min_size=1, max_size=8))
def test_against_brute_force_with_ties_to_the_first(sequences, chains):
    assert nearest_windows(sequences, chains) == [brute_force(sequence, chains) for sequence in sequences]


def test_chunks_of_any_size_give_the_same(monkeypatch):
    rng = np.random.default_rng(0)
    chains = ["".join(rng.choice(list(ALPHABET), size=size)) for size in (40, 7, 90, 33, 12)]
    sequences = ["".join(rng.choice(list(ALPHABET), size=size)) for size in (10, 10, 17, 30, 33, 90)]
    whole = nearest_windows(sequences, chains)
    assert whole == [brute_force(sequence, chains) for sequence in sequences]
    for chunk in (1, 7, 50):
        monkeypatch.setattr(neighbours, "_CHUNK", chunk)
        assert nearest_windows(sequences, chains) == whole


def test_a_window_never_crosses_from_one_chain_into_the_next():
    # WWWW stands across the border only.
    (found,) = nearest_windows(["WWWW"], ["AAAWW", "WWAAA", "WWWA"])
    assert found == Neighbour(2, 0, 3 * 11 - 3)


def test_none_where_no_chain_is_long_enough():
    assert nearest_windows(["ACDEF", "AC"], ["ACDE", "GGG"]) == [None, Neighbour(0, 0, 13)]
    assert nearest_windows(["ACDEF"], []) == [None]


def test_the_highest_score_of_all_fits():
    (found,) = nearest_windows(["W" * 100], ["W" * 100])
    assert found == Neighbour(0, 0, 1100)
