import math

import mlx.core as mx
import numpy as np
import pytest
from distill_helpers import save_toy

from betafold_mlx import Predictor
from betafold_mlx.distill.teacher import Teacher, mean_answer
from betafold_mlx.errors import BetafoldError
from betafold_mlx.model.inputs import collate
from betafold_mlx.peptide.sequence import Peptide

PEPTIDES = [
    Peptide.of("GIGKFLHSAKKFGKAFVGEIMNS"),
    Peptide.of("KLAKLAKKLAKLAK"),
    Peptide.of("GRCTKSIPPICFPD", True, ((3, 11),)),
    Peptide.of("GEWTYDDATKTFTVTE"),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return [save_toy(folder / name, seed) for name, seed in (("one", 1), ("two", 2), ("three", 3))]


def test_one_teacher_labels_as_it_folds(models):
    teacher, predictor = Teacher.load(models[:1]), Predictor.load(models[0])
    some = PEPTIDES[1:]
    labels = teacher.label(some, samples=2, seed=5)
    for peptide, label in zip(some, labels, strict=True):
        folded = predictor.fold(peptide, candidates=2, seed=5)
        np.testing.assert_allclose(label.coordinates, folded.coordinates[0, :, :4], atol=2e-3)
        np.testing.assert_allclose(label.plddt, folded.plddt[0], atol=2e-2)
        assert label.bonded == all(bond.formed for bond in folded.bonds[0])
        assert label.coordinates.shape == (len(peptide), 4, 3)


def test_a_label_is_the_same_in_any_company(models):
    teacher = Teacher.load(models[:2])
    straight = [peptide for peptide in PEPTIDES if not peptide.cyclic]
    together = teacher.label(straight, samples=2)
    backwards = teacher.label(straight[::-1], samples=2)[::-1]
    for one, other in zip(together, backwards, strict=True):
        np.testing.assert_allclose(one.coordinates, other.coordinates, atol=2e-3)
        np.testing.assert_allclose(one.plddt, other.plddt, atol=2e-2)


def log_density(mixture, row, residue, angles):
    """Log density of (phi, psi) at a residue, in float64."""
    centre, concentration = (np.array(x, np.float64) for x in (mixture.centre, mixture.concentration))
    weights = np.exp(np.array(mixture.log_weights, np.float64)[row, residue])
    von_mises = np.exp(concentration * np.cos(angles - centre)) / (2 * math.pi * np.i0(concentration))
    return np.log((weights * von_mises.prod(axis=1)).sum())


def softmaxed(logits):
    logits = np.array(logits, np.float64)
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return odds / odds.sum(axis=-1, keepdims=True)


def test_the_answer_of_several_is_the_mean_of_their_distributions(models):
    inputs = collate(PEPTIDES[:2], 24)
    answers = [Predictor.load(model).loaded.model(inputs) for model in models]
    mean = mean_answer(answers, inputs)
    rng = np.random.default_rng(0)
    for row, residue in ((0, 3), (1, 8)):
        for angles in rng.uniform(-math.pi, math.pi, (5, 2)):
            expected = np.log(
                np.mean([np.exp(log_density(a.mixture, row, residue, angles)) for a in answers])
            )
            assert log_density(mean.mixture, row, residue, angles) == pytest.approx(expected, abs=1e-4)
            told = mean.mixture.log_density(
                mx.array(np.broadcast_to(angles.astype(np.float32), (2, 24, 2))),
                mx.ones((2, 24, 2), mx.bool_),
            )
            assert told[row, residue].item() == pytest.approx(expected, abs=1e-3)
    for name in ("distogram", "plddt_logits"):
        expected = np.mean([softmaxed(getattr(a, name)) for a in answers], axis=0)
        np.testing.assert_allclose(softmaxed(getattr(mean, name)), expected, atol=1e-5)
    vectors = np.mean([np.array(a.vectors, np.float64) for a in answers], axis=0)
    np.testing.assert_allclose(np.array(mean.vectors), vectors, atol=1e-5)
    np.testing.assert_allclose(
        np.array(mean.torsions), np.arctan2(vectors[..., 1], vectors[..., 0]), atol=1e-3
    )


def test_the_confidence_of_several_is_that_of_all_of_them(models, tmp_path):
    unsure = save_toy(tmp_path / "unsure", 2, sure=-3.0)
    both = Teacher.load([models[0], models[1]]).label(PEPTIDES[:1], samples=1)[0]
    doubted = Teacher.load([models[0], unsure]).label(PEPTIDES[:1], samples=1)[0]
    np.testing.assert_array_equal(both.coordinates, doubted.coordinates)  # calibration moves no atom
    assert 30 < doubted.plddt.mean() < both.plddt.mean() - 20


def test_the_label_is_the_surest_of_those_with_their_bonds(models):
    teacher = Teacher.load(models[:1])
    ring = PEPTIDES[2]
    (label,) = teacher.label([ring], samples=3)
    everything = Predictor.load(models[0]).fold(ring, samples=3, candidates=3)
    made = [all(bond.formed for bond in bonds) for bonds in everything.bonds]
    assert label.bonded == any(made)
    sure = everything.plddt.mean(axis=1)
    eligible = [value for value, ok in zip(sure, made, strict=True) if ok or not any(made)]
    assert label.plddt.mean() == pytest.approx(max(eligible), abs=2e-2)


def test_what_a_teacher_cannot_be(models, tmp_path):
    with pytest.raises(BetafoldError, match="at least one model"):
        Teacher([])
    with pytest.raises(BetafoldError, match="named twice"):
        Teacher.load([models[0], models[1], models[0]])
    with pytest.raises(BetafoldError, match="no model directory"):
        Teacher.load([tmp_path / "nowhere"])
    teacher = Teacher.load(models[:1])
    for arguments in ({"samples": 0}, {"seed": -1}, {"seed": 2**31}):
        with pytest.raises(BetafoldError, match="must"):
            teacher.label(PEPTIDES[:1], **arguments)


def test_who_was_trained_on_something_else(models, tmp_path):
    native = save_toy(tmp_path / "native", 4, training={"dataset_sha256": "a" * 64})
    teacher = Teacher.load([native, models[0]])
    assert teacher.strangers("a" * 64) == ["one"] and teacher.strangers("b" * 64) == ["native", "one"]
    described = teacher.describe()
    assert [entry["trained_on"] for entry in described] == ["a" * 64, None]
    assert all(len(entry["sha256"]) == 64 for entry in described)
