"""The order of models: whole chains with their bonds first, then confidence less what clashes cost."""

import dataclasses
import itertools

import mlx.core as mx
import numpy as np
import pytest
from structure_helpers import half_turned, ideal, prediction

from betafold_mlx.fold.disulfides import DisulfidePattern
from betafold_mlx.fold.ranking import CLASH_COST, collect_warnings, rank_models
from betafold_mlx.geometry import build_backbone
from betafold_mlx.peptide.sequence import Peptide, residue_ids

SEQUENCE = "ACDEFAHIKLAC"
BRIDGED = Peptide.of(SEQUENCE, disulfides=((2, 12),))
HELIX = np.tile(np.radians([-63.0, -42.0, 180.0]), (12, 1))


def helix():
    residues = mx.array(residue_ids(SEQUENCE))[None]
    return np.array(build_backbone(mx.array(HELIX.astype(np.float32))[None], residues))[0]


def bridge(model):
    """Turn residue 12 about where it makes the disulfide with residue 2, and clashes with nothing."""
    model = model.copy()
    model[11] = half_turned(model[1])
    return model


def cross(model, count=1):
    """Put O atoms of the first residues on C atoms of residues far from them."""
    model = model.copy()
    for number in range(count):
        model[number, 3] = model[number + 6, 2] + 1.0
    return model


def every_kind():
    """Models that have (their bond, run through themselves), each twice."""
    whole = helix()
    kinds = {
        (True, False): bridge(whole), (True, True): bridge(cross(whole)),
        (False, False): whole, (False, True): cross(whole),
    }  # fmt: skip
    return [(kind, model) for kind, model in kinds.items() for _ in range(2)]


@pytest.mark.parametrize("seed", range(10))
def test_what_cannot_be_never_ranks_above_what_can(seed):
    """However confident the network is."""
    rng = np.random.default_rng(seed)
    models = every_kind()
    order = rng.permutation(len(models))
    kinds = [models[index][0] for index in order]
    coordinates = np.stack([models[index][1] for index in order])
    plddt = rng.uniform(0, 100, (len(models), 1)) + np.zeros((1, 12))
    ranked = rank_models(BRIDGED, coordinates, plddt)
    faults = [(not formed) + through for formed, through in (kinds[index] for index in ranked.order)]
    assert faults == sorted(faults) and sorted(ranked.order.tolist()) == list(range(8))
    for place, index in enumerate(ranked.order):
        formed, through = kinds[index]
        assert all(bond.formed for bond in ranked.bonds[place]) == formed
        assert ranked.through[place] == through
    score = plddt[ranked.order, 0] - CLASH_COST * np.array(ranked.clashes) / 12
    for fault, group in itertools.groupby(range(8), key=lambda place: faults[place]):
        of_group = score[list(group)]
        assert (np.diff(of_group) <= 1e-9).all(), fault


def nearby(model, atom, distance):
    """Return a point at a distance from an atom, and farther from all others."""
    directions = np.random.default_rng(0).normal(size=(500, 3))
    points = atom + distance * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    apart = np.linalg.norm(points[:, None] - model.reshape(-1, 3), axis=-1)
    return points[np.sort(apart, axis=1)[:, 1].argmax()]


def test_clashes_cost_confidence():
    """Two chains alike but for clashes that are no passage: they trade places where the cost says so."""
    clear = helix()
    crowded = clear.copy()
    crowded[-1, 3] = nearby(
        clear, clear[6, 3], 2.4
    )  # O to O, nearer than 2.54 and farther than what runs through
    peptide = Peptide.of(SEQUENCE)
    both = np.stack([crowded, clear])
    got = rank_models(peptide, both, np.full((2, 12), 50.0))
    assert got.order.tolist() == [1, 0] and got.clashes[0] == 0 and not any(got.through)
    clashes = got.clashes[1]
    assert clashes > 0
    cost = CLASH_COST * clashes / 12
    for lead, first in ((cost + 0.1, 0), (cost - 0.1, 1)):
        plddt = np.array([50.0 + lead, 50.0])[:, None] + np.zeros(12)
        assert rank_models(peptide, both, plddt).order[0] == first


def test_one_model_and_equal_ones_keep_their_order():
    peptide = Peptide.of(SEQUENCE)
    model = helix()
    assert rank_models(peptide, model[None], np.full((1, 12), 10.0)).order.tolist() == [0]
    same = rank_models(peptide, np.stack([model] * 4), np.full((4, 12), 10.0))
    assert same.order.tolist() == [0, 1, 2, 3]


def test_a_ring_that_is_open_ranks_last():
    peptide = Peptide.of(SEQUENCE, cyclic=True)
    closed = ideal(SEQUENCE, seed=0)[:, :5].copy()
    closed[-1, 2] = closed[0, 0] + [1.33, 0, 0]
    ranked = rank_models(
        peptide, np.stack([ideal(SEQUENCE, seed=0), closed]), np.array([[90.0] * 12, [5.0] * 12])
    )
    assert ranked.order.tolist() == [1, 0]


def test_a_passage_and_a_missing_bond_are_said():
    def said(*models):
        ranked = rank_models(BRIDGED, np.stack(models), np.full((len(models), 12), 90.0))
        first = models[ranked.order[0]]
        return collect_warnings(BRIDGED, first, np.full(12, 90.0), ranked, ())

    whole = helix()
    assert said(bridge(whole), cross(whole)) == ()
    (through,) = said(bridge(cross(whole)), cross(whole))
    assert "runs through itself" in through
    (bond,) = said(whole)
    assert "not formed" in bond
    assert len(said(cross(whole))) == 2
    # One fault each: what is said of the other candidates has to be true of them.
    plddt = np.array([[99.0], [1.0]]) + np.zeros(12)
    ranked = rank_models(BRIDGED, np.stack([bridge(cross(whole)), whole]), plddt)
    assert ranked.order.tolist() == [0, 1] and ranked.through == (True, False)
    (warning,) = collect_warnings(BRIDGED, bridge(cross(whole)), plddt[0], ranked, ())
    assert "runs through itself" in warning and "no candidate without that" not in warning


def test_a_pairing_in_the_document_has_four_places():
    pattern = DisulfidePattern(((2, 12),), 0.123456)
    made = dataclasses.replace(prediction(), disulfide_patterns=(pattern,))
    (pairing,) = made.to_dict()["disulfide_pairings"]
    assert pairing == {"disulfides": [[2, 12]], "probability": 0.1235, "frameworks": [], "templates": []}


@pytest.mark.parametrize(("first", "second", "met"), [(False, True, True), (True, False, False)])
def test_constraints_are_met_where_the_first_model_has_room(first, second, met):
    made = prediction(models=2, through=(first, second))
    assert made.constraints_met == met
    assert [model["runs_through_itself"] for model in made.to_dict()["models"]] == [first, second]
