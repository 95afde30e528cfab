"""From distances to traces and torsions."""

import itertools

import mlx.core as mx
import numpy as np
import oracles
import pytest
from synthetic import HELIX, STRAND, toy_model

from betafold_mlx.fold.ensemble import NETWORK, TRACE, refine
from betafold_mlx.fold.fitting import fit_together
from betafold_mlx.fold.restraints import restraints_from
from betafold_mlx.fold.traces import CA_STEP, likelier_hand, place_trace, trace_distances, trace_fit
from betafold_mlx.model.heads import CENTRES
from betafold_mlx.model.inputs import collate
from betafold_mlx.model.ramachandran import TorsionMixture
from betafold_mlx.peptide.sequence import Peptide

SEQUENCES = ("KVTYEVNGKTYVFEKDAEKLAQ", "AEKLAQMERALKEA")


def backbone(length, seed):
    """Torsions of a helix, a turn and a strand, and the C-alphas they make."""
    rng = np.random.default_rng(seed)
    half = length // 2
    torsions = np.concatenate([np.tile(HELIX, (half, 1)), np.tile(STRAND, (length - half, 1))])
    torsions[half] = np.radians([-60.0, -30.0, 180.0])
    torsions += np.radians(5.0) * rng.normal(size=torsions.shape) * [1, 1, 0]
    return torsions


def told(peptides, structures):
    """Let a network's answer know the distances of structures, and roughly their torsions."""
    mx.random.seed(0)
    inputs = collate(peptides)
    answer = toy_model()(inputs)
    batch, length = inputs.mask.shape
    logits = np.zeros((batch, length, length, len(CENTRES)))
    states = np.stack([HELIX[:2], STRAND[:2], -HELIX[:2]])
    weights = np.full((batch, length, 3), 1 / 3)
    for row, (peptide, torsions) in enumerate(zip(peptides, structures, strict=True)):
        ca = oracles.build_backbone(torsions, peptide.sequence)[:, 1]
        n = len(peptide)
        apart = np.linalg.norm(ca[:, None] - ca[None], axis=-1)
        logits[row, :n, :n] = -2 * np.square(CENTRES - apart[..., None])
        away = np.abs(np.angle(np.exp(1j * (torsions[:, None, :2] - states)))).sum(axis=-1)
        weights[row, :n] = np.where(away == away.min(axis=1, keepdims=True), 0.9, 0.05)
    mixture = TorsionMixture(
        mx.array(np.log(weights).astype(np.float32)),
        mx.array(states.astype(np.float32)),
        mx.full(states.shape, 4.0),
    )
    trans = mx.full(answer.torsions.shape, np.pi)
    distogram = mx.array(logits.astype(np.float32))
    return answer._replace(distogram=distogram, torsions=trans, mixture=mixture), inputs


def off(coordinates, torsions, peptide):
    truth = oracles.build_backbone(torsions, peptide.sequence)[:, :3].reshape(-1, 3)
    return oracles.kabsch(np.array(coordinates, float)[: len(peptide), :3].reshape(-1, 3), truth)[2]


def test_points_are_placed_where_their_distances_say():
    rng = np.random.default_rng(1)
    points = rng.normal(size=(2, 12, 3)) * 6
    distance = np.linalg.norm(points[:, :, None] - points[:, None], axis=-1)
    weight = np.triu(np.where(rng.random((2, 12, 12)) < 0.8, rng.uniform(0.5, 2, (2, 12, 12)), 0), 1)
    weight = weight + weight.swapaxes(1, 2)
    weight[1, 9:] = weight[1, :, 9:] = 0  # padding
    found = place_trace(distance, weight, rounds=400)
    for row, n in enumerate((12, 9)):
        own, true = found[row, :n], points[row, :n]
        best = min(oracles.kabsch(own * [hand, 1, 1], true)[2] for hand in (1, -1))
        assert best < 0.05
    assert not found[1, 9:].any()


def test_each_round_lowers_the_weighted_error():
    rng = np.random.default_rng(2)
    distance = rng.uniform(4, 20, (1, 10, 10))
    distance = (distance + distance.swapaxes(1, 2)) / 2
    weight = np.triu(rng.uniform(0.1, 1, (1, 10, 10)), 1)
    weight = weight + weight.swapaxes(1, 2)

    def stress(points):
        apart = np.linalg.norm(points[:, :, None] - points[:, None], axis=-1)
        return float((weight * (apart - distance) ** 2).sum())

    errors = [stress(place_trace(distance, weight, rounds)) for rounds in (1, 2, 4, 8, 16, 32)]
    assert all(later <= earlier + 1e-9 for earlier, later in itertools.pairwise(errors))
    assert errors[-1] < errors[0] - 1


def test_a_ring_is_closed_in_its_distances():
    peptides = [Peptide.of("GRCTKSIPPICFPD", cyclic=True), Peptide.of("GRCTKSIPPICF")]
    answer, inputs = told(peptides, [backbone(len(peptide), 0) for peptide in peptides])
    distance, weight = trace_distances(restraints_from(answer, inputs))
    np.testing.assert_array_equal(distance, distance.swapaxes(1, 2))
    assert distance[0, 0, 13] == CA_STEP and weight[0, 0, 13] == weight[0].max() > 0
    assert distance[1, 0, 11] != CA_STEP and not weight[1, 12:].any()
    for row, n in enumerate((14, 12)):
        assert (distance[row, np.arange(n - 1), np.arange(1, n)] == CA_STEP).all()


def test_told_the_distances_of_a_structure_the_fold_ends_there():
    """A descent from the network's torsions may not: this is what traces are for."""
    peptides = [Peptide.of(sequence) for sequence in SEQUENCES]
    structures = [backbone(len(peptide), seed) for seed, peptide in enumerate(peptides)]
    answer, inputs = told(peptides, structures)
    made = refine(answer, inputs, 0, [0], traced=True)
    assert made.source.tolist() == [[NETWORK, TRACE]] * 2
    for row, (peptide, torsions) in enumerate(zip(peptides, structures, strict=True)):
        assert off(made.coordinates[row, 1], torsions, peptide) < 1.2


@pytest.mark.parametrize("hand", [1, -1])
def test_torsions_choose_the_hand(hand):
    """The distances of a structure and of its mirror image are the same; the torsions are not."""
    peptide = Peptide.of(SEQUENCES[1])
    torsions = np.tile(hand * HELIX, (len(peptide), 1))
    torsions[:, 2] = np.pi
    answer, inputs = told([peptide], [torsions])
    restraints = restraints_from(answer, inputs)
    fitted = fit_together([trace_fit(restraints, 0)])[0]
    starts = np.array(likelier_hand(fitted, restraints))[0, 2 : len(peptide) - 2]
    assert (np.sign(starts[:, 0]) == np.sign(torsions[0, 0])).mean() > 0.9


def test_without_a_trace_there_is_none():
    answer, inputs = told([Peptide.of(SEQUENCES[1])], [backbone(len(SEQUENCES[1]), 0)])
    with_trace = refine(answer, inputs, 0, range(2), traced=True)
    without = refine(answer, inputs, 0, range(2))
    assert without.source.tolist() == [[NETWORK] * 2]
    assert mx.array_equal(without.torsions, with_trace.torsions[:, :2]).item()
