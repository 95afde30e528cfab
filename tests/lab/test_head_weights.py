import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from betafold_mlx.lab.head_weights import best_head, hairpin_pairs, helix_weights, partner_weights


def softmax_maps(rng, lengths, layers=2, heads=3):
    maps = []
    for length in lengths:
        scores = np.exp(rng.normal(size=(layers, heads, length, length)))
        maps.append((scores / scores.sum(axis=-1, keepdims=True)).astype(np.float32))
    return maps


def test_helix_weights_by_counting():
    rng = np.random.default_rng(0)
    maps = softmax_maps(rng, (9, 12))
    states = ["CCHHHHHCC", "HHHHHHCCCCCC"]
    found = helix_weights(maps, states)
    elsewhere = {}  # head, offset -> weights of residues that are no helix
    for one, letters in zip(maps, states, strict=True):
        for i, state in enumerate(letters):
            for j in range(len(letters)):
                if state != "H":
                    elsewhere.setdefault(j - i, []).append(one[:, :, i, j].reshape(-1))
    for row, (one, letters) in enumerate(zip(maps, states, strict=True)):
        places = [
            (i, j)
            for i in range(len(letters))
            for j in range(len(letters))
            if letters[i] == "H" and abs(i - j) in (3, 4)
        ]
        assert found.sums[row] == pytest.approx(sum(one[:, :, i, j].reshape(-1) for i, j in places), rel=1e-5)
        expected = sum(np.mean(elsewhere[j - i], axis=0) for i, j in places)
        assert found.other_sums[row] == pytest.approx(expected, rel=1e-5)
        assert found.even_sums[row] == pytest.approx(len(places) / len(letters))
        assert found.counts[row] == letters.count("H")


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_heads_that_follow_the_offset_alone_gain_nothing(seed):
    rng = np.random.default_rng(seed)
    by_offset = rng.random((4, 41))
    maps, states = [], []
    for length in rng.integers(10, 20, 5).tolist():
        offsets = np.subtract.outer(np.arange(length), np.arange(length)).T  # j - i
        maps.append(by_offset[:, offsets + 20][None])
        states.append("".join(rng.choice(["H", "C"], length)))
    states[0] = "C" * len(states[0])  # every offset occurs outside of helices too, but for the longest
    maps.append(by_offset[:, np.subtract.outer(np.arange(20), np.arange(20)).T + 20][None])
    states.append("C" * 20)
    found = helix_weights(maps, states)
    assert found.sums == pytest.approx(found.other_sums, rel=1e-9, abs=1e-9)


def test_partner_weights_go_both_ways():
    rng = np.random.default_rng(1)
    maps = softmax_maps(rng, (12, 12, 14))
    found = partner_weights(maps, [[(1, 10), (2, 9)], [], []])
    one = maps[0].reshape(6, 12, 12)
    expected = one[:, 1, 10] + one[:, 10, 1] + one[:, 2, 9] + one[:, 9, 2]
    assert found.sums[0] == pytest.approx(expected, rel=1e-5)
    assert found.counts.tolist() == [4, 0, 0] and found.even_sums[0] == pytest.approx(4 / 12)


def test_the_head_that_looks_at_the_helix_is_found_and_noise_is_not():
    rng = np.random.default_rng(2)
    lengths = [14] * 40
    maps = softmax_maps(rng, lengths)
    states = ["CCHHHHHHHCCCCC"] * 40
    clusters = np.repeat(np.arange(20), 2)
    noise = best_head(helix_weights(maps, states), clusters, 0)
    assert noise.low < 0 < noise.high and noise.clusters == 10
    for one in maps:
        one[1, 2, 4, 8] += 0.5  # layer 2, head 3
    found = best_head(helix_weights(maps, states), clusters, 0)
    assert found.head == 5 and found.low > 0
    assert found.weight - found.elsewhere == pytest.approx(0.5 / 7, abs=0.03)


def test_no_verdict_without_residues_or_clusters():
    rng = np.random.default_rng(3)
    maps = softmax_maps(rng, (12, 12))
    assert best_head(helix_weights(maps, ["C" * 12] * 2), np.array([0, 1]), 0) is None
    few = best_head(helix_weights(maps, ["H" * 8 + "CCCC"] * 2), np.array([0, 1]), 0)
    assert few is not None and few.low is None


def test_pairs_of_a_flat_hairpin():
    first = np.array([[3.4 * i, 0.0, 0.0] for i in range(6)])
    turn = np.array([[20.0, 2.0, 0.0], [20.0, 4.0, 2.0]])
    second = first[::-1] + np.array([0.0, 5.0, 0.0])
    ca = np.concatenate([first, turn, second])
    states = "EEEEEECCEEEEEE"
    assert hairpin_pairs(ca, states) == [(i, 13 - i) for i in range(6)]
