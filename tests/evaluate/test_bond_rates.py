"""Whether stated bonds are counted as made, and unstated disulfides as found."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from betafold_mlx.evaluate.bond_rates import bond_figures, count_pairings, disulfide_figures, disulfide_record
from betafold_mlx.fold.disulfides import DisulfidePattern
from betafold_mlx.geometry.checks import Bond
from betafold_mlx.peptide.sequence import Peptide


def ring(formed):
    return Bond("ring", (1, 10), 1.33 if formed else 2.8, formed)


def bridge(formed, residues=(2, 7)):
    return Bond("disulfide", residues, 4.0 if formed else 7.5, formed)


def test_bonds_are_counted_by_kind_and_a_model_has_all_or_fails():
    bonds = [
        [
            (ring(True), bridge(True), bridge(True, (1, 8))),
            (ring(False), bridge(True), bridge(False, (1, 8))),
        ],
        [(bridge(False),), (bridge(True),)],
        [(), ()],
    ]
    figures = bond_figures(bonds)
    assert figures["ring"] == {"items": 1, "models": 2, "formed_first": 1.0, "formed_all": 0.5}
    assert figures["disulfide"] == {"items": 2, "models": 4, "formed_first": 0.5, "formed_all": 0.5}
    assert bond_figures([[()], [()]]) == {} == bond_figures([])


def pairings_by_hand(count):
    """All sets of disjoint pairs of `count` cysteines that leave at most one over."""
    pairs = list(itertools.combinations(range(count), 2))
    return [
        chosen
        for chosen in itertools.combinations(pairs, count // 2)
        if len({end for pair in chosen for end in pair}) == count // 2 * 2
    ]


@pytest.mark.parametrize("count", range(8))
def test_ways_to_pair_cysteines(count):
    assert count_pairings(count) == len(pairings_by_hand(count))


def test_ways_of_many_cysteines():
    assert [count_pairings(n) for n in (10, 12)] == [945, 10395]


def test_what_the_model_prefers_is_set_beside_the_native_bonds():
    peptide = Peptide.of("CACACAC", disulfides=((1, 5), (3, 7)))
    ranked = [DisulfidePattern(((3, 7), (1, 5)), 0.6), DisulfidePattern(((1, 3), (5, 7)), 0.3)]
    found = disulfide_record(peptide, ranked)
    assert found["right"] and found["answerable"] and found["ways"] == 3 and found["probability"] == 0.6
    assert not disulfide_record(peptide, ranked[1:])["right"]
    assert disulfide_record(peptide, []) is None
    assert disulfide_record(Peptide.of("CACACAC"), ranked) is None  # nothing to be right about


@pytest.mark.parametrize(
    ("cysteines", "native", "answerable", "ways"),
    [
        (2, ((1, 3),), True, 1),
        (3, ((1, 3),), True, 3),
        (4, ((1, 3),), False, 3),
        (4, ((1, 3), (5, 7)), True, 3),
        (5, ((1, 3), (5, 7)), True, 15),
        (6, ((1, 3), (5, 7)), False, 15),
    ],
)
def test_only_what_can_be_right_is_asked(cysteines, native, answerable, ways):
    found = disulfide_record(Peptide.of("CA" * cysteines, disulfides=native), [DisulfidePattern(native, 1.0)])
    assert (found["answerable"], found["ways"]) == (answerable, ways)


def asked_of(cysteines, native, preferred, probability):
    peptide = Peptide.of("C" * cysteines, disulfides=native)
    return disulfide_record(peptide, [DisulfidePattern(preferred, probability)])


def test_disulfide_figures():
    native, other = ((1, 2), (3, 4)), ((1, 3), (2, 4))
    asked = [
        asked_of(4, native, native, 0.9),  # right, chance 1/3
        asked_of(4, native, other, 0.6),  # wrong, chance 1/3
        asked_of(5, native, other, 0.3),  # wrong, chance 1/15
        asked_of(2, ((1, 2),), ((1, 2),), 1.0),  # cannot be wrong
        asked_of(4, ((1, 2),), native, 0.5),  # cannot be right
        None,
    ]
    figures = disulfide_figures(asked)
    assert (figures["n"], figures["single"], figures["unanswerable"]) == (3, 1, 1)
    assert figures["right"] == pytest.approx(1 / 3)
    assert figures["chance"] == pytest.approx((1 / 3 + 1 / 3 + 1 / 15) / 3)
    assert figures["mean_probability"] == pytest.approx(0.6)
    assert disulfide_figures([None, None]) is None
    lonely = disulfide_figures(asked[3:])
    assert lonely["n"] == 0 and np.isnan(lonely["right"]) and np.isnan(lonely["chance"])


@given(st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_a_blind_guess_is_right_as_often_as_chance_says(cysteines, seed):
    ways = [tuple((i + 1, j + 1) for i, j in way) for way in pairings_by_hand(cysteines)]
    native = ways[seed % len(ways)]
    every_guess = [asked_of(cysteines, native, way, 1 / len(ways)) for way in ways]
    figures = disulfide_figures(every_guess)
    if len(ways) == 1:
        assert figures["n"] == 0 and figures["single"] == 1
    else:
        assert (
            figures["right"] == pytest.approx(figures["chance"]) == pytest.approx(figures["mean_probability"])
        )
