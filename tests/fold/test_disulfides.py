"""Which cysteines a distogram would bond."""

import itertools
import math

import numpy as np
import pytest

from betafold_mlx.fold.disulfides import (
    BONDED_DISTANCE,
    MAX_CYSTEINES,
    NEAR_BY_CHANCE,
    NEIGHBOURS,
    SHOWN,
    WITH_FRAMEWORK,
    WITH_TEMPLATES,
    rank_disulfides,
    thiol_letters,
)
from betafold_mlx.model.heads import BINS, EDGES
from betafold_mlx.peptide.bonds import parse_bond
from betafold_mlx.peptide.sequence import Peptide
from betafold_mlx.templates.search import TemplateBonds

SEQUENCE = "ACACACAC"


def distogram(near):
    """Logits by which pair (i, j) of residues lies within bonding distance with probability near[i, j]."""
    length = len(near)
    below = np.concatenate([[True], EDGES < BONDED_DISTANCE])  # bins that begin below the distance
    logits = np.zeros((length, length, BINS))
    for i, j in np.ndindex(length, length):
        logits[i, j, below] = math.log(near[i, j] / below.sum())
        logits[i, j, ~below] = math.log((1 - near[i, j]) / (~below).sum())
    return logits


def ways(cysteines):
    """Every perfect matching, found by trying all permutations."""
    found = set()
    for order in itertools.permutations(cysteines):
        pairs = [tuple(sorted(order[k : k + 2])) for k in range(0, len(order) - len(order) % 2, 2)]
        found.add(tuple(sorted(pairs)))
    return found


def random_near(length, seed):
    near = np.random.default_rng(seed).uniform(0.02, 0.9, (length, length))
    return (near + near.T) / 2


def gain(near, i, j, ring=None):
    apart = abs(i - j) if ring is None else min(abs(i - j), ring - abs(i - j))
    return math.exp(NEIGHBOURS) if apart == 1 else near[i, j] / NEAR_BY_CHANCE[apart - 1]


@pytest.mark.parametrize("cyclic", [False, True])
@pytest.mark.parametrize("sequence", ["ACAC", SEQUENCE, "CCC", "CACCAC", "CCCCCA"])
def test_probabilities_are_those_of_counting_all_ways(sequence, cyclic):
    near = random_near(len(sequence), 3)
    cysteines = [k for k, letter in enumerate(sequence) if letter == "C"]
    ring = len(sequence) if cyclic else None
    weight = {way: math.prod(gain(near, i, j, ring) for i, j in way) for way in ways(cysteines)}
    total = sum(weight.values())
    ranked = rank_disulfides(sequence, distogram(near), cyclic)
    assert len(ranked) == min(SHOWN, len(weight))
    want = sorted(weight.values(), reverse=True)
    for pairing, value in zip(ranked, want, strict=False):
        zero_based = tuple((i - 1, j - 1) for i, j in pairing.disulfides)
        assert pairing.probability == pytest.approx(value / total, rel=1e-6)
        assert weight[zero_based] == pytest.approx(value)


def test_two_residues_are_near_by_chance_the_less_the_farther_they_are_apart():
    assert NEAR_BY_CHANCE[0] == 1  # neighbours always are
    assert (np.diff(NEAR_BY_CHANCE) < 0.0025).all() and NEAR_BY_CHANCE[-1] > 0.01


def test_nothing_to_pair():
    assert rank_disulfides("ACDE", distogram(random_near(4, 0))) == ()
    many = "C" * (MAX_CYSTEINES + 1)
    assert rank_disulfides(many, np.zeros((len(many), len(many), BINS))) == ()


def test_numbers_without_bounds_stay_probabilities():
    logits = np.full((8, 8, BINS), -1e4)
    logits[..., 0] = 1e4
    ranked = rank_disulfides(SEQUENCE, logits)
    assert sum(p.probability for p in ranked) == pytest.approx(1) and all(p.probability > 0 for p in ranked)
    assert ranked[0].disulfides == ((2, 8), (4, 6))  # the way that chance makes the least likely


def by_hand(sequence, near, framework, templates):
    """Probability of each way: network, framework and templates, log-linearly."""
    weights = WITH_TEMPLATES if templates else WITH_FRAMEWORK
    cysteines = [k for k, letter in enumerate(sequence) if letter == "C"]
    scores = {}
    for way in ways(cysteines):
        bonds = tuple((i + 1, j + 1) for i, j in way)
        network = sum(math.log(gain(near, i, j)) for i, j in way)
        shares = [t.trust * len(set(bonds) & set(t.disulfides)) / len(bonds) for t in templates]
        scores[bonds] = weights[0] * network + weights[1] * (bonds == framework)
        scores[bonds] += weights[2] * max(shares, default=0)
    total = sum(math.exp(score) for score in scores.values())
    return {bonds: math.exp(score) / total for bonds, score in scores.items()}


@pytest.mark.parametrize("with_templates", [False, True])
def test_frameworks_and_templates_count(with_templates):
    near, natural = random_near(12, 5), ((2, 8), (3, 12))
    templates = [
        TemplateBonds("ribbon", 0.9, ((2, 12), (3, 8))),
        TemplateBonds("part", 0.8, ((2, 8),)),
        TemplateBonds("like", 0.6, ((2, 8), (3, 12))),
    ] * with_templates
    ranked = rank_disulfides("GCCSDPRCAWRC", distogram(near), templates=templates)
    want = by_hand("GCCSDPRCAWRC", near, natural, templates)
    assert {p.disulfides: p.probability for p in ranked} == pytest.approx(want, rel=1e-6)
    rests = {p.disulfides: ([f.name[:15] for f in p.frameworks], p.templates) for p in ranked}
    assert rests[natural] == (["alpha-conotoxin"], ("like",) * with_templates)
    assert rests[((2, 12), (3, 8))] == ([], ("ribbon",) * with_templates)
    assert rests[((2, 3), (8, 12))] == ([], ())


def test_a_template_without_a_bond_of_any_way_changes_nothing():
    near = random_near(8, 6)
    alone = rank_disulfides(SEQUENCE, distogram(near))
    assert rank_disulfides(SEQUENCE, distogram(near), templates=[TemplateBonds("other", 1.0, ())]) == alone


def test_cysteines_without_a_free_sulfur_are_not_paired():
    peptide = Peptide.parse("ACACACAC", residues={2: "DCY", 4: "CSO"}, bonds=[parse_bond("1:CB-6:SG")])
    assert thiol_letters(peptide) == "ACASASAC"
