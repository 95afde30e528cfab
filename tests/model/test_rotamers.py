"""Rotamers: densities on circles, their fit, and what counts as correct."""

import math

import mlx.core as mx
import numpy as np
import pytest
from rotamer_helpers import made_rotamers
from scipy.stats import vonmises

from betafold_mlx.model.rotamers import (
    CHI_COUNT,
    FOLD,
    OUTLIERS,
    ROTAMERS,
    correct_angles,
    fit_rotamers,
)
from betafold_mlx.peptide.residue_table import RESIDUES
from betafold_mlx.peptide.sequence import ALPHABET, THREE_LETTER, residue_ids


def test_the_number_of_chi_angles_is_that_of_the_residue_table():
    for letter, count in zip(ALPHABET, CHI_COUNT, strict=True):
        assert count == (2 if letter == "P" else len(RESIDUES[THREE_LETTER[letter]].chi))
    doubled = [(ALPHABET[i], int(j) + 1) for i, j in np.argwhere(FOLD == 2)]
    assert doubled == [("D", 2), ("E", 3), ("F", 2), ("Y", 2)]


@pytest.mark.parametrize("letter", ["S", "I", "D", "E", "K"])
def test_the_density_of_a_rotamer_is_a_product_of_von_mises_densities(letter):
    rotamers, rng = made_rotamers(), np.random.default_rng(1)
    residue = ALPHABET.index(letter)
    chi = rng.uniform(-np.pi, np.pi, (6, 4))
    defined = rng.random((6, 4)) < 0.7
    found = rotamers.log_densities(
        mx.full((6,), residue), mx.array(chi.astype(np.float32)), mx.array(defined)
    )
    centre, k = (np.array(a, np.float64)[residue] for a in (rotamers.centre, rotamers.concentration))
    expected = np.zeros((6, ROTAMERS))
    for angle in range(CHI_COUNT[residue]):
        fold = FOLD[residue, angle]
        turned = vonmises.logpdf(fold * chi[:, None, angle], k[:, angle], loc=fold * centre[:, angle])
        expected += turned * defined[:, None, angle]
    assert np.allclose(found, expected, atol=2e-3)


def test_the_density_of_a_residue_sums_to_one():
    rotamers = made_rotamers()
    grid = (np.arange(90) + 0.5) * (2 * np.pi / 90) - np.pi
    for letter in "SD":
        count = CHI_COUNT[ALPHABET.index(letter)]
        points = np.stack(np.meshgrid(*[grid] * count), axis=-1).reshape(-1, count)
        chi = np.zeros((len(points), 4), np.float32)
        chi[:, :count] = points
        residues = mx.array(residue_ids(letter * len(chi)))
        log_weights = mx.log(mx.maximum(rotamers.weight, 1e-30))[residues]
        density = rotamers.log_density(log_weights, residues, mx.array(chi), mx.ones(chi.shape, mx.bool_))
        assert np.exp(np.array(density)).sum() * (2 * np.pi / 90) ** count == pytest.approx(1, abs=2e-3)


def test_half_a_turn_of_a_symmetric_end_changes_nothing_and_an_outlier_costs_a_bounded_price():
    rotamers = made_rotamers()
    residues = mx.array(residue_ids("DN"))
    log_weights = mx.log(mx.maximum(rotamers.weight, 1e-30))[residues]
    chi, defined = mx.array([[0.4, 0.3, 0, 0]] * 2), mx.ones((2, 4), mx.bool_)
    before, after = (
        np.array(rotamers.log_density(log_weights, residues, chi + mx.array([0, turn, 0, 0]), defined))
        for turn in (0, math.pi)
    )
    assert before[0] == pytest.approx(after[0], abs=1e-4) and abs(before[1] - after[1]) > 0.01
    assert min(*before, *after) >= math.log(OUTLIERS / (2 * math.pi) ** 2) - 1e-4


def test_the_fit_finds_what_the_angles_were_drawn_from():
    rng = np.random.default_rng(2)
    centre, sd = np.radians([[-65, 175], [180, 65], [-60, -60]]), np.radians([8.0, 10.0])
    which = rng.choice(3, 4000, p=[0.6, 0.3, 0.1])
    chi = np.full((4000, 4), np.nan)
    chi[:, :2] = centre[which] + sd * rng.normal(size=(4000, 2))
    chi[:80, :2] = rng.uniform(-np.pi, np.pi, (80, 2))  # not in any rotamer
    found = fit_rotamers(np.full(4000, ALPHABET.index("L")), chi)
    leu = ALPHABET.index("L")
    order = np.argsort(-found[2][leu])[:3]
    off = found[0][leu, order, :2] - centre
    assert np.abs(np.degrees(np.arctan2(np.sin(off), np.cos(off)))).max() < 1.5
    assert np.allclose(found[2][leu, order], [0.6, 0.3, 0.1], atol=0.03)
    assert np.allclose(np.degrees(found[1][leu, order, :2] ** -0.5), [8, 10], atol=1.5)
    assert (found[2] > 0).sum(axis=1).tolist() == [
        {**dict.fromkeys("AG", 1), **dict.fromkeys("CSTV", 3), "P": 2, **dict.fromkeys("DFILY", 9), "W": 12,
         **dict.fromkeys("HN", 18), **dict.fromkeys("EM", 27)}.get(letter, 36)
        for letter in ALPHABET
    ]  # fmt: skip
    assert np.allclose(found[2].sum(axis=1), 1)


def test_an_angle_is_correct_within_40_degrees_and_up_to_symmetry():
    residues = residue_ids("DNSAL")
    native = np.radians([[60.0, 10, 0, 0]] * 5)
    native[4, 1] = np.nan
    predicted = np.radians(
        [[60.0, 180, 0, 0], [99, 180, 0, 0], [101, 0, 0, 0], [0, 0, 0, 0], [-300, 0, 0, 0]]
    )
    expected = [[1, 1], [1, 0], [0, np.nan], [np.nan, np.nan], [1, np.nan]]
    assert np.array_equal(correct_angles(predicted, native, residues), expected, equal_nan=True)
