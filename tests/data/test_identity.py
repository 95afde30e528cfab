import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from betafold_mlx.data import identity
from betafold_mlx.data.identity import (
    GAP_COST,
    WORD,
    alike_matrix,
    canonical,
    identity_matrix,
    match_table,
    min_beyond_chance,
    min_net_identity,
    net_identities,
    rotations,
    sequence_words,
    word_links,
    word_matches,
)
from betafold_mlx.peptide.sequence import ALPHABET

quick = settings(max_examples=60, derandomize=True, deadline=None)
short = st.text("ACD", min_size=1, max_size=6)


def oracle(a, b):
    """The definition: choose identical pairs in order; each change of diagonal between them is a gap."""
    pairs = [(i, j) for i in range(len(a)) for j in range(len(b)) if a[i] == b[j]]

    def best(last):
        scores = [0]
        for i, j in pairs:
            if last is None:
                scores.append(1 + best((i, j)))
            elif i > last[0] and j > last[1]:
                scores.append(1 - GAP_COST * (i - j != last[0] - last[1]) + best((i, j)))
        return max(scores)

    return best(None)


def net(a, b):
    return int(net_identities(a, match_table([b]))[0])


@quick
@given(short, st.lists(short, min_size=1, max_size=4))
def test_net_identities_are_those_of_the_definition(query, targets):
    assert net_identities(query, match_table(targets)).tolist() == [oracle(query, t) for t in targets]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("ACDEFGHIKL", "ACDEFGHIKL", 10),
        ("ACDEFGHIKL", "WWACDEFGHIKLWW", 10),  # free ends
        ("ACDEFGHIKL", "ACDEFWGHIKL", 8),  # one insertion
        ("ACDEFGHIKL", "ACDEFWWWWWGHIKL", 8),  # however long
        ("ACDEFGHIKL", "ACWEFGWIKL", 8),  # mismatches cost nothing
        ("ACDEFGHIKL", "MNPQRSTVWY", 0),
        ("ACDEFGHIKL", "GHIKLACDEF", 5),  # turned, but linear
    ],
)
def test_net_identities_by_hand(a, b, expected):
    assert net(a, b) == net(b, a) == expected


@quick
@given(short, short)
def test_net_identity_is_symmetric_and_bounded(a, b):
    assert net(a, b) == net(b, a) <= min(len(a), len(b))
    assert net(a, a) == len(a)


@quick
@given(st.text("ACD", min_size=2, max_size=5), st.text("ACD", min_size=2, max_size=5), st.booleans())
def test_matrix_of_a_ring_and_a_longer_or_equal_chain_takes_the_best_rotation(a, b, other_too):
    """A ring as the shorter one: all its rotations, against the other or, if that is a ring, its double."""
    ring, other = sorted((a, b), key=lambda s: (len(s), s))
    if (ring, False) == (other, other_too):
        return
    matrix = identity_matrix([ring, other], [True, other_too])
    if len(ring) == len(other) and ring == other:
        assert matrix[0, 1] == len(ring)
        return
    target = other * 2 if other_too else other
    assert matrix[0, 1] == matrix[1, 0] == min(len(ring), max(oracle(r, target) for r in rotations(ring)))


def test_matrix_of_linear_and_rings_by_hand():
    kalata = ["SWPVCTRNGLPVCGETCVGGTCNTPGCTC", "NGLPVCGETCVGGTCNTPGCTCSWPVCTR"]
    assert identity_matrix(kalata, [True, True])[0, 1] == 29
    assert identity_matrix(kalata, [False, False])[0, 1] == 22  # the better of the two pieces
    assert identity_matrix(kalata, [True, False])[0, 1] == identity_matrix(kalata, [False, True])[0, 1] == 29
    piece = "CTCSWPV"  # across the seam
    assert identity_matrix([kalata[0], piece], [True, False])[0, 1] == 7
    assert identity_matrix([kalata[0], piece], [False, False])[0, 1] < 7


def test_matrix_order_does_not_matter():
    rng = np.random.default_rng(3)
    sequences = ["".join(rng.choice(list("ACDEG"), size=rng.integers(10, 33))) for _ in range(12)]
    cyclic = (rng.random(12) < 0.4).tolist()
    matrix = identity_matrix(sequences, cyclic)
    order = rng.permutation(12)
    moved = identity_matrix([sequences[n] for n in order], [cyclic[n] for n in order])
    assert (moved == matrix[order][:, order]).all()
    assert (matrix == matrix.T).all() and np.diag(matrix).tolist() == [len(s) for s in sequences]


@pytest.mark.parametrize("chance", [identity.CHANCE, 1e-7])
@pytest.mark.parametrize("length", [6, 10, 17, 25, 32])
def test_threshold_is_the_exact_binomial_tail(length, chance):
    p = Fraction(6, 100)
    tail = [
        sum(math.comb(length, k) * p**k * (1 - p) ** (length - k) for k in range(m, length + 1))
        for m in range(length + 2)
    ]
    m = min_beyond_chance(length, chance)
    assert tail[m] < Fraction(chance) <= tail[m - 1]


def test_thresholds_of_the_documentation():
    assert [min_net_identity(n) for n in (10, 15, 20, 25, 30)] == [7, 8, 9, 10, 11]


def test_random_peptides_are_seldom_alike():
    """One random pair in 10,000: 19,900 pairs, mean 2, more than 9 with a probability below 1e-4."""
    rng = np.random.default_rng(5)
    sequences = ["".join(rng.choice(list(ALPHABET), size=rng.integers(10, 33))) for _ in range(200)]
    alike = alike_matrix(sequences, [False] * 200)
    assert np.triu(alike, k=1).sum() <= 9


def test_mutants_are_alike_whatever_happened_to_them():
    rng = np.random.default_rng(6)
    parent = "ACDEFGHIKLMNPQRSTVWYACDEFG"
    mutant = list(parent)
    for place in rng.choice(len(parent), size=13, replace=False):  # half of all residues
        mutant[place] = ALPHABET[(ALPHABET.index(mutant[place]) + 7) % 20]
    mutant = "".join(mutant)
    shortened = parent[:9] + parent[13:]
    unrelated = "".join(rng.permutation(list(parent)))
    alike = alike_matrix([parent, mutant, shortened, unrelated], [False] * 4)
    assert alike[0].tolist() == [True, True, True, False]
    turned = parent[11:] + parent[:11]
    assert alike_matrix([turned, mutant], [True, False])[0, 1]
    assert alike_matrix([turned, mutant], [True, True])[0, 1]


def test_a_shared_word_makes_alike_where_identity_does_not():
    a, b = "ACDEFGHI" + "K" * 22, "W" * 22 + "ACDEFGHI"
    assert identity_matrix([a, b], [False, False])[0, 1] == WORD < min_net_identity(30)
    assert alike_matrix([a, b], [False, False])[0, 1]
    c = "GHI" + "K" * 22 + "ACDEF"  # the same word over the seam of a ring
    assert alike_matrix([c, b], [True, False])[0, 1] and not alike_matrix([c, b], [False, False])[0, 1]


@quick
@given(st.lists(st.text("AC", min_size=1, max_size=14), max_size=5), st.data())
def test_words_matches_and_links(sequences, data):
    cyclic = [data.draw(st.booleans()) and len(s) >= WORD for s in sequences]

    def plain(n):
        text = sequences[n] + sequences[n][: WORD - 1] if cyclic[n] else sequences[n]
        return {text[i : i + WORD] for i in range(len(text) - WORD + 1)}

    count = len(sequences)
    expected = {(a, b) for a in range(count) for b in range(count) if plain(a) & plain(b)}
    found = sequence_words(sequences, cyclic)
    assert set(map(tuple, word_matches(*found, *found).tolist())) == expected
    links = set(map(tuple, word_links(*found).tolist()))
    assert links <= expected
    for a, b in expected:  # the links connect all owners of a word
        reached = {a}
        for _ in range(count):
            reached |= {y for pair in links for x, y in (pair, pair[::-1]) if x in reached}
        assert b in reached


def test_canonical_names_a_ring():
    ring = "GRCTKSIPPICFPD"
    assert {canonical(turned, True) for turned in rotations(ring)} == {min(rotations(ring))}
    assert canonical(ring, False) == ring and len(rotations(ring)) == 14


def test_nothing_to_compare():
    assert identity_matrix([], []).shape == alike_matrix([], []).shape == (0, 0)
    assert sequence_words([], [])[0].shape == (0,) and word_links(
        *sequence_words(["ACD"], [False])
    ).shape == (0, 2)


def test_shared_peptides_reach_the_documented_chance(shared_data):
    """The figures of the module's docstring, for one of its four shuffles."""
    import gzip
    import json
    import random

    with gzip.open(shared_data / "peptides.jsonl.gz", "rt") as file:
        peptides = [json.loads(line) for line in file]
    rng = random.Random(1)
    shuffled = ["".join(rng.sample(p["seq"], len(p["seq"]))) for p in peptides]
    cyclic = np.array([p["cyclic"] for p in peptides])
    upper = np.triu(alike_matrix(shuffled, cyclic.tolist()), k=1)
    linear = upper[~cyclic][:, ~cyclic]
    pairs, linear_pairs = math.comb(len(cyclic), 2), math.comb(int((~cyclic).sum()), 2)
    assert linear.sum() / linear_pairs <= 5e-5
    assert 1e-4 < upper.sum() / pairs <= 3.3e-4
