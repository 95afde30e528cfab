"""Template search against biotite, a plain recursion, and cases made by hand."""

import functools
import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from template_helpers import library_of, random_sequence

from betafold_mlx.peptide.sequence import ALPHABET, Peptide
from betafold_mlx.peptide.substitution import BLOSUM62
from betafold_mlx.templates.alignment import BONDED_MATCH, BONDED_MISMATCH, align, best_scores, score_table
from betafold_mlx.templates.search import (
    ALIGNED,
    TRUST_OTHER,
    TRUST_RICH,
    bonded_pairs,
    find_bonds,
    matched_disulfides,
    search,
)

SEQUENCES = st.text(alphabet=ALPHABET, min_size=4, max_size=24)


def score(query, target):
    """The package's score of two sequences."""
    codes = library_of([target]).codes
    return int(best_scores([score_table(Peptide.of(query))], codes)[0, 0])


def exchange(a, b):
    return int(BLOSUM62[ALPHABET.index(a), ALPHABET.index(b)])


def gap(length):
    return 6 + length - 1 if length else 0


def plain_score(query, target):
    """Best score by a recursion over all gap lengths; what hangs over at either end costs nothing."""

    @functools.cache
    def best(i, j):
        if i == 0 or j == 0:
            return 0
        ways = [best(i - 1, j - 1) + exchange(query[i - 1], target[j - 1])]
        ways += [best(i - k, j) - gap(k) for k in range(1, i + 1)]
        ways += [best(i, j - k) - gap(k) for k in range(1, j + 1)]
        return max(ways)

    rows, columns = len(query), len(target)
    return max([best(i, columns) for i in range(rows + 1)] + [best(rows, j) for j in range(columns + 1)])


def rescored(pairs, residue_score, rows, columns):
    """The score of aligned pairs (i, j) of sequences of so many residues; one overhang at each end is free."""
    total = sum(residue_score(i, j) for i, j in pairs)
    if pairs:
        (first_i, first_j), (last_i, last_j) = pairs[0], pairs[-1]
        total -= min(gap(first_i), gap(first_j))
        total -= min(gap(rows - 1 - last_i), gap(columns - 1 - last_j))
    for (i, j), (next_i, next_j) in itertools.pairwise(pairs):
        assert next_i > i and next_j > j
        total -= gap(next_i - i - 1) + gap(next_j - j - 1)
    return total


def test_scores_are_those_of_biotite():
    alignment = pytest.importorskip("biotite.sequence.align")
    from biotite.sequence import ProteinSequence

    matrix = alignment.SubstitutionMatrix.std_protein_matrix()
    rng = np.random.default_rng(0)
    targets = [random_sequence(rng) for _ in range(60)]
    queries = [random_sequence(rng, 8, 50) for _ in range(4)]
    # Relatives, with residues taken out and put in: their best alignments have gaps.
    queries += [target[:9] + target[13:] for target in targets if len(target) > 25][:4]
    queries += [target[:8] + "WGPNW" + target[8:] for target in targets if len(target) > 20][:4]
    codes = library_of(targets).codes
    together = best_scores([score_table(Peptide.of(query)) for query in queries], codes)
    for query, got in zip(queries, together, strict=True):
        for target, mine in zip(targets, got.tolist(), strict=True):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = alignment.align_optimal(
                    ProteinSequence(query), ProteinSequence(target), matrix,
                    gap_penalty=(-6, -1), terminal_penalty=False, max_number=1,
                )  # fmt: skip
            assert mine == max(found[0].score, 0), (query, target)


@settings(max_examples=60, deadline=None)
@given(SEQUENCES, SEQUENCES)
def test_scores_are_those_of_a_plain_recursion(query, target):
    got = score(query, target)
    assert got == plain_score(query, target) == score(target, query)
    overhang = range(-len(target) + 1, len(query))
    diagonals = [
        sum(exchange(query[i], target[i - k]) for i in range(len(query)) if 0 <= i - k < len(target))
        for k in overhang
    ]
    assert got >= max(0, *diagonals)


@settings(max_examples=60, deadline=None)
@given(SEQUENCES, st.lists(SEQUENCES, min_size=1, max_size=4))
def test_aligned_pairs_score_what_is_reported(query, targets):
    table, codes = score_table(Peptide.of(query)), library_of(targets).codes
    traced = align(table, codes)
    assert [each[0] for each in traced] == best_scores([table], codes)[0].tolist()
    for target, (total, on_query, on_target) in zip(targets, traced, strict=True):
        pairs = list(zip(on_query.tolist(), on_target.tolist(), strict=True))
        own = rescored(pairs, lambda i, j, t=target: exchange(query[i], t[j]), len(query), len(target))
        assert total == own


def test_a_stated_disulfide_looks_for_its_like():
    """One peptide on four entries of its own sequence, bonded otherwise: by hand, ends and gaps play no part."""
    sequence = "ACDEFGHIKCLM"
    ways = [((2, 10),), ()]
    library = library_of([(sequence, way) for way in ways] + [sequence[:9] + "A" + sequence[10:]])
    same = sum(exchange(letter, letter) for letter in sequence)
    without_last = same - exchange("C", "C") + exchange("C", "A")
    tables = [score_table(Peptide.of(sequence, disulfides=bonds)) for bonds in (((2, 10),), ())]
    bonded, free = best_scores(tables, library.codes)
    np.testing.assert_array_equal(
        bonded - [same, same, without_last], [2 * BONDED_MATCH] + [2 * BONDED_MISMATCH] * 2
    )
    np.testing.assert_array_equal(free, [same, same, without_last])
    # The wrong side of a pair is a mismatch, and so is a bonded cysteine under anything else.
    table = score_table(Peptide.of("ACDC", disulfides=((2, 4),)))
    c, d = ALPHABET.index("C"), ALPHABET.index("D")
    assert table[1, [c, 20 + c, 40 + c]].tolist() == [9 - 4, 9 + 8, 9 - 4]
    assert table[3, [c, 20 + c, 40 + c]].tolist() == [9 - 4, 9 - 4, 9 + 8]
    assert table[2, [d, c, 20 + c, 40 + c]].tolist() == [6, -3, -3 - 4, -3 - 4]


def test_bonded_pairs_are_those_whose_ends_are_both_aligned():
    partner = np.array([4, -1, 6, -1, 0, -1, 2, -1])
    assert bonded_pairs(partner, np.arange(8), np.arange(8)) == ((1, 5), (3, 7))
    assert bonded_pairs(partner, np.arange(6), np.arange(2, 8)) == ((1, 5),)  # 3-7 of the template
    assert bonded_pairs(partner, np.arange(4), np.arange(4)) == ()
    assert bonded_pairs(partner, np.array([5, 6, 7, 0, 1]), np.array([2, 3, 4, 5, 6])) == (
        (2, 6),
    )  # a turned ring


def test_bonds_of_templates_stand_on_cysteines():
    bonded = ("GCCSNPVCHLEHSNLC", ((2, 8), (3, 16)), False, None)
    library = library_of([bonded, "GCCSNPVCHLEHSNLC", "GIGKFLHSAKKFGKAF"])
    (found,) = find_bonds(Peptide.of("GCCSNPVCHLEHSNLC"), library, 8)
    assert found.disulfides == ((2, 8), (3, 16)) and found.trust > 0.5
    (found,) = find_bonds(Peptide.of("GCASNPVCHLEHSNLC"), library, 8)
    assert found.disulfides == ((2, 8),)  # residue 3 is no cysteine
    assert find_bonds(Peptide.of("GCCSNPVCHLEHSNLC"), library, 8, max_identity=0.9) == []


def test_matched_disulfides():
    peptide = Peptide.of("CACACACA", disulfides=((1, 5), (3, 7)))
    partner = np.array([4, -1, 6, -1, 0, -1, 2, -1])
    everything = np.arange(8)
    assert matched_disulfides(peptide, partner, everything, everything) == 1
    assert matched_disulfides(peptide, partner, everything[:6], everything[:6]) == 0.5
    assert matched_disulfides(peptide, partner, everything[:6], everything[2:]) == 0.5  # 1-5 on 3-7
    assert matched_disulfides(peptide, partner, everything[:6], everything[1:7]) == 0
    assert matched_disulfides(peptide, np.full(8, -1), everything, everything) == 0
    assert matched_disulfides(Peptide.of("CACACACA"), partner, everything, everything) == 0


@pytest.mark.parametrize(
    ("disulfides", "weights"),
    [((), TRUST_OTHER), (((2, 10),), TRUST_OTHER), (((2, 10), (5, 15)), TRUST_RICH)],
)
def test_trust_is_the_logistic_model_of_a_hit(disulfides, weights):
    sequence = "ACDECGHIKCLMNPCQRSTV"
    rng = np.random.default_rng(3)
    library = library_of([(sequence, disulfides), *(random_sequence(rng, 20, 30) for _ in range(20))])
    own, *others = search(Peptide.of(sequence, disulfides=disulfides), library, 20)
    for hit in (own, *others):
        terms = (1, hit.score / 50, hit.coverage, np.log(len(hit.query) / 20), 1 - hit.matched)
        assert hit.trust == pytest.approx(1 / (1 + np.exp(-np.dot(weights, terms))))
    assert own.entry == 0 and own.trust > 0.8
    assert len(others) > 5 and max(hit.trust for hit in others) < 0.2


def test_a_ring_is_found_in_every_rotation():
    ring = "GRCTKSIPPICFPDWAYE"
    other = library_of([random_sequence(np.random.default_rng(1)), (ring, ((3, 11),), True)])
    for turn in range(len(ring)):
        turned = ring[turn:] + ring[:turn]
        first, second = sorted((place - turn) % len(ring) + 1 for place in (2, 10))
        (hit,) = [
            hit
            for hit in search(Peptide.of(turned, cyclic=True, disulfides=((first, second),)), other, 9)
            if hit.entry == 1
        ]
        assert hit.identity == hit.coverage == hit.matched == 1
        np.testing.assert_array_equal(hit.query, np.arange(len(ring)))
        np.testing.assert_array_equal(hit.template, (np.arange(len(ring)) + turn) % len(ring))
        assert hit.score == sum(exchange(letter, letter) for letter in ring) + 2 * BONDED_MATCH
    # An open chain of the same letters is not turned.
    (hit,) = search(Peptide.of(ring[9:] + ring[:9]), library_of([ring]), 1)
    assert len(hit.query) < len(ring)


def test_identity_coverage_and_residues_of_a_hand_made_case():
    """Two residues of the entry stand on nothing, one is exchanged, and two of the peptide hang over."""
    entry = "WWHKYFWMHKKDEWWRYF"
    query = "GG" + entry[:8] + "R" + entry[11:]
    (hit,) = search(Peptide.of(query), library_of([entry]), 5)
    want = [(2 + k, k) for k in range(8)] + [(11 + k, 11 + k) for k in range(7)]
    pairs = list(zip(hit.query.tolist(), hit.template.tolist(), strict=True))
    assert [pair for pair in pairs if pair[0] != 10] == want
    (middle,) = [pair for pair in pairs if pair[0] == 10]
    assert entry[middle[1]] == "K"  # of the three skipped letters HKK one of the K takes the R
    assert hit.identity == pytest.approx(15 / 16) and hit.coverage == pytest.approx(16 / 18)
    assert (hit.entry, hit.name, hit.matched) == (0, "0ABC_A", 0)


def test_hits_are_ordered_by_trust_and_hidden_ones_stay_away():
    rng = np.random.default_rng(2)
    target = random_sequence(rng, 30, 30)
    entries = [random_sequence(rng) for _ in range(ALIGNED + 20)]
    entries[7], entries[50], entries[13] = target, target[:24] + "GGGGGG", target[5:] + "PPPP"
    library = library_of(entries)
    hits = search(Peptide.of(target), library, 10)
    assert len(hits) == 10 and hits[0].entry == 7 and {hit.entry for hit in hits[1:3]} == {50, 13}
    trust = [hit.trust for hit in hits]
    assert trust == sorted(trust, reverse=True) and all(0 < each < 1 for each in trust)
    assert len({hit.entry for hit in hits}) == 10  # each entry once
    hidden = np.zeros(len(entries), dtype=bool)
    hidden[[7, hits[4].entry]] = True
    left = [hit.entry for hit in search(Peptide.of(target), library, 8, hidden)]
    assert len(left) == 8 and not set(left) & set(np.flatnonzero(hidden))
    assert [hit.entry for hit in hits if not hidden[hit.entry]] == left
    assert search(Peptide.of(target), library, 10, np.ones(len(entries), dtype=bool)) == []
    assert search(Peptide.of("ACDEF"), library, 10) == []  # too few residues to say anything
    # Nor is found what is trusted too little, or too similar.
    for least in (trust[0], trust[2], trust[5], 0.999):
        trusted = search(Peptide.of(target), library, 10, min_trust=least)
        assert [hit.entry for hit in trusted] == [hit.entry for hit in hits if hit.trust >= least]
    least = hits[2].identity
    fewer = search(Peptide.of(target), library, 10, max_identity=least - 1e-6)
    assert len(fewer) >= 7 and all(hit.identity < least for hit in fewer)
