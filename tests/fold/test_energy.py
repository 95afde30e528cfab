"""The gradient of the energy against automatic derivatives of its terms, and those terms against loops in float64."""

import mlx.core as mx
import numpy as np
import oracles
import pytest
import refine_energy as terms
from refine_energy import energy, place_atoms

from betafold_mlx.fold import gradient
from betafold_mlx.fold.gradient import EnergyGradient, EnergyWeights
from betafold_mlx.fold.restraints import VARIANCE_FLOOR, restraints_from, ring_distances, take
from betafold_mlx.geometry import ideal
from betafold_mlx.model.config import ModelConfig
from betafold_mlx.model.folding import FoldingModel
from betafold_mlx.model.heads import CENTRES
from betafold_mlx.model.inputs import collate
from betafold_mlx.peptide.sequence import ALPHABET, Peptide

PEPTIDES = [
    Peptide.of("GRCTKSIPPICFPD", cyclic=True, disulfides=((3, 11),)),
    Peptide.of("GIGKFLHSAKKF"),
    Peptide.of("CCGPACKC", disulfides=((1, 6), (2, 8))),
]
N, CA, C, _, CB = range(5)


@pytest.fixture(scope="module")
def case():
    mx.random.seed(3)
    model = FoldingModel(ModelConfig(width=32, layers=1, heads=4, ffn_width=64))
    inputs = collate(PEPTIDES, 16)
    folded = model(inputs)
    restraints = restraints_from(folded, inputs)
    torsions = mx.random.uniform(-3, 3, (3, 2, 16, 3), key=mx.random.key(1))
    return folded, restraints, torsions, place_atoms(torsions, restraints)


def structures(case):
    """Yield (row, sample, peptide, atoms (L, 5, 3) float64 from the oracle's own reconstruction)."""
    _, _, torsions, _ = case
    for row, peptide in enumerate(PEPTIDES):
        for sample in range(2):
            angles = np.array(torsions[row, sample, : len(peptide)], dtype=np.float64)
            yield row, sample, peptide, oracles.build_backbone(angles, peptide.sequence)


def test_atoms_are_those_of_the_oracle(case):
    atoms = np.array(case[3])
    for row, sample, peptide, want in structures(case):
        got = atoms[:, :, row, sample, : len(peptide)].transpose(2, 0, 1)
        real = np.isfinite(want)
        np.testing.assert_allclose(got[real], want[real], atol=2e-3)


def test_distance_energy(case):
    folded, restraints, _, atoms = case
    ca = terms._distances(atoms[CA], atoms[CA])
    got = np.array(terms.distance_energy(ca, restraints))
    logits = np.array(folded.distogram, dtype=np.float64)
    for row, sample, peptide, x in structures(case):
        total, n = 0.0, len(peptide)
        for i in range(n):
            for j in range(i + 2, n):
                p = np.exp(logits[row, i, j] - logits[row, i, j].max())
                p /= p.sum()
                mean = p @ CENTRES
                variance = p @ CENTRES**2 - mean**2 + VARIANCE_FLOOR
                total += 0.5 * (np.linalg.norm(x[i, CA] - x[j, CA]) - mean) ** 2 / variance / n
        assert got[row, sample] == pytest.approx(total, rel=1e-3)


def test_clash_energy(case):
    _, restraints, _, atoms = case
    got = np.array(terms.clash_energy(atoms, restraints))
    closest = {frozenset((a, b)): d for a, b, d in gradient.CONTACTS}
    seen = 0.0
    for row, sample, peptide, x in structures(case):
        mirror = np.array(atoms)[:, :, row, sample, : len(peptide)].transpose(2, 0, 1)
        x = np.where(np.isfinite(x), x, mirror)  # the CB that glycine lacks is held out too
        total, n = 0.0, len(peptide)
        for i in range(n):
            for j in range(i + 3, n):
                if peptide.cyclic and n - (j - i) < 3:
                    continue
                for a in range(5):
                    for b in range(5):
                        limit = closest.get(frozenset((a, b)))
                        d2 = np.square(x[i, a] - x[j, b]).sum()
                        if limit is not None and d2 < limit**2:
                            total += ((limit**2 - d2) / (2 * limit)) ** 2
        seen += total
        assert got[row, sample] == pytest.approx(total, rel=2e-3, abs=1e-4)
    assert seen > 1  # random chains run into themselves


def test_bridge_and_ring_energy(case):
    _, restraints, _, atoms = case
    ca = terms._distances(atoms[CA], atoms[CA])
    bridges, rings = (np.array(x) for x in (
        terms.bridge_energy(atoms, ca, restraints), terms.ring_energy(atoms, restraints)
    ))  # fmt: skip
    for row, sample, peptide, x in structures(case):
        want = 0.0
        for i, j in peptide.disulfides:
            d = [np.linalg.norm(x[i - 1, atom] - x[j - 1, atom]) for atom in (CB, CA)]
            low, high = gradient.BRIDGE_CA
            want += (d[0] - gradient.BRIDGE_CB) ** 2 + max(low - d[1], d[1] - high, 0) ** 2
        assert bridges[row, sample] == pytest.approx(want, rel=1e-3, abs=1e-5)
        ends = ((C, N), (CA, N), (C, CA), (CA, CA))
        wanted = ring_distances(ALPHABET.index(peptide.sequence[-1]), ALPHABET.index(peptide.sequence[0]))
        misfit = sum(
            (np.linalg.norm(x[-1, a] - x[0, b]) - d) ** 2 for (a, b), d in zip(ends, wanted, strict=True)
        )
        assert rings[row, sample] == pytest.approx(misfit if peptide.cyclic else 0, rel=1e-3)


@pytest.mark.parametrize("sequence", ["AA", "AG", "GA", "AP", "PA", "GP"])
def test_ring_distances_are_those_of_a_built_bond(sequence):
    x = oracles.build_backbone(np.full((2, 3), np.pi), sequence)
    got = ring_distances(*(ALPHABET.index(letter) for letter in sequence))
    ends = ((C, N), (CA, N), (C, CA), (CA, CA))
    np.testing.assert_allclose(got, [np.linalg.norm(x[0, a] - x[1, b]) for a, b in ends], atol=1e-6)
    assert got[0] == ideal.C_N[ALPHABET.index(sequence[1])]


@pytest.mark.parametrize(
    "weights",
    [
        EnergyWeights(),
        *(
            EnergyWeights(**({name: 0.0 for name in names if name != kept} | {kept: 1.0}))
            for names in [["distance", "torsion", "omega", "clash", "ring", "bridge"]]
            for kept in names
        ),
    ],
    ids=["all", "distance", "torsion", "omega", "clash", "ring", "bridge"],
)
def test_the_gradient_is_the_derivative_of_the_energy(case, weights):
    _, restraints, torsions, _ = case
    want = np.array(mx.grad(lambda angles: energy(angles, restraints, weights, 0.7).sum())(torsions))
    by_hand = EnergyGradient(restraints, weights)
    for sample in range(2):
        angles = mx.contiguous(torsions[:, sample].transpose())
        got = np.array(by_hand(angles, by_hand.pull(angles), 0.7)).T
        scale = np.abs(want[:, sample]).max(axis=(1, 2), keepdims=True)
        assert scale.max() > 0.1
        np.testing.assert_allclose(got / (1 + scale), want[:, sample] / (1 + scale), atol=2e-5)
        assert np.abs(got[~np.array(restraints.bonds.mask)]).max() == 0


def test_clashes_can_be_left_out_or_counted_twice(case):
    _, restraints, torsions, _ = case
    by_hand = EnergyGradient(restraints, EnergyWeights())
    angles = mx.contiguous(torsions[:, 0].transpose())
    none, once, twice = (np.array(by_hand(angles, by_hand.pull(angles), 1.0, n)) for n in (0, 1, 2))
    np.testing.assert_allclose(twice - once, once - none, atol=2e-3)
    assert np.abs(once - none).max() > 0.1


def test_held_probabilities_bound_the_torsion_energy(case):
    """The bound touches where it was taken, and lies above everywhere else: lowering it lowers the energy."""
    _, restraints, torsions, _ = case
    weights = EnergyWeights(torsion=1.0)
    here, there = torsions[:, :1], torsions[:, 1:]
    pull = EnergyGradient(restraints, weights).pull(mx.contiguous(here[:, 0].transpose()))

    def bound(angles):
        x = angles[:, 0].transpose()[:2]
        return -(pull[::2] * mx.cos(x) + pull[1::2] * mx.sin(x)).sum(axis=(0, 1))

    rise = np.array(terms.torsion_energy(there, restraints) - terms.torsion_energy(here, restraints))[:, 0]
    rise_of_bound = np.array(bound(there) - bound(here))
    assert (rise_of_bound >= rise - 1e-3).all() and (rise_of_bound > rise + 0.1).any()


def test_taking_rows_keeps_their_energy(case):
    _, restraints, torsions, _ = case
    whole = np.array(energy(torsions, restraints, EnergyWeights()))
    rows = np.array([2, 0])
    part = np.array(energy(torsions[mx.array(rows)], take(restraints, rows), EnergyWeights()))
    np.testing.assert_allclose(part, whole[rows], rtol=1e-5)
