"""What is kept of the network's answer on request, against the answer itself in float64."""

import dataclasses
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from library_helpers import toy_predictor
from synthetic import toy_model

from betafold_mlx import Predictor
from betafold_mlx.fold.details import CELLS
from betafold_mlx.model.config import ModelConfig
from betafold_mlx.model.directory import LoadedModel
from betafold_mlx.model.heads import CENTRES
from betafold_mlx.model.inputs import collate
from betafold_mlx.peptide.sequence import Peptide

PEPTIDES = [
    Peptide.of("GIGKFLHSAKKF"),
    Peptide.of("GRCTKSIPPICFPD", True, ((3, 11),)),
    Peptide.of("ACDEFGHIKLMN"),
]


@pytest.fixture(scope="module")
def predictor():
    """Return one with two layers, so that their order shows."""
    mx.random.seed(0)
    model = toy_model(ModelConfig(width=32, layers=2, heads=4, ffn_width=64))
    return Predictor(LoadedModel(model, "toy", "0" * 64, Path("toy")))


@pytest.fixture(scope="module")
def answers(predictor):
    """Return the details of the peptides, and the network's answer for each by itself."""
    predictions = predictor.fold_many(PEPTIDES, details=True)
    network = predictor.loaded.model
    return [
        (p.details, network(collate([peptide], 16), return_attention=True))
        for p, peptide in zip(predictions, PEPTIDES, strict=True)
    ]


@pytest.mark.parametrize("number", range(3))
def test_attention_is_that_of_every_layer_and_head_without_padding(answers, number):
    details, folded = answers[number]
    n = len(PEPTIDES[number])
    expected = np.stack([np.array(layer)[0, :, :n, :n] for layer in folded.attention])
    assert details.attention.shape == (2, 4, n, n)
    np.testing.assert_allclose(details.attention, expected, atol=1e-5)
    np.testing.assert_allclose(details.attention.sum(axis=-1), 1.0, atol=1e-5)


@pytest.mark.parametrize("number", range(3))
def test_distances_are_mean_and_deviation_of_the_distogram(answers, number):
    details, folded = answers[number]
    n = len(PEPTIDES[number])
    logits = np.array(folded.distogram)[0, :n, :n].astype(np.float64)
    share = np.exp(logits - logits.max(axis=-1, keepdims=True))
    share /= share.sum(axis=-1, keepdims=True)
    mean = share @ CENTRES
    deviation = np.sqrt((share * (CENTRES - mean[..., None]) ** 2).sum(axis=-1))
    near = np.abs(np.subtract.outer(range(n), range(n))) < 2
    for made, expected in ((details.distance, mean), (details.deviation, deviation)):
        np.testing.assert_array_equal(np.isnan(made), near)
        np.testing.assert_allclose(made[~near], expected[~near], rtol=1e-3)


@pytest.mark.parametrize("number", range(3))
def test_torsion_density_is_the_mean_over_residues_that_have_both(answers, number):
    details, folded = answers[number]
    peptide = PEPTIDES[number]
    chosen = slice(None, len(peptide)) if peptide.cyclic else slice(1, len(peptide) - 1)
    mixture = folded.mixture
    weights = np.exp(np.array(mixture.log_weights, dtype=np.float64)[0, chosen])  # (n, K)
    centre, k = (np.array(part, dtype=np.float64) for part in (mixture.centre, mixture.concentration))
    middle = np.radians(np.arange(-177.5, 180, 5))
    each = np.exp(k[..., None] * np.cos(middle - centre[..., None])) / (2 * np.pi * np.i0(k))[..., None]
    expected = np.einsum("nk,ki,kj->nij", weights, each[:, 0], each[:, 1]).mean(axis=0)
    np.testing.assert_allclose(details.torsion_density, expected, rtol=2e-4, atol=1e-6)
    assert details.torsion_density.sum() * (2 * np.pi / CELLS) ** 2 == pytest.approx(1.0, abs=1e-3)


def test_details_change_nothing_else_and_are_not_there_unasked():
    predictor = toy_predictor()
    asked = []
    model = predictor.loaded.model

    class Asked:
        config, calibration = model.config, model.calibration

        def __call__(self, *arguments, **options):
            asked.append(options)
            return model(*arguments, **options)

    predictor.loaded = dataclasses.replace(predictor.loaded, model=Asked())
    plain = predictor.fold("GIGKFLHSAKKF", samples=2)
    rich = predictor.fold("GIGKFLHSAKKF", samples=2, details=True)
    assert asked == [{"return_attention": False}, {"return_attention": True}]
    assert plain.details is None and rich.details is not None
    np.testing.assert_array_equal(plain.coordinates, rich.coordinates)
    assert plain.to_dict() == rich.to_dict() and plain.text("cif") == rich.text("cif")


def test_details_of_a_d_peptide_are_those_of_the_mirror_image(predictor):
    left, right = (
        predictor.fold("KLAKLAKKLAKC", d_amino_acids=d, details=True).details for d in (False, True)
    )
    np.testing.assert_array_equal(right.torsion_density, left.torsion_density[::-1, ::-1])
    assert not np.array_equal(right.torsion_density, left.torsion_density)
    np.testing.assert_array_equal(right.distance, left.distance)
    np.testing.assert_array_equal(right.attention, left.attention)
