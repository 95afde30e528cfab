import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from betafold_mlx.data import scan
from betafold_mlx.data.identity import WORD
from betafold_mlx.data.scan import find_matches, min_matches
from betafold_mlx.peptide.sequence import ALPHABET

quick = settings(max_examples=40, derandomize=True, deadline=None)
LETTERS = list(ALPHABET)


def oracle(windows, chains):
    """Every overlay of every window and chain, letter by letter."""
    pairs = []
    for w, window in enumerate(windows):
        for c, chain in enumerate(chains):
            for shift in range(-len(window) + 1, len(chain)):
                same = [
                    0 <= shift + i < len(chain) and chain[shift + i] == letter
                    for i, letter in enumerate(window)
                ]
                run = "".join("x" if s else "." for s in same)
                if sum(same) >= min_matches(len(window)) or "x" * WORD in run:
                    pairs.append((w, c))
                    break
    return pairs


@quick
@given(
    st.lists(st.text("ACDE", min_size=1, max_size=32), max_size=5),
    st.lists(st.text("ACDE", min_size=1, max_size=50), max_size=5),
)
def test_matches_are_those_of_plain_counting(windows, chains):
    assert list(map(tuple, find_matches(windows, chains).tolist())) == oracle(windows, chains)


def test_small_chunks_give_the_same(monkeypatch):
    rng = np.random.default_rng(0)
    chains = ["".join(rng.choice(list("ACDEFG"), size=rng.integers(30, 400))) for _ in range(20)]
    windows = ["".join(rng.choice(list("ACDEFG"), size=rng.integers(10, 33))) for _ in range(60)]
    whole = find_matches(windows, chains)
    monkeypatch.setattr(scan, "_COUNTS", 1)  # 256 positions at a time
    assert (find_matches(windows, chains) == whole).all()
    assert 10 < len(whole) < 1200


def test_thresholds_of_the_documentation():
    assert [min_matches(n) for n in (10, 15, 20, 25, 30)] == [8, 9, 10, 11, 12]
    assert min_matches(6) == 6 and min_matches(5) > 5


def test_random_chains_match_as_seldom_as_stated():
    """Windows against 60,000 residues: below 0.1 matches a window in a million, so below 3 for 500 windows.

    The residues are drawn so that two are the same with the probability that the rule assumes.
    """
    rng = np.random.default_rng(1)
    frequencies = np.linspace(1.0, 6.5, 20)
    frequencies /= frequencies.sum()
    assert 0.055 < (frequencies**2).sum() < 0.06
    chains = ["".join(rng.choice(LETTERS, size=200, p=frequencies)) for _ in range(300)]
    windows = ["".join(rng.choice(LETTERS, size=10 + n % 21, p=frequencies)) for n in range(500)]
    assert len(find_matches(windows, chains)) <= 3


@pytest.mark.parametrize("length", [10, 20, 30])
def test_planted_copies_are_found_and_no_others(length):
    rng = np.random.default_rng(length)
    chains = ["".join(rng.choice(LETTERS, size=120)) for _ in range(30)]
    window = "".join(rng.choice(LETTERS, size=length))
    mutated = list(window)
    for place in rng.choice(length, size=length - min_matches(length), replace=False):
        mutated[place] = LETTERS[(LETTERS.index(mutated[place]) + 1) % 20]
    chains[3] = chains[3][:50] + "".join(mutated) + chains[3][50:]
    chains[7] = window + chains[7]
    chains[9] = chains[9] + window[: max(WORD, min_matches(length))]  # hangs over the end
    assert find_matches([window], chains).tolist() == [[0, 3], [0, 7], [0, 9]]


def test_a_match_does_not_reach_over_two_chains():
    window = "ACDEFGHIKLMNPQRSTVWY"
    assert len(find_matches([window], [window[:7], window[7:13], window[13:]])) == 0


def test_nothing_to_find():
    for windows, chains in (([], []), (["ACDEFGHIKL"], []), ([], ["ACDEFGHIKL"])):
        assert find_matches(windows, chains).shape == (0, 2)


@pytest.mark.parametrize(("run", "found"), [(WORD, [[0, 0]]), (WORD - 1, [])])
def test_a_run_of_identical_residues_matches_by_itself(run, found):
    window = "ACDEFGHIKLMNPQRSTVWYACDEFGHIKL"
    chain = "W" * 40 + window[10 : 10 + run] + "W" * 40
    assert run + 2 < min_matches(len(window))
    assert find_matches([window], [chain]).tolist() == found
